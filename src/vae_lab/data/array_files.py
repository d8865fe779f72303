"""The user's own arrays, as NumPy saves them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from vae_lab.data.arrays import GIGABYTE, Arrays, Images, Indices, allocate, chunks, release
from vae_lab.data.image_set import ImageSet
from vae_lab.data.splits import train_and_test_rows


class ArrayFiles(ImageSet):
    """``train_images.npy`` under ``root`` and, where there are any, ``train_labels.npy``, ``test_images.npy`` and
    ``test_labels.npy``. Images are uint8 in 0..255, (N, C, H, W) or (N, H, W); labels are integers from 0, (N,).
    ``class_names.txt``, if it is there, has the name of each class, one a line, in the order of the labels.

    Without ``test_images.npy`` a part of the training images, chosen by chance, is the test set.

    Args:
        root: the folder of the files.
        image_size: height and width in pixels; None: as they are.
        memory_limit_gb: see `ImageSet`.
        test_fraction: of the images that become the test set where there is no ``test_images.npy``.
        split_seed: of that choice.

    Raises:
        ValueError: for a fraction outside its range.
    """

    name = "array"

    def __init__(
        self,
        root: str = "data",
        image_size: int | None = None,
        memory_limit_gb: float = 4.0,
        test_fraction: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb)
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction={test_fraction}: must lie between 0 and 1")
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    @cached_property
    def native_shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self._mapped_images("train").shape
        return (channels, height, width)

    @cached_property
    def num_classes(self) -> int:
        if self.class_names:
            return len(self.class_names)
        labels = self._labels("train")
        return 0 if labels is None else int(labels.max()) + 1

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The lines of ``class_names.txt``; empty if there is no such file.

        Raises:
            ValueError: for a file that is not one different name a line, or names without labels.
        """
        path = Path(self.root).expanduser() / "class_names.txt"
        if not path.exists():
            return ()
        try:
            names = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a text in UTF-8 ({error})") from error
        if not names or not all(names) or len(set(names)) < len(names):
            raise ValueError(f"{path}: must have one name a line, in the order of the labels, each of them once")
        if self._labels("train") is None:
            raise ValueError(f"{path}: names of classes, but {self._path('train_labels')} is missing")
        return tuple(names)

    def read(self, train: bool) -> Arrays:
        has_test = self._path("test_images").exists()
        split = "train" if train or not has_test else "test"
        images, labels = self._mapped_images(split), self._labels(split)
        if labels is not None and len(labels) != len(images):
            raise ValueError(f"{self._path(f'{split}_labels')}: {len(labels)} labels for {len(images)} images")
        rows: Indices | slice = slice(None)
        if not has_test:
            train_rows, test_rows = train_and_test_rows(len(images), self.test_fraction, self.split_seed)
            rows = train_rows if train else test_rows
        elif images.nbytes > self.memory_limit_gb * GIGABYTE:
            return Arrays(images, labels)
        return Arrays(self._copied(images, rows), None if labels is None else labels[rows])

    def _copied(self, images: Images, rows: Indices | slice) -> Images:
        indices = np.arange(len(images))[rows]
        copy = allocate((len(indices), *images.shape[1:]), self.memory_limit_gb)
        for chunk in chunks(len(indices)):
            copy[chunk] = images[indices[chunk]]
            release(copy)
            release(images)
        return copy

    def _path(self, stem: str) -> Path:
        return Path(self.root).expanduser() / f"{stem}.npy"

    def _mapped_images(self, split: str) -> Images:
        path = self._path(f"{split}_images")
        images = _open(path)
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or not images.size:
            raise ValueError(f"{path}: {images.dtype} {images.shape}, expected uint8 (N, C, H, W) or (N, H, W)")
        known: Images = images.astype(np.uint8, copy=False)
        return known[:, None] if known.ndim == 3 else known

    def _labels(self, split: str) -> Indices | None:
        path = self._path(f"{split}_labels")
        if not path.exists():
            return None
        labels = _open(path)
        if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1 or not len(labels):
            raise ValueError(f"{path}: {labels.dtype} {labels.shape}, expected integers (N,)")
        return labels.astype(np.int64)


def _open(path: Path) -> NDArray[np.generic]:
    """A memory map, so that the header is read and the rest only when it is used."""
    try:
        return open_memmap(path, mode="r")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected train_images.npy in {path.parent}") from None
    except Exception as error:  # of a corrupt header anything may come
        raise ValueError(f"{path}: corrupt, truncated or not an array ({' '.join(str(error).split())})") from error
