"""Whatever bytes a data file holds, its reader keeps its promise or names the file in a line, and executes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.damage import LONG, QUICK, damage
from tests.data.small_sets import write_celeba, write_cifar10, write_idx_set, write_svhn
from vae_lab.data import ArrayFiles, CelebA, Cifar10, ImageFolder, ImageSet, Kmnist, Svhn
from vae_lab.data.sets import mnist

pytestmark = pytest.mark.usefixtures("little_memory", "fast_disk")


@dataclass(frozen=True)
class Victim:
    """A file to damage, and the set that is read from it."""

    path: Path
    open: Callable[[], ImageSet]


Write = Callable[[Path, pytest.MonkeyPatch], Victim]


def idx(file: str, zipped: bool) -> Write:
    def write(root: Path, _: pytest.MonkeyPatch) -> Victim:
        write_idx_set(root / "KMNIST" / "raw", zipped)
        return Victim(root / "KMNIST" / "raw" / file, lambda: Kmnist(str(root)))

    return write


def cifar10(file: str) -> Write:
    def write(root: Path, monkeypatch: pytest.MonkeyPatch) -> Victim:
        write_cifar10(root, monkeypatch)
        return Victim(root / "cifar-10-batches-py" / file, lambda: Cifar10(str(root)))

    return write


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> Victim:
    write_svhn(root, monkeypatch)
    return Victim(root / "train_32x32.mat", lambda: Svhn(str(root)))


def array(file: str) -> Write:
    def write(root: Path, _: pytest.MonkeyPatch) -> Victim:
        root.mkdir()
        np.save(root / "train_images.npy", np.random.default_rng(0).integers(0, 256, (6, 2, 4, 5), np.uint8))
        np.save(root / "train_labels.npy", np.arange(6) % 3)
        return Victim(root / file, lambda: ArrayFiles(str(root), test_fraction=0.5))

    return write


def celeba(file: str) -> Write:
    def write(root: Path, _: pytest.MonkeyPatch) -> Victim:
        write_celeba(root)
        return Victim(root / "celeba" / file, lambda: CelebA(str(root), image_size=4, attribute="Smiling"))

    return write


def cache(file: str) -> Write:
    def write(root: Path, _: pytest.MonkeyPatch) -> Victim:
        for i in range(6):
            (root / "train" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 10 * i).save(root / "train" / "ab"[i % 2] / f"{i}.png")
        folder = ImageFolder(str(root), image_size=4)
        folder.load(train=True)
        (path,) = (root / ".vae_lab").glob(f"*/{file}")
        return Victim(path, lambda: ImageFolder(str(root), image_size=4))

    return write


VICTIMS: dict[str, Write] = {
    "idx images": idx("train-images-idx3-ubyte", zipped=False),
    "idx images, zipped": idx("train-images-idx3-ubyte.gz", zipped=True),
    "idx labels": idx("train-labels-idx1-ubyte", zipped=False),
    "idx labels, zipped": idx("train-labels-idx1-ubyte.gz", zipped=True),
    "cifar10 batch": cifar10("data_batch_3"),
    "cifar10 meta": cifar10("batches.meta"),
    "svhn": svhn,
    "array images": array("train_images.npy"),
    "array labels": array("train_labels.npy"),
    "celeba partition": celeba("list_eval_partition.txt"),
    "celeba attributes": celeba("list_attr_celeba.txt"),
    "cache pictures": cache("images.u8"),
    "cache places": cache("kept.npy"),
}
every_victim = pytest.mark.parametrize("write", VICTIMS.values(), ids=VICTIMS)


def check_set(victim: Victim, content: bytes) -> bool:
    """True if the set is read, with the promised contents; if not, the error names the file (labels: or the set)."""
    victim.path.write_bytes(content)
    images = victim.open()
    try:
        arrays = images.load(train=True)
        num_classes, shape = images.num_classes, images.shape
    except (ValueError, OSError) as error:
        text = str(error)
        assert "\n" not in text
        assert str(victim.path) in text or text.startswith(f"{images.name}: ") or text.startswith("attribute=")
        return False
    assert arrays.x.dtype == np.uint8
    assert arrays.x.shape == (len(arrays), *shape)
    assert arrays.x.size > 0
    assert arrays.y is not None
    assert (arrays.y.dtype, arrays.y.shape) == (np.int64, (len(arrays),))
    assert arrays.y.min() >= 0
    assert arrays.y.max() < num_classes
    return True


@every_victim
def test_sound_files_are_read(alone: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    victim = write(alone, monkeypatch)
    assert check_set(victim, victim.path.read_bytes())


def check_sets(alone: Path, monkeypatch: pytest.MonkeyPatch, write: Write, effort: settings) -> None:
    victim = write(alone, monkeypatch)
    sound = victim.path.read_bytes()

    @effort
    @given(st.data())
    def check(data: st.DataObject) -> None:
        check_set(victim, damage(data, sound))

    check()


@every_victim
def test_a_damaged_file_is_read_as_promised_or_named(
    alone: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    check_sets(alone, monkeypatch, write, QUICK)


@pytest.mark.slow
@every_victim
def test_a_file_damaged_in_many_ways_is_read_as_promised_or_named(
    alone: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    check_sets(alone, monkeypatch, write, LONG)


@QUICK
@given(data=st.data())
def test_damaged_embedded_digits_are_named(tmp_path: Path, data: st.DataObject) -> None:
    content = bytes(range(256)) * 4
    path, sound = tmp_path / "mnist.xz", lzma.compress(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, "_SIZES", {"images": len(content)})
        patch.setattr(mnist, "SHA256", {"images": hashlib.sha256(content).hexdigest()})
        path.write_bytes(damage(data, sound))
        with contextlib.suppress(ValueError):
            assert mnist.unpack(path) == {"images": content}


# Programs


class Program:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, ("executed",)


def object_array(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([value], object), allow_pickle=True)
    return buffer.getvalue()


@every_victim
@pytest.mark.parametrize("content", [pickle.dumps(Program()), object_array(Program())], ids=["pickle", "npy"])
def test_a_pickle_is_not_opened(alone: Path, monkeypatch: pytest.MonkeyPatch, write: Write, content: bytes) -> None:
    victim = write(alone, monkeypatch)
    with contextlib.suppress(AssertionError):  # what of these bytes is read does not matter here
        check_set(victim, content)
    assert not Path("executed").exists()
    pickle.loads(content[content.index(b"\x80") :])
    assert Path("executed").exists()  # so it would have been seen
