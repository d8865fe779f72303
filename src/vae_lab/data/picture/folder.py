"""The user's own pictures, in folders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vae_lab.data.arrays import Arrays
from vae_lab.data.framing import Fit, Fitted, ImageSize
from vae_lab.data.picture.decoding import Decoder, PictureSet
from vae_lab.data.picture.depth import DepthOfSet, MaxValue, check_max_value
from vae_lab.data.picture.layout import FolderLayout, Layout, Listing
from vae_lab.data.splits import OwnData
from vae_lab.types import SplitName, Support


class ImageFolder(OwnData):
    """Pictures under ``root``, in one of these layouts:

    - ``train/<class>/*``, ``val/<class>/*`` and ``test/<class>/*``, or ``train/*``, ... without labels; also under the
      names training, valid, validation, dev and testing, in any case, and with words such as in ``training_set``;
      ``val`` and ``test`` may be missing;
    - ``<class>/*``, or ``*`` without labels.

    Without test folder a part of the training pictures, chosen by chance, is the test set. A class is a folder that
    holds pictures, itself or in folders within, linked ones too; classes are numbered in alphabetical order. Hidden
    files and folders are passed over, and so are files beside class folders and folders without pictures. Every picture
    is turned upright and resized.

    Args:
        root: folder of the pictures.
        image_size: side of square pictures in pixels, or height and width; None: 64.
        memory_limit_gb: see `ImageSet`.
        channels: number of channels, 1 for grey and 3 for colour.
        test_fraction: fraction of the pictures that become the test set if there is no folder ``test``.
        max_skipped: largest fraction of files that may be unreadable; they are skipped with one warning.
        split_seed: seed of the choice of the test set.
        layout: ``splits``: read only the folders train, val and test; ``classes``: every folder is a class; auto:
            recognised by the names of the folders, or refused.
        max_value: value of white in grey pictures that is not the largest their bits can hold, such as 4095 for 12 bits
            in 16; auto: the least 2^bits - 1 that holds the largest value of the deep training pictures; a mapping
            with ``integers`` and ``floats``: a value for each kind of deep pictures.
        fit: see `DataSource`.

    Raises:
        ValueError: for a number of channels other than 1 and 3, or a fraction outside its range.
    """

    name = "image_folder"

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = None,
        memory_limit_gb: float = 4.0,
        channels: Literal[1, 3] = 3,
        test_fraction: float = 0.1,
        max_skipped: float = 0.5,
        split_seed: int = 0,
        layout: Layout = "auto",
        max_value: MaxValue = "auto",
        fit: Fit = "crop",
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb, test_fraction, split_seed, fit)
        if channels not in (1, 3):
            raise ValueError(f"channels={channels}: must be 1 (grey) or 3 (colour)")
        if not 0 <= max_skipped <= 1:
            raise ValueError(f"max_skipped={max_skipped}: must lie in 0..1")
        self._decoder = Decoder(self.sides or 64, channels, fit=fit)
        self.max_skipped = max_skipped
        self.layout: Layout = layout
        check_max_value(max_value)
        self.max_value: MaxValue = max_value
        self._printed: set[str] = set()  # notes: most are the same for every split
        self._unreadable: dict[SplitName, int] = {}
        self._grey: dict[SplitName, bool] = {}

    @property
    def native_shape(self) -> tuple[int, int, int]:
        return self._decoder.shape

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the class folders; errors as `FolderLayout`."""
        return self._folders.classes

    @property
    def support(self) -> Support:
        return "uint8"

    def origin(self, split: SplitName) -> str:
        if self._files.get(split, self._folders.root) != self._folders.root:
            return f"{self._files[split].name}/"
        return super().origin(split)

    def passed_over(self) -> list[str]:
        return [
            *(f"{n} unreadable files of {split}" for split, n in self._unreadable.items()),
            *self._folders.passed_over(),
        ]

    def values_note(self) -> str:
        rounded = (
            "8 bits, to which deeper pictures are rounded (data=array keeps them)" if self._depth.is_rounded else ""
        )
        equal = "three equal channels, because every picture is grey; data.images.channels=1 reads one"
        return "; ".join([rounded] * bool(rounded) + [equal] * (bool(self._grey) and all(self._grey.values())))

    def found(self) -> dict[str, Any]:
        return {"max_value": self._depth.found}

    def prepare(self) -> None:
        splits: tuple[SplitName, ...] = ("train", "val", "test") if self.has_val else ("train", "test")
        for split in splits:
            self._pictures(self._listing(split).paths).ensure_decoded()
        self._depth.save()

    def _read(self, split: SplitName) -> Arrays:
        paths, labels = self._listing(split)
        images, kept, findings = self._pictures(paths).read(self.memory_limit_gb)
        self.fitted[split] = Fitted(findings.changed, findings.enlarged, len(kept))
        self._grey[split] = findings.grey
        new = [note for note in (*self._depth.notes(), *findings.remarks) if note not in self._printed]
        self._printed.update(new)
        for note in new:
            warnings.warn(f"{self.name}: {note}", stacklevel=2)
        if len(kept) < len(paths):
            self._unreadable[split] = len(paths) - len(kept)
        prefix = f"{self._folders.root}{os.sep}"
        names = np.array([str(paths[place]).removeprefix(prefix) for place in kept])
        return Arrays(images, None if labels is None else labels[kept], names=names)

    @cached_property
    def _folders(self) -> FolderLayout:
        return FolderLayout(self.root, self.layout)

    @property
    def _files(self) -> dict[SplitName, Path]:
        return self._folders.splits

    @cached_property
    def _depth(self) -> DepthOfSet:
        return DepthOfSet(self.root, self._folders.listing("train").paths, self.max_value)

    def _pictures(self, paths: Sequence[Path]) -> PictureSet:
        return PictureSet(
            self.name, self.root, paths, replace(self._decoder, white=self._depth.white), self.max_skipped
        )

    def _listing(self, split: SplitName) -> Listing:
        train = self._folders.listing("train")
        rows = self._rows(split, len(train.paths))
        if rows is None:
            return self._folders.listing(split)
        paths, labels = train
        return Listing([paths[row] for row in rows], None if labels is None else labels[rows])
