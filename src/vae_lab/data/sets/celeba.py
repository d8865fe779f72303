"""CelebA, read from its published files; torchvision only downloads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from torchvision import datasets

from vae_lab.data.arrays import Arrays
from vae_lab.data.framing import Fit, Fitted, ImageSize
from vae_lab.data.image_set import ImageSet
from vae_lab.data.picture.decoding import Decoder, PictureSet
from vae_lab.data.sets.published_files import locate

_PARTITION = "list_eval_partition.txt"
_ATTRIBUTES = "list_attr_celeba.txt"
_TEST_PARTITION = 2
_NAMES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin",
    "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open",
    "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline",
    "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""The 40 attributes, as ``list_attr_celeba.txt`` names them."""


class CelebA(ImageSet):
    """Faces of celebrities, aligned: 182,637 and 19,962 colour images of 178 x 218.

    The published partitions 0 (training, 162,770) and 1 (validation, 19,867) together are the training split, so
    ``val_size: 19867`` gives validation its published size.

    Z. Liu, P. Luo, X. Wang, X. Tang, "Deep Learning Face Attributes in the Wild" (2015), arXiv:1411.7766; for
    non-commercial research only.

    Args:
        root: folder that holds ``celeba/``, or that it is downloaded to (which needs the package gdown).
        image_size: side of square pictures in pixels, or height and width; None: 64.
        memory_limit_gb: see `ImageSet`.
        crop: side in pixels of the central square that is resized; 148 is what most papers cut out.
        attribute: one of the 40 binary attributes, as the label, such as Male or Smiling; None: no labels.
        attributes: several of the attributes as the condition, or "all" of them, instead of one as the label.
        fit: what happens to the central square if ``image_size`` is not square.

    Raises:
        ValueError: for a crop below 1, an unknown attribute, or both ``attribute`` and ``attributes``.
    """

    name = "celeba"
    licence = "for non-commercial research only, Z. Liu et al."

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = None,
        memory_limit_gb: float = 4.0,
        crop: int = 148,
        attribute: str | None = None,
        attributes: Sequence[str] | Literal["all"] | None = None,
        fit: Fit = "crop",
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb, fit)
        if crop < 1:
            raise ValueError(f"crop={crop}: must be 1 or more")
        if attribute and attributes:
            raise ValueError(f"attribute={attribute}: attributes={attributes} are the condition; name one of both")
        self.attribute = attribute
        self._attributes = _NAMES if attributes == "all" else _known(attributes or ())
        self._decoder = Decoder(self.sides or 64, channels=3, crop=crop, fit=fit)

    @property
    def native_shape(self) -> tuple[int, int, int]:
        return self._decoder.shape

    @property
    def num_classes(self) -> int:
        return 2 if self.attribute else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        return (f"not {self.attribute}", self.attribute) if self.attribute else ()

    @property
    def attributes(self) -> tuple[str, ...]:
        return self._attributes

    @property
    def place(self) -> str:
        return str(self._folder)

    def prepare(self) -> None:
        for train in (True, False):
            self._pictures(train).ensure_decoded()

    def read(self, train: bool) -> Arrays:
        pictures = self._pictures(train)
        names = [path.name for path in pictures.paths]
        images, _, findings = pictures.read(self.memory_limit_gb)
        self.fitted["train" if train else "test"] = Fitted(findings.changed, findings.enlarged, len(images))
        wanted = (self.attribute,) if self.attribute else self.attributes
        if not wanted:
            return Arrays(images, names=np.array(names))
        values = self._attribute_values(wanted)
        if unknown := set(names) - values.keys():
            raise ValueError(f"{self._folder / _ATTRIBUTES}: corrupt or truncated: {min(unknown)} is not in it")
        flags = np.array([values[name] for name in names], np.int64)
        return Arrays(images, flags[:, 0] if self.attribute else flags.astype(np.float32), names=np.array(names))

    @cached_property
    def _folder(self) -> Path:
        files = [_PARTITION, _ATTRIBUTES, "img_align_celeba"]
        return locate(self.name, self.root, datasets.CelebA.base_folder, files, self._download)

    @staticmethod
    def _download(folder: str) -> None:
        datasets.CelebA(folder, download=True)

    def _pictures(self, train: bool) -> PictureSet:
        path = self._folder / _PARTITION
        heads, rows = _rows(path)
        _check_columns(path, rows, 2, len(heads))
        partition = {name: _one_of((0, 1, 2), value, path) for name, value in rows}
        files = [self._folder / "img_align_celeba" / n for n, p in partition.items() if (p < _TEST_PARTITION) == train]
        if not files:
            raise ValueError(f"{path}: names no picture of the {'training' if train else 'test'} set")
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"{missing[0]}: missing, as are {len(missing) - 1} others named in {path}")
        return PictureSet(self.name, str(self._folder), files, self._decoder)

    def _attribute_values(self, wanted: Sequence[str]) -> dict[str, list[int]]:
        """Returns the wanted attributes of each picture: 1 for 1 in the file, 0 for -1 or 0."""
        path = self._folder / _ATTRIBUTES
        heads, rows = _rows(path)
        # Above the rows stand their number and the names as published; some copies leave out either.
        names = [name for name in heads[-1] if name != "image_id"] if heads and len(heads[-1]) > 1 else list(_NAMES)
        if heads and heads[0] != [str(len(rows))] and len(heads[0]) == 1:
            raise ValueError(f"{path}: truncated: announces {heads[0][0]} pictures and has {len(rows)}")
        _check_columns(path, rows, 1 + len(names), len(heads))
        if missing := [name for name in wanted if name not in names]:
            raise ValueError(f"attribute={missing[0]}: choose one of {', '.join(names)}, as {path} names them")
        columns = [1 + names.index(name) for name in wanted]
        off = 0 if any("0" in row[1:] for row in rows) else -1
        return {row[0]: [int(_one_of((off, 1), row[column], path) > 0) for column in columns] for row in rows}


def _known(attributes: Sequence[str]) -> tuple[str, ...]:
    for name in attributes:
        if name not in _NAMES:
            raise ValueError(
                f"attributes={list(attributes)}: {name} is unknown; choose from {', '.join(_NAMES)}, or all"
            )
    return tuple(dict.fromkeys(attributes))


def _rows(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Returns the words of the lines above those of pictures, and of these; a comma separates words as a space does."""
    try:
        rows = [line.replace(",", " ").split() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: corrupt ({error})") from error
    first = next((i for i, row in enumerate(rows) if row and row[0].lower().endswith((".jpg", ".png"))), len(rows))
    return rows[:first], rows[first:]


def _check_columns(path: Path, rows: list[list[str]], columns: int, first: int) -> None:
    bad = next((number for number, row in enumerate(rows, 1 + first) if len(row) != columns), None)
    if bad is not None or not rows:
        raise ValueError(f"{path}: corrupt or truncated in line {bad or 1 + first} (expected {columns} columns)")


def _one_of(values: Sequence[int], text: str, path: Path) -> int:
    if text not in map(str, values):
        raise ValueError(f"{path}: corrupt: {text} where one of {', '.join(map(str, values))} should be")
    return int(text)
