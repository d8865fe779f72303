"""Decoded pictures are kept on disk: complete or not at all, and never those of something else."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_lab.data import ImageFolder, picture_cache, pictures

SHAPE = (1, 4, 4)


def numbered(num: int = 50) -> Iterator[tuple[int, np.ndarray]]:
    return ((i, np.full(SHAPE, i, np.uint8)) for i in range(num))


def folder_of_pictures(root: Path, num: int = 6) -> ImageFolder:
    for i in range(num):
        Image.new("L", (8, 8), 10 * i).save(root / f"{i}.png")
    return ImageFolder(str(root), image_size=4, channels=1)


def write_at_once(folder: Path, barrier: object) -> None:
    def waiting() -> Iterator[tuple[int, np.ndarray]]:
        barrier.wait()  # type: ignore[attr-defined]
        yield from numbered()
        barrier.wait()  # type: ignore[attr-defined]

    picture_cache.write(folder, waiting())


def test_two_processes_may_write_the_same_cache_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, folder = context.Barrier(2), tmp_path / "caches" / "set"
    workers = [context.Process(target=write_at_once, args=(folder, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    images, kept = picture_cache.read(folder, SHAPE, 50, memory_limit_gb=1)
    np.testing.assert_array_equal(images[:, 0, 0, 0], kept)
    assert len(kept) == 50
    assert list(folder.parent.iterdir()) == [folder]


def test_an_interrupted_cache_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[int, np.ndarray]]:
        yield from numbered(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        picture_cache.write(tmp_path / "set", interrupted())
    assert not list(tmp_path.iterdir())


def test_a_truncated_cache_is_named(tmp_path: Path) -> None:
    picture_cache.write(tmp_path / "set", numbered())
    path = tmp_path / "set" / "images.u8"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"images\.u8: 800 bytes expected, 799 present"):
        picture_cache.read(tmp_path / "set", SHAPE, 50, memory_limit_gb=1)


def test_large_caches_are_memory_mapped_and_say_the_same(tmp_path: Path) -> None:
    folder = folder_of_pictures(tmp_path)
    mapped = ImageFolder(str(tmp_path), image_size=4, channels=1, memory_limit_gb=0).load(train=True).images
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, folder.load(train=True).images)


def test_pictures_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder_of_pictures(tmp_path)
    first.prepare()
    expected = first.load(train=True).images
    monkeypatch.setattr(pictures.Decoder, "__call__", None)
    np.testing.assert_array_equal(
        ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True).images, expected
    )


def test_changed_files_are_decoded_again(tmp_path: Path) -> None:
    for grey in (10, 250):  # uncompressed: both have the same size
        for i in range(6):
            Image.new("L", (8, 8), grey).save(tmp_path / f"{i}.bmp")
        ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True)
    assert ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True).images.min() == 250


def test_another_size_or_number_of_channels_is_another_cache(tmp_path: Path) -> None:
    folder_of_pictures(tmp_path).load(train=True)
    assert ImageFolder(str(tmp_path), image_size=2, channels=3).load(train=True).images.shape[1:] == (3, 2, 2)


def test_the_cache_of_an_older_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = picture_cache.cache_folder(str(tmp_path), "set", [1])
    assert before == picture_cache.cache_folder(str(tmp_path), "set", [1])
    monkeypatch.setattr(picture_cache, "FORMAT_VERSION", picture_cache.FORMAT_VERSION + 1)
    assert before != picture_cache.cache_folder(str(tmp_path), "set", [1])


def test_a_read_only_folder_is_cached_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    folder = folder_of_pictures(tmp_path)
    folder.load(train=True)
    assert not (tmp_path / ".vae_lab").exists()
    assert len(list((tmp_path / "cache" / "vae_lab").iterdir())) == 1
