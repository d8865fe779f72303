"""Small data sets in the real formats of the published ones."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision import datasets

from vae_lab.data import Arrays, ImageSet


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx_set(folder: Path, zipped: bool, num: int = 12) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The four files of a relative of MNIST; returns (images, labels) by split."""
    folder.mkdir(parents=True)
    rng, written = np.random.default_rng(0), {}
    for split in ("train", "t10k"):
        images = rng.integers(0, 256, (num, 28, 28), np.uint8)
        labels = rng.integers(0, 10, num, np.uint8)
        written[split] = (images, labels)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            path = folder / f"{split}-{kind}-ubyte{'.gz' * zipped}"
            path.write_bytes(gzip.compress(content) if zipped else content)
    return written


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Six pickles and the meta file; torchvision is told their digests. Returns (rows, labels) by file."""
    folder, rng, written = root / "cifar-10-batches-py", np.random.default_rng(1), {}
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        data, labels = rng.integers(0, 256, (4, 3072), np.uint8), rng.integers(0, 10, 4).tolist()
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}, protocol=2))
        written[name] = (data, labels)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}, protocol=2))
    digests = [[name, md5(folder / name)] for name in written]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", digests[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", digests[5:])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": md5(folder / "batches.meta")})
    return written


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two .mat files, (32, 32, 3, N) and labels 1..10; torchvision is told their digests."""
    root.mkdir(parents=True, exist_ok=True)
    rng, written, listed = np.random.default_rng(2), {}, {}
    for split in ("train", "test"):
        x, y = rng.integers(0, 256, (32, 32, 3, 10), np.uint8), np.arange(1, 11, dtype=np.uint8)[:, None]
        path = root / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": x, "y": y})
        written[split], listed[split] = (x, y), ["http://nowhere", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return written


def write_celeba(root: Path, num: int = 12) -> list[Path]:
    """Pictures of one grey value each, 20 * their number; partitions 0 0 1 2 repeated; two attributes."""
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(num)]
    for i, name in enumerate(names):
        Image.new("RGB", (178, 218), (20 * i,) * 3).save(folder / "img_align_celeba" / name)
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{n} {(0, 0, 1, 2)[i % 4]}\n" for i, n in enumerate(names))
    )
    attributes = "".join(f"{n} {1 if i % 2 else -1:2d} {1 if i % 3 else -1:2d}\n" for i, n in enumerate(names))
    (folder / "list_attr_celeba.txt").write_text(f"{num}\nMale Smiling \n{attributes}")
    return [folder / "img_align_celeba" / name for name in names]


def image_set(
    num_train: int = 100, num_test: int = 40, grey: int | None = None, num_classes: int = 10, map_to: Path | None = None
) -> Callable[..., ImageSet]:
    """A set in memory whose i-th image holds i in its first pixel, or is all of one grey; ``map_to``: memory-mapped."""

    class Numbered(ImageSet):
        name = "numbered"
        native_shape = (1, 4, 4)

        @property
        def num_classes(self) -> int:
            return num_classes

        def read(self, train: bool) -> Arrays:
            num = num_train if train else num_test
            images = np.random.default_rng(train).integers(0, 256, (num, 1, 4, 4), np.uint8)
            images[:, 0, 0, 0] = np.arange(num) % 256
            if grey is not None:
                images[:] = grey
            if map_to is not None:
                path = map_to / f"{train}.npy"
                np.save(path, images)
                images = np.load(path, mmap_mode="r")
            return Arrays(images, np.arange(num) % num_classes if num_classes else None)

    return Numbered
