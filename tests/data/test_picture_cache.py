"""Decoded pictures are kept on disk: complete or not at all, and never those of something else."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import FAST
from vae_lab.data import ImageFolder
from vae_lab.data.picture import cache as picture_cache
from vae_lab.data.picture import decoding
from vae_lab.data.sets import published_files

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


@pytest.mark.slow
def test_two_processes_may_write_the_same_cache_at_once(forks: Any, tmp_path: Path) -> None:
    barrier, folder = forks.Barrier(2), tmp_path / "caches" / "set"
    workers = [forks.Process(target=write_at_once, args=(folder, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)  # patience, as starting Python takes long on a busy machine: nothing of the cache waits
    assert [worker.exitcode for worker in workers] == [0, 0]
    images, kept = picture_cache.read(folder, SHAPE, 50, memory_limit_gb=1)
    np.testing.assert_array_equal(images[:, 0, 0, 0], kept)
    assert len(kept) == 50
    assert list(folder.parent.iterdir()) == [folder]


def write_for_ever(folder: Path, begun: object) -> None:
    def endless() -> Iterator[tuple[int, np.ndarray]]:
        yield from numbered(3)
        begun.set()  # type: ignore[attr-defined]
        time.sleep(600)

    picture_cache.write(folder, endless())


def grow_old(path: Path) -> None:
    os.utime(path, (yesterday := time.time() - published_files.ABANDONED - 60, yesterday))


@pytest.mark.slow
def test_a_process_killed_in_the_midst_leaves_the_cache_to_the_others(forks: Any, tmp_path: Path) -> None:
    begun, folder = forks.Event(), tmp_path / "set"
    victim = forks.Process(target=write_for_ever, args=(folder, begun))
    victim.start()
    assert begun.wait(300)
    (abandoned,) = tmp_path.iterdir()
    os.kill(victim.pid or 0, signal.SIGKILL)
    victim.join()
    assert not folder.exists()
    picture_cache.write(folder, numbered())
    images, kept = picture_cache.read(folder, SHAPE, 50, memory_limit_gb=1)
    np.testing.assert_array_equal(images[:, 0, 0, 0], kept)
    assert set(tmp_path.iterdir()) == {folder, abandoned}  # it may be a living process's
    for path in (*abandoned.rglob("*"), abandoned):
        grow_old(path)
    picture_cache.write(tmp_path / "another", numbered())
    assert set(tmp_path.iterdir()) == {folder, tmp_path / "another"}


def prepare(root: Path, begun: Any, number: int, stays: bool) -> None:
    """Decodes and writes; says so when the picture of this number is reached, and may stay there."""
    whole = picture_cache.write

    def write(folder: Path, pictures: Iterable[tuple[int, np.ndarray]], *notes: Any) -> None:
        def counted() -> Iterator[tuple[int, np.ndarray]]:
            for i, picture in enumerate(pictures):
                if i == number:
                    begun.set()
                    time.sleep(600 * stays)
                yield picture

        whole(folder, counted(), *notes)

    picture_cache.write = write  # in this process alone
    ImageFolder(str(root), image_size=4, channels=1).prepare()


@pytest.mark.slow
def test_processes_killed_at_random_moments_never_spoil_a_cache(forks: Any, tmp_path: Path) -> None:
    """Every second one is killed where it surely writes, the others wherever they happen to be by then."""
    (tmp_path / "sound").mkdir()
    expected = folder_of_pictures(tmp_path / "sound", num=25).load(train=True).x
    (tmp_path / "killed").mkdir()
    folder_of_pictures(tmp_path / "killed", num=25)
    rng = random.Random(0)
    caches, in_the_midst = tmp_path / "killed" / ".vae_lab", 0
    for turn in range(100):
        begun, number = forks.Event(), rng.randrange(20)  # of 23 for training
        worker = forks.Process(target=prepare, args=(tmp_path / "killed", begun, number, turn % 2 == 0))
        worker.start()
        assert begun.wait(300)
        time.sleep(0 if turn % 2 == 0 else rng.uniform(0, 0.02))
        worker.kill()
        worker.join()
        in_the_midst += any(caches.glob(".partial-*"))
        images = ImageFolder(str(tmp_path / "killed"), image_size=4, channels=1).load(train=True).x
        np.testing.assert_array_equal(images, expected)
        shutil.rmtree(caches)
    assert in_the_midst >= 50


def test_what_another_process_still_writes_is_left_alone_for_days(tmp_path: Path) -> None:
    partial = tmp_path / ".partial-slow"
    (partial / "set").mkdir(parents=True)
    (partial / "set" / "images.u8").touch()
    for folder in (partial, partial / "set"):
        grow_old(folder)
    picture_cache.write(tmp_path / "another", numbered())
    assert partial.exists()


def test_an_interrupted_cache_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[int, np.ndarray]]:
        yield from numbered(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        picture_cache.write(tmp_path / "set", interrupted())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("change", "size"), [(lambda b: b[:-1], 799), (lambda b: b + b[:9], 809), (lambda b: b"", 0)])
def test_a_cache_of_another_length_is_named(tmp_path: Path, change: Callable[[bytes], bytes], size: int) -> None:
    picture_cache.write(tmp_path / "set", numbered())
    path = tmp_path / "set" / "images.u8"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"images\.u8: 800 bytes expected, {size} present; delete .*set"):
        picture_cache.read(tmp_path / "set", SHAPE, 50, memory_limit_gb=1)


@pytest.mark.parametrize(
    "kept", [np.arange(50) - 1, np.arange(50) + 1, np.arange(50)[::-1], np.arange(50) // 2, np.arange(50.0), []]
)
def test_places_that_no_cache_has_are_named(tmp_path: Path, kept: np.ndarray) -> None:
    picture_cache.write(tmp_path / "set", numbered())
    np.save(tmp_path / "set" / "kept.npy", kept)
    with pytest.raises(ValueError, match=r"kept\.npy: corrupt or truncated .*; delete .*set"):
        picture_cache.read(tmp_path / "set", SHAPE, 50, memory_limit_gb=1)


def test_replaced_pictures_of_the_same_size_and_time_are_decoded_anew(tmp_path: Path) -> None:
    for grey in (99, 50):
        for number in range(4):
            Image.new("L", (8, 8), grey).save(tmp_path / f"{number}.bmp")
            os.utime(tmp_path / f"{number}.bmp", (1e9, 1e9))
        assert (ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True).x == grey).all()


@pytest.mark.parametrize("notes", [["fitted 3"], {"changed": "3", "grey": 1, "remarks": ["\x1b[2J", 3]}, None, 7])
def test_damaged_notes_of_a_cache_are_left_out(notes: object) -> None:
    assert decoding.Findings.of(notes) == decoding.Findings()


@pytest.mark.parametrize("file", ["kept.npy", "images.u8"])
def test_a_cache_without_a_file_is_named(tmp_path: Path, file: str) -> None:
    picture_cache.write(tmp_path / "set", numbered())
    (tmp_path / "set" / file).unlink()
    with pytest.raises(ValueError, match=f"{file}.*; delete .*set"):
        picture_cache.read(tmp_path / "set", SHAPE, 50, memory_limit_gb=1)


def test_large_caches_are_memory_mapped_and_say_the_same(tmp_path: Path) -> None:
    folder = folder_of_pictures(tmp_path)
    mapped = ImageFolder(str(tmp_path), image_size=4, channels=1, memory_limit_gb=0).load(train=True).x
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, folder.load(train=True).x)


def test_pictures_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = folder_of_pictures(tmp_path)
    first.prepare()
    expected = first.load(train=True).x
    monkeypatch.setattr(decoding.Decoder, "decode", None)
    np.testing.assert_array_equal(ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True).x, expected)


def test_changed_files_are_decoded_again(tmp_path: Path) -> None:
    for grey in (110, 250):  # uncompressed: both have the same size
        for i in range(6):
            Image.new("L", (8, 8), grey).save(tmp_path / f"{i}.bmp")
        ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True)
    assert ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True).x.min() == 250


def test_another_size_or_number_of_channels_is_another_cache(tmp_path: Path) -> None:
    folder_of_pictures(tmp_path).load(train=True)
    assert ImageFolder(str(tmp_path), image_size=2, channels=3).load(train=True).x.shape[1:] == (3, 2, 2)


def test_the_cache_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = folder_of_pictures(tmp_path).load(train=True).x
    for path in (tmp_path / ".vae_lab").glob("*/images.u8"):
        path.write_bytes(bytes(path.stat().st_size))
    assert not ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True).x.any()
    monkeypatch.setattr(picture_cache, "FORMAT_VERSION", picture_cache.FORMAT_VERSION + 1)
    np.testing.assert_array_equal(ImageFolder(str(tmp_path), image_size=4, channels=1).load(train=True).x, expected)


def test_a_read_only_folder_is_cached_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    folder = folder_of_pictures(tmp_path)
    folder.load(train=True)
    assert not (tmp_path / ".vae_lab").exists()
    assert len(list((tmp_path / "cache" / "vae_lab").iterdir())) == 1


@pytest.mark.slow
def test_two_runs_started_at_once_share_no_folder_and_one_cache(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    folder_of_pictures(tmp_path / "pictures", num=25)
    (tmp_path / "pictures" / "empty.png").touch()
    words = ("data=image_folder", "data.root=pictures", "data.image_size=8", "network=mlp", *FAST)
    command = (sys.executable, "-m", "vae_lab.train", *words)
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    screens = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], screens
    assert len(list(tmp_path.glob("outputs/*/*/metrics.json"))) == 2
    caches = [path for path in (tmp_path / "pictures" / ".vae_lab").iterdir() if path.is_dir()]
    assert len(caches) == 2  # of the training set and of the test set
    warned = [screen.count("warning: image_folder: 1 of ") for screen in screens]
    assert max(warned) == 1
