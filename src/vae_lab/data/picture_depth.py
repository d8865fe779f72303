"""The value of white in pictures of more than 8 bits: a file says how many bits there are, not how many are used."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MaxValue = int | Literal["auto"]

SIXTEEN_BITS = 2**16 - 1
EIGHT_BITS = 2**8 - 1
_DARK = 128
"""Where no value reaches this, no number of bits can be told from the values."""


@dataclass(frozen=True)
class White:
    """The values that become 255: of whole numbers of 16 or 32 bits, of floats, and of grey bytes."""

    integers: int = SIXTEEN_BITS
    floats: float = 1.0
    grey_bytes: int = EIGHT_BITS

    def scaled(self, image: Image.Image) -> Image.Image:
        """Returns a picture of 8 bits a channel.

        Raises:
            ValueError: for values below 0 or above white, and for colours that a scale other than the usual one meets.
        """
        if image.mode == "L" and self.grey_bytes != EIGHT_BITS:
            return Image.fromarray(_to_bytes(np.asarray(image), self.grey_bytes))
        if image.mode == "F":
            return Image.fromarray(_to_bytes(np.asarray(image), self.floats))
        if not image.mode.startswith("I"):
            if self.grey_bytes != EIGHT_BITS:
                raise ValueError(f"max_value={self.grey_bytes} is for grey pictures, this one is {image.mode}")
            return image
        # Pillow's own conversion clips 16-bit greys to 255 in place of scaling them.
        values = np.asarray(image)
        grey = Image.fromarray(_to_bytes(values, self.integers))
        if "transparency" in image.info:
            grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], np.uint8(0), np.uint8(255))))
        return grey


USUAL = White()


@dataclass
class DepthOfSet:
    """Finds the white of a set of pictures when they are decoded.

    Args:
        root: folder of the pictures.
        paths: the training pictures, whose largest value counts.
        max_value: the value of white; auto: the least 2^bits - 1 that holds the largest value of the deep pictures.
    """

    root: str
    paths: Sequence[Path]
    max_value: MaxValue

    @cached_property
    def key(self) -> list[Any]:
        """What the white depends on, for the name of a cache."""
        if self.max_value != "auto":
            return [self.max_value]
        stats = [(os.path.relpath(p, self.root), s.st_size, s.st_mtime_ns) for p, s in _stats(self.paths)]
        return ["auto", hashlib.sha256(json.dumps(stats).encode()).hexdigest()]

    @cached_property
    def white(self) -> White:
        """The values of white; for ``auto`` the first use opens every picture, and reads the deep ones.

        Raises:
            ValueError: for values so small that nothing is known.
        """
        if self.max_value != "auto":
            bytes_too = min(self.max_value, EIGHT_BITS)
            return White(self.max_value, float(self.max_value), bytes_too)
        white = White()
        integers, floats = self._largest
        if integers is not None and integers > 0:
            white = replace(white, integers=_least_white(integers))
        if floats is not None and floats > 1:
            white = replace(white, floats=float(_least_white(math.ceil(floats))))
        return white

    def notes(self) -> list[str]:
        """Returns what a user should know of the white that was found."""
        if self.max_value != "auto":
            return []
        integers, floats = self._largest
        found = []
        if integers is not None and self.white.integers != SIXTEEN_BITS:
            found.append(_note("16-bit pictures", integers, self.white.integers))
        if floats is not None and self.white.floats != 1:
            found.append(_note("floating-point pictures", floats, self.white.floats))
        return found

    @cached_property
    def _largest(self) -> tuple[float | None, float | None]:
        """The largest value of whole numbers and of floats in the deep pictures; None where there are none."""
        with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
            found = [depth for depth in pool.map(_largest_value, self.paths) if depth is not None]
        return (
            max((value for mode, value in found if mode == "I"), default=None),
            max((value for mode, value in found if mode == "F"), default=None),
        )


def _note(what: str, largest: float, white: float) -> str:
    return (
        f"{what} hold no value above {_plain(largest)}, so {_plain(white)} is taken for white;"
        " data.images.max_value sets another value"
    )


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _least_white(largest: float) -> int:
    if 1 < largest < _DARK:
        raise ValueError(
            f"data.images.max_value=auto: pictures of more than 8 bits hold no value above {_plain(largest)};"
            " set it to the value of white"
        )
    return int(1 if largest <= 1 else 2 ** int(largest).bit_length() - 1)


def _largest_value(path: Path) -> tuple[str, float] | None:
    """The mode, I or F, and the largest value of a deep picture; None of any other file."""
    from vae_lab.data.pictures import known_formats  # noqa: PLC0415

    try:
        if not path.is_file():
            return None
        with Image.open(path, formats=known_formats()) as image:
            if not image.mode.startswith(("I", "F")):
                return None
            values = np.asarray(image)
            return image.mode[0], float(values[np.isfinite(values)].max())
    except Exception:  # the decoder names it
        return None


def _to_bytes(values: NDArray[Any], white: float) -> NDArray[np.uint8]:
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and highest <= white):
        outside = highest if lowest >= 0 else lowest
        raise ValueError(
            f"value {_plain(outside)} where {_plain(white)} is white; data.images.max_value sets the value of white"
        )
    scaled: NDArray[np.uint8] = (values * (255 / white)).round().astype(np.uint8)
    return scaled


def _stats(paths: Sequence[Path]) -> list[tuple[Path, os.stat_result]]:
    return [(path, path.stat() if path.exists() else path.lstat()) for path in paths]
