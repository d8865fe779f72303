"""Recognises the axes and the values of a user's arrays, or refuses them with the remedy.

Tables are (N, D), signals (N, C, T), pictures (N, C, H, W), volumes (N, C, D, H, W), or with the channels last or left
out. What cannot be mistaken is recognised by the shape and the values; anything else is refused with the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.array.values import (
    DARK,
    WHITE,
    Layout,
    MaxValue,
    Range,
    check_grey,
    first_bad,
    picture_layout,
    refuse_empty,
    rescaled,
    scanned,
    white_beside,
    white_of,
)
from vae_lab.data.arrays import Examples, Indices
from vae_lab.data.scaling import as_single
from vae_lab.types import Support

Kind = Literal["auto", "table", "signals", "pictures", "volumes"]
_AXES: dict[Kind, int] = {"table": 1, "signals": 2, "pictures": 3, "volumes": 4}
"""Axes of an example, channels included."""
_FEW = (1, 2, 3, 4)
"""Numbers of channels that are told from the sides of a volume."""


class Asked(NamedTuple):
    """Answers of the user about the arrays; auto, or None, leaves a question to the arrays.

    Attributes:
        kind, layout, max_value: see `vae_lab.data.ArrayFiles`.
        support: values of the examples.
        mask: take NaN for a missing value.
        columns: names of the columns of a table, for messages.
    """

    kind: Kind = "auto"
    layout: Layout = "auto"
    max_value: MaxValue = "auto"
    support: Support | None = None
    mask: bool = False
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """The meaning of the axes and the values of the arrays of a set.

    Attributes:
        kind: kind of the examples.
        layout: place of the channels; none: they have no axis, and there is one.
        support: values that the examples take.
        white: value that becomes 1; None: values stay as they are.
        values: smallest and largest value of the training array.
        mask: NaN stands for a missing value, so that every value is stored as a float.
    """

    kind: Kind
    layout: Literal["channels_first", "channels_last", "none"]
    support: Support
    white: float | None
    values: Range
    mask: bool = False

    @property
    def dtype(self) -> Any:
        """Type in which the examples are stored."""
        return np.uint8 if self.support in ("binary", "uint8") and not self.mask else np.float32

    def arranged(self, array: NDArray[Any]) -> NDArray[Any]:
        """Returns a view as (N, channels, ...), or (N, D)."""
        if self.layout == "none":
            return array if self.kind == "table" else array[:, None]
        return np.moveaxis(array, -1, 1) if self.layout == "channels_last" else array

    def is_stored(self, array: NDArray[Any]) -> bool:
        """True if the array holds what is stored already, so that it need not be copied."""
        as_it_is = self.white == WHITE if self.dtype == np.uint8 else self.white is None
        return bool(array.dtype == self.dtype and array.dtype.isnative and as_it_is)

    def stored(self, rows: NDArray[Any], source: object, numbers: Indices) -> Examples:
        """Returns arranged rows as they are stored: uint8, in which 255 stands for 1, or float32.

        Args:
            rows: some rows of what `arranged` returned.
            numbers: number of each row in the file, for errors.

        Raises:
            ValueError: for values that the support does not have, and real numbers that float32 cannot tell apart.
        """
        if rows.dtype == np.bool_:
            rows = rows.view(np.uint8)
        white = self.white or 1
        if self.dtype == rows.dtype == np.uint8 and (self.support == "uint8" or white == 1):
            return rescaled(rows, int(white), source)
        if self.support == "real":
            return as_single(rows, (), source)
        number: Examples = rows.astype(np.float64 if rows.dtype.itemsize > 4 else np.float32)
        number = number / white  # in which NaN, a missing value, is not wrong
        wrong = (number < 0) | (number > 1) | ((number > 0) & (number < 1) if self.support == "binary" else False)
        if wrong.any():
            where, value = first_bad(wrong, rows, numbers)
            allowed = "0 or 1" if self.support == "binary" else "in [0, 1]"
            scale = "" if white == 1 else f" times {white:g}, the value of white"
            raise ValueError(
                f"{source}: {where}: {value:g}, but the values are {allowed}{scale}; data.support=real takes any number"
            )
        stored: Examples = number if self.dtype == np.float32 else (number * WHITE).round()
        return stored.astype(self.dtype)


def form_of(array: NDArray[Any], asked: Asked, source: object) -> Form:
    """Returns the form of the training array.

    Raises:
        ValueError: for something else than numbers, NaN or infinite values, axes or values that can be read in two
            ways, or an answer in ``asked`` that does not fit.
    """
    values = _checked(array, asked, source)
    if asked.mask and array.dtype.kind != "f":
        raise ValueError(f"data.missing=mask: {source}: {array.dtype} has no missing values (NaN); leave it out")
    refuse_empty(values, len(array), source, asked.columns)
    kind, layout = _kind_and_layout(array, asked, values, source)
    support, white = _support_and_white(array, kind, layout, asked, values, source)
    return Form(kind, layout, support, white, values, asked.mask)


def check_beside(array: NDArray[Any], training: Form, asked: Asked, source: object) -> Range:
    """Checks that the array of another split has the form of the training array, as far as values are not copied.

    Returns:
        The range of the array.

    Raises:
        ValueError: for anything but finite numbers, another number of axes, or another white.
    """
    axes = _AXES[training.kind] + (training.layout != "none" or training.kind == "table")
    if array.ndim != axes:
        raise ValueError(f"{source}: {array.dtype} {array.shape}, but the training array has {axes} axes")
    values = _checked(array, asked, source)
    if training.is_stored(array) and training.support == "unit" and not 0 <= values.low <= values.high <= 1:
        raise ValueError(
            f"{source}: values from {values.low:g} to {values.high:g}, but those of the training array lie in [0, 1];"
            " data.support=real takes any number"
        )
    if training.dtype == np.uint8 and array.dtype in (np.uint8, np.bool_) and training.white is not None:
        white = white_beside(array, training.arranged(array).view(np.uint8), asked.max_value, int(training.white))
        if white != training.white:
            raise ValueError(
                f"{source}: white is {white}, but {training.white:g} in the training images; set data.images.max_value"
            )
    return values


def _checked(array: NDArray[Any], asked: Asked, source: object) -> Range:
    found = f"{source}: {array.dtype} {array.shape}"
    if array.dtype.kind == "c":
        raise ValueError(f"{found}: complex numbers; save real and imaginary parts as two channels")
    if array.dtype.kind not in "buif":
        raise ValueError(f"{found}: must be numbers")
    if not array.size or not 2 <= array.ndim <= 5:
        remedy = "; x.reshape(-1, 1) makes it a table of one column" if array.ndim == 1 else ""
        raise ValueError(
            f"{found}, expected (N, D), (N, C, T), (N, H, W), (N, C, H, W) or (N, C, D, H, W), N of 1 or more{remedy}"
        )
    return scanned(array, source, asked.columns, asked.mask)


def _kind_and_layout(
    array: NDArray[Any], asked: Asked, values: Range, source: object
) -> tuple[Kind, Literal["channels_first", "channels_last", "none"]]:
    found = f"{source}: {array.dtype} {array.shape}"
    kind = asked.kind if asked.kind != "auto" else _kind_of(array, asked, values, found)
    missing = _AXES[kind] + 1 - array.ndim
    if kind == "table" and missing:
        raise ValueError(f"{found}: data.images.kind=table is (N, D); x.reshape(len(x), -1) flattens examples")
    if missing not in (0, 1):
        raise ValueError(f"{found}: data.images.kind={kind} has {_AXES[kind]} or {_AXES[kind] + 1} axes")
    if kind == "table" or missing == 1:
        if kind == "pictures":
            check_grey(array.shape, asked.layout, found)
        return kind, "none"
    if asked.layout != "auto":
        return kind, asked.layout
    if kind == "pictures":
        return kind, picture_layout(array.shape[1:], found)
    return kind, _layout_of(kind, array.shape[1:], found)


def _kind_of(array: NDArray[Any], asked: Asked, values: Range, found: str) -> Kind:
    """Returns the kind that shape and values say.

    Raises:
        ValueError: if they do not.
    """
    if array.ndim == 3 and not _like_pixels(array, values):
        first, last = array.shape[1:]
        scaled = asked.max_value != "auto" and values.low >= 0 and values.high <= asked.max_value
        real = values.real and not scaled
        if real and (first != last or asked.layout != "auto"):
            return "signals"
        of = "real numbers" if real else "values in [0, 1]" if values.high <= 1 else "grey values"
        if real or first != last:
            grey = "; for grey values set data.images.max_value, too" if values.whole and values.low >= 0 else ""
            raise ValueError(
                f"{found} of {of}: pictures (N, H, W), or signals (N, C, T)?"
                f" Set data.images.kind=pictures or signals{grey}"
            )
        return "pictures"
    return {2: "table", 3: "pictures", 4: "pictures", 5: "volumes"}[array.ndim]  # type: ignore[return-value]


def _like_pixels(array: NDArray[Any], values: Range) -> bool:
    """True for the types in which pixels are saved, and integers that none of them would hold otherwise."""
    return array.dtype in (np.uint8, np.uint16, np.bool_) or (array.dtype.kind in "ui" and values.low >= 0)


def _layout_of(kind: Kind, shape: tuple[int, ...], found: str) -> Literal["channels_first", "channels_last"]:
    first, last = shape[0], shape[-1]
    if kind == "signals" and (first < last or last == 1):
        return "channels_last" if last == 1 < first else "channels_first"
    if kind == "volumes" and (first in _FEW) != (last in _FEW):
        return "channels_first" if first in _FEW else "channels_last"
    axes, last_axes = ("C, T", "T, C") if kind == "signals" else ("C, D, H, W", "D, H, W, C")
    raise ValueError(
        f"{found} does not say where the channels are;"
        f" set data.images.layout=channels_first for (N, {axes}), or channels_last for (N, {last_axes})"
    )


def _support_and_white(
    array: NDArray[Any], kind: Kind, layout: str, asked: Asked, values: Range, source: object
) -> tuple[Support, float | None]:
    """Returns the support, and the value that becomes 1; None for values that stay as they are."""
    asked_support, pixels = asked.support, kind in ("pictures", "volumes")
    if asked_support == "real":
        return "real", None
    bytes_ = array.dtype in (np.uint8, np.bool_)
    if bytes_:
        white: float = white_of(array, array.view(np.uint8), asked.max_value, source, of_bytes=asked_support == "uint8")
    elif asked.max_value != "auto":
        white = float(asked.max_value)
    elif array.dtype.kind in "ui" or values.levels:
        white = _white_of_integers(array, pixels, values, source)
    else:
        white = 1
    fits = bytes_ or (white and values.low >= 0 and values.high <= white)
    found: Support = "unit" if fits else "real"
    if found == "unit" and white <= WHITE and values.whole:
        found = "binary" if white == 1 else "unit" if asked.mask else "uint8"
    support = found if asked_support is None else asked_support
    if found == "real" and asked.max_value != "auto":
        raise ValueError(
            f"data.images.max_value={asked.max_value}: {source}: values from {values.low:g} to {values.high:g}, must be"
            f" 0 to {asked.max_value}; set the value of white, or data.support=real, which takes any number"
        )
    if found == "real" and asked_support is not None:
        raise ValueError(
            f"data.support={asked_support}: {source}: values from {values.low:g} to {values.high:g};"
            " data.images.max_value says which value becomes 1, and data.support=real takes any number"
        )
    if support == "real":
        return "real", None
    keeps = support == "unit" and white == 1 and array.dtype.kind == "f"
    return support, None if keeps else white


def _white_of_integers(array: NDArray[Any], pixels: bool, values: Range, source: object) -> float:
    """Returns the white of whole numbers that are not bytes: the least 2^bits - 1 that holds them; 0 for no pixels."""
    if values.low < 0 or not (pixels or values.high <= 1):
        return 0
    if 1 < values.high < DARK:
        if array.dtype.kind == "f":
            return 0
        raise ValueError(
            f"{source}: no value is above {values.high:g}; set data.images.max_value to the value of white"
            f" ({2 ** int(values.high).bit_length() - 1}, say), or data.support=real if they are not pixels"
        )
    return max(1.0, 2.0 ** int(values.high).bit_length() - 1)
