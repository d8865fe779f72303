"""The user's own pictures, in folders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from vae_lab.data.arrays import Arrays, Indices
from vae_lab.data.image_set import ImageSet, readable
from vae_lab.data.pictures import Decoder, decoded, ensure_decoded
from vae_lab.data.splits import train_and_test_rows


class _Listing(NamedTuple):
    paths: Sequence[Path]
    labels: Indices | None


class ImageFolder(ImageSet):
    """Pictures under ``root``, in one of these layouts:

    - ``train/<class>/*`` and ``test/<class>/*``, or ``train/*`` and ``test/*`` without labels;
    - ``<class>/*``, or ``*`` without labels; then a part chosen by chance is the test set.

    A class is a folder; classes are numbered in alphabetical order. Hidden files and folders are passed over, and so
    are files beside the class folders. Every picture is turned upright, cropped to its central square and resized.

    Args:
        root: the folder of the pictures.
        image_size: height and width in pixels; None: 64.
        memory_limit_gb: see `ImageSet`.
        channels: 1 for grey, 3 for colour.
        test_fraction: of the pictures that become the test set where there is no folder ``test``.
        max_skipped: the largest fraction of files that may be unreadable; they are left out with one warning.
        split_seed: of the choice of the test set.

    Raises:
        ValueError: for a number of channels other than 1 and 3, or a fraction outside its range.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str = "data",
        image_size: int | None = None,
        memory_limit_gb: float = 4.0,
        channels: Literal[1, 3] = 3,
        test_fraction: float = 0.1,
        max_skipped: float = 0.5,
        split_seed: int = 0,
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb)
        if channels not in (1, 3):
            raise ValueError(f"channels={channels}: must be 1 (grey) or 3 (colour)")
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction={test_fraction}: must lie between 0 and 1")
        if not 0 <= max_skipped <= 1:
            raise ValueError(f"max_skipped={max_skipped}: must lie in 0..1")
        self._decoder = Decoder(image_size or 64, channels)
        self.test_fraction = test_fraction
        self.max_skipped = max_skipped
        self.split_seed = split_seed

    @property
    def native_shape(self) -> tuple[int, int, int]:
        return self._decoder.shape

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the class folders.

        Raises:
            FileNotFoundError: if there is no folder ``root``.
            ValueError: if the test set has a class that the training set lacks.
        """
        classes = _folders(self._train_folder)
        if self._has_test_folder and (unknown := set(_folders(self._root / "test")) - set(classes)):
            raise ValueError(f"{self._root / 'test'}: class {sorted(unknown)[0]} has no folder in {self._train_folder}")
        return tuple(classes)

    def prepare(self) -> None:
        for train in (True, False):
            ensure_decoded(self.name, self.root, self._listing(train).paths, self._decoder, self.max_skipped)

    def read(self, train: bool) -> Arrays:
        paths, labels = self._listing(train)
        images, kept = decoded(self.name, self.root, paths, self._decoder, self.max_skipped, self.memory_limit_gb)
        return Arrays(images, None if labels is None else labels[kept])

    @cached_property
    def _root(self) -> Path:
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"data.root={self.root}: no such folder; expected pictures or class folders in it")
        return root

    @property
    def _train_folder(self) -> Path:
        return self._root / "train" if (self._root / "train").is_dir() else self._root

    @property
    def _has_test_folder(self) -> bool:
        return self._train_folder != self._root and (self._root / "test").is_dir()

    def _listing(self, train: bool) -> _Listing:
        if self._has_test_folder:
            return self._list(self._root / ("train" if train else "test"))
        paths, labels = self._list(self._train_folder)
        train_rows, test_rows = train_and_test_rows(len(paths), self.test_fraction, self.split_seed)
        rows = train_rows if train else test_rows
        return _Listing([paths[row] for row in rows], None if labels is None else labels[rows])

    def _list(self, folder: Path) -> _Listing:
        if self.classes:
            files = [(path, label) for label, name in enumerate(self.classes) for path in _files(folder / name, "**/*")]
            paths, labels = [path for path, _ in files], np.array([label for _, label in files], np.int64)
        else:
            paths, labels = _files(folder, "*"), None
        if not paths:
            raise FileNotFoundError(f"{folder}: no pictures; expected files in it or in class folders")
        return _Listing(paths, labels)


def _folders(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(names, key=readable)  # the same order on every file system


def _files(folder: Path, pattern: str) -> list[Path]:
    # Pipes and broken links too: they are named among the files that cannot be read.
    return sorted(path for path in folder.glob(pattern) if not path.is_dir() and not path.name.startswith("."))
