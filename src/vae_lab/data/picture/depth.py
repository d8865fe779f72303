"""The value of white in pictures of more than 8 bits: a file states the number of bits, not how many are used."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae_lab.data.picture import cache as picture_cache
from vae_lab.data.picture.files import open_picture, stamps

MaxValue = int | dict[str, float] | Literal["auto"]

SIXTEEN_BITS = 2**16 - 1
_EIGHT_BITS = 2**8 - 1
_DARK = 128
"""If no value reaches this, no number of bits can be inferred from the values."""


@dataclass(frozen=True)
class White:
    """The values that become 255: of whole numbers of 16 or 32 bits, of floats, and of grey bytes."""

    integers: int = SIXTEEN_BITS
    floats: float = 1.0
    grey_bytes: int = _EIGHT_BITS

    @classmethod
    def of(cls, max_value: MaxValue) -> White:
        """Returns the white of the one value that a user gives for all grey pictures, or of those that were found.

        Pictures of a type of numbers that was not found have the usual white.
        """
        if isinstance(max_value, dict):
            return cls(int(max_value.get("integers", SIXTEEN_BITS)), float(max_value.get("floats", 1.0)))
        return cls() if max_value == "auto" else cls(max_value, float(max_value), min(max_value, _EIGHT_BITS))

    def scaled(self, image: Image.Image) -> Image.Image:
        """Returns a picture of 8 bits a channel.

        Raises:
            ValueError: for values below 0 or above white, and for colours that a scale other than the usual one meets.
        """
        if image.mode == "L" and self.grey_bytes != _EIGHT_BITS:
            return Image.fromarray(_to_bytes(np.asarray(image), self.grey_bytes))
        if image.mode == "F":
            return Image.fromarray(_to_bytes(np.asarray(image), self.floats))
        if not image.mode.startswith("I"):
            if self.grey_bytes != _EIGHT_BITS and image.mode != "1":  # black and white are those of the format
                raise WrongWhiteError(
                    f"data.images.max_value={self.grey_bytes} is for grey pictures, this one is {image.mode}; convert"
                    " the pictures to one kind"
                )
            return image
        # Pillow's own conversion clips 16-bit greys to 255 in place of scaling them.
        values = np.asarray(image)
        grey = Image.fromarray(_to_bytes(values, self.integers))
        if "transparency" in image.info:
            grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], np.uint8(0), np.uint8(255))))
        return grey


USUAL = White()


class WrongWhiteError(ValueError):
    """Values that the white does not fit: the picture is sound, and leaving out all such ones would change the set."""


class _Largest(NamedTuple):
    """The largest values of the deep pictures of a set; None where there are none of a kind."""

    integers: float | None
    floats: float | None
    colours: float | None  # the upper 8 of 16 bits, which is all that Pillow reads


@dataclass
class DepthOfSet:
    """Finds the white of a set of pictures when they are decoded.

    Args:
        root: folder of the pictures.
        paths: training pictures, whose largest value counts.
        max_value: value of white; auto: the least 2^bits - 1 that holds the largest value of the deep pictures.
    """

    root: str
    paths: Sequence[Path]
    max_value: MaxValue

    @cached_property
    def found(self) -> MaxValue:
        """The ``max_value`` that stands for the values found; ``auto`` if there are no deep pictures.

        For ``auto`` the first use opens every picture and reads the deep ones.

        Raises:
            ValueError: for values so small that nothing is known.
        """
        if self.max_value != "auto":
            return self.max_value
        largest = self._largest
        _refuse_dark_colours(largest.colours)
        whites: dict[str, float] = {}
        if largest.integers:
            whites["integers"] = _least_white(largest.integers)
        if largest.floats is not None:
            whites["floats"] = float(_least_white(math.ceil(largest.floats)))
        return whites or "auto"

    @property
    def white(self) -> White:
        """The values of white; errors as `found`."""
        return White.of(self.found)

    @property
    def is_rounded(self) -> bool:
        """True if pictures have more than 8 bits; not known if the user gives the white."""
        if self.max_value != "auto":
            return False
        integers, *others = self._largest
        return (integers or 0) > _EIGHT_BITS or any(value is not None for value in others)

    def notes(self) -> list[str]:
        """Returns what a user should know of the white that was found."""
        if self.max_value != "auto":
            return []
        integers, floats = self._largest.integers, self._largest.floats
        notes = []
        if integers is not None and self.white.integers != SIXTEEN_BITS:
            notes.append(_note("16-bit pictures", integers, self.white.integers))
        if floats is not None and self.white.floats != 1:
            notes.append(_note("floating-point pictures", floats, self.white.floats))
        return notes

    @cached_property
    def _largest(self) -> _Largest:
        """The largest values, from the cache of an earlier run if the files are the same."""
        try:
            found = _Largest(*json.loads(self._cached.read_text("utf-8")))
            if all(value is None or (type(value) in (int, float) and 0 <= value < math.inf) for value in found):
                return found
        except (OSError, ValueError, TypeError):
            pass
        return _largest_values(self.paths)

    def save(self) -> None:
        """Saves what was found beside the decoded pictures, so that the next run need not open every file."""
        if self.max_value == "auto" and not self._cached.exists():
            picture_cache.write_json(self._cached, self._largest)

    @cached_property
    def _cached(self) -> Path:
        return picture_cache.cache_folder(self.root, "depth", stamps(self.root, self.paths)).with_suffix(".json")


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


def check_max_value(max_value: MaxValue) -> None:
    """Raises ValueError for a value of white outside its range."""
    whites = max_value if isinstance(max_value, dict) else {} if max_value == "auto" else {"integers": max_value}
    if not whites.keys() <= {"integers", "floats"} or not all(1 <= value < 2**32 for value in whites.values()):
        raise ValueError(f"max_value={max_value}: must be auto or lie in 1..{2**32 - 1}")


def has_deep_colour(image: Image.Image) -> bool:
    """True for colours, or greys with transparency, of 16 bits, of which Pillow reads the upper 8."""
    return not image.mode.startswith("I") and any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))


def _refuse_dark_colours(largest: float | None) -> None:
    if largest is not None and largest < _DARK:
        raise ValueError(
            f"data.images.max_value=auto: colours of 16 bits hold no value above {int(largest) * 256 + 255},"
            " and of fewer bits than 16 only the upper ones would be read; convert the pictures to 8 bits a channel,"
            f" or set it to {SIXTEEN_BITS} if they are that dark"
        )


def _largest_values(paths: Sequence[Path]) -> _Largest:
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [depth for depth in pool.map(_largest_value, paths) if depth is not None]
    return _Largest(*(max((value for kind, value in found if kind == wanted), default=None) for wanted in "IFC"))


def _largest_value(path: Path) -> tuple[str, float] | None:
    """Returns the kind, I or F, or C for colours, and the largest value of a deep picture; None for any other file."""
    try:
        with open_picture(path) as image:
            if has_deep_colour(image):
                values = np.asarray(image)
                return "C", float((values[..., :-1] if image.mode.endswith("A") else values).max())
            if not image.mode.startswith(("I", "F")):
                return None
            values = np.asarray(image)
            known = values[np.isfinite(values)]
            return None if known.min() < 0 else (image.mode[0], float(known.max()))
    except Exception:  # the decoder names it
        return None


def _to_bytes(values: NDArray[Any], white: float) -> NDArray[np.uint8]:
    lowest, highest = values.min(), values.max()
    if not -math.inf < lowest <= highest < math.inf:
        raise ValueError(f"values {_plain(lowest)} to {_plain(highest)}")
    if lowest < 0:
        raise WrongWhiteError(
            f"value {_plain(lowest)} where 0 is black and {_plain(white)} white; clip or shift them, or save them as an"
            " array: data=array takes any numbers"
        )
    if highest > white:
        raise WrongWhiteError(
            f"value {_plain(highest)} where {_plain(white)} is white; data.images.max_value sets the value of white"
        )
    scaled: NDArray[np.uint8] = (values * (255 / white)).round().astype(np.uint8)
    return scaled
