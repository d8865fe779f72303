"""The values of a user's arrays: their range, NaN and infinite ones, the white of 8-bit pictures; and their axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae_lab.data import missing_values
from vae_lab.data.arrays import Images, Indices, chunks, release

Layout = Literal["auto", "channels_first", "channels_last"]
MaxValue = int | Literal["auto"]

WHITE = 255
DARK = 128
"""Value that the brightest pixel reaches if the least 2^bits - 1 that holds it is likely to be the value of white."""
_SAMPLE_BYTES = 4 * 10**6
_SAMPLE_ROWS = 1024


def check_grey(shape: tuple[int, ...], layout: Layout, found: str) -> None:
    """Raises ValueError for a shape (N, H, W) that may be (H, W, N), or one picture (H, W, C).

    A layout other than auto says that the axes are in order.
    """
    num, height, width = shape
    if layout == "auto" and num == height != width:
        raise ValueError(
            f"{found}: (N, H, W) expected, this looks like (H, W, N); save np.moveaxis(images, -1, 0), or set"
            f" data.images.layout=channels_first for {num} pictures of {height}x{width}"
        )
    if layout == "auto" and width in (3, 4) and height != width:
        raise ValueError(
            f"{found}: one picture of {width} channels, or {num} grey ones? Save one picture as"
            " (1, H, W, C); for grey ones set data.images.layout=channels_first"
        )


def channels_are_last(shape: tuple[int, ...]) -> bool:
    """True if the three axes of a picture are, by their sizes, height, width and channels."""
    first, middle, last = shape
    few_first = first in (1, 2, 3, 4)
    return last in (1, 3, 4) and (not few_first or (first == middle != last))


def picture_layout(shape: tuple[int, ...], found: str) -> Literal["channels_first", "channels_last"]:
    """Returns where the channels of pictures are, by their shape; raises ValueError if it can be read in two ways."""
    first, middle, last = shape
    few_first, few_last = first in (1, 2, 3, 4), last in (1, 2, 3, 4)
    square_first, square_last = middle == last, first == middle
    if few_first and (not few_last or (square_first and not square_last)):
        return "channels_first"
    if channels_are_last(shape):
        return "channels_last"
    raise ValueError(
        f"{found} does not say where the channels are;"
        " set data.images.layout=channels_last for (N, H, W, C), or channels_first for (N, C, H, W),"
        " or data.images.kind=volumes for (N, D, H, W)"
    )


def white_of(array: NDArray[Any], images: Images, max_value: MaxValue, source: object, of_bytes: bool) -> int:
    """Returns the value that stands for white: 1 for masks of 0 and 1, 255 for grey values, or what the user says.

    Masks are told by a sample of the rows; `rescaled` checks the others when it reads them.

    Args:
        array, images: array, and the same as uint8.
        of_bytes: True if these are known to be grey values of 8 bits, however dark.

    Raises:
        ValueError: if 255 is unlikely and nothing else is known.
    """
    if array.dtype == np.bool_:
        return 1
    if max_value != "auto":
        return max_value
    highest = _sampled_maximum(images)
    if highest == 1:
        return 1
    if highest >= DARK or of_bytes:
        return WHITE
    for rows in chunks(len(images)):
        highest = max(highest, int(images[rows].max()))
        release(images)
        if highest >= DARK:
            return WHITE
    if highest == 0:
        return WHITE
    raise ValueError(
        f"{source}: no value is above {highest}; set data.images.max_value to the value of white"
        f" ({2 ** highest.bit_length() - 1}, say), or to 255 if the images are that dark"
    )


def white_beside(array: NDArray[Any], images: Images, max_value: MaxValue, training: int) -> int:
    """Returns the white of a split beside the training images: theirs, however dark it is, unless it holds masks."""
    masks = array.dtype == np.bool_ or (max_value == "auto" and _sampled_maximum(images) == 1)
    return 1 if masks else training


def rescaled(images: Images, white: int, source: object) -> Images:
    """Returns the images with ``white`` moved to 255, rounded to whole numbers.

    Raises:
        ValueError: for a value above ``white``.
    """
    if white == WHITE:
        return images
    highest = int(images.max(initial=0))
    if highest > white:
        raise ValueError(
            f"{source}: value {highest} where {white} is white; set data.images.max_value to the value of white"
        )
    levels = (np.arange(white + 1) * WHITE / white).round().astype(np.uint8)
    return levels[images]


def all_black(images: Images) -> bool:
    """True if no value is above 0; a sample of the rows says so of usual images."""
    return not _sampled_maximum(images) and not any(images[rows].any() for rows in chunks(len(images)))


def _sampled_maximum(images: Images) -> int:
    number = min(len(images), _SAMPLE_ROWS, max(1, _SAMPLE_BYTES // images[0].size))
    rows = np.linspace(0, len(images) - 1, number).round().astype(np.int64)
    highest = int(images[rows].max())
    release(images)
    return highest


class Range(NamedTuple):
    """Range of an array, and how many values are missing at each place.

    Attributes:
        low, high: smallest and largest known value.
        whole: True if all known values are whole numbers.
        missing: number of missing values by place, (*shape); None: all are known.
    """

    low: float
    high: float
    whole: bool
    missing: NDArray[np.int64] | None = None

    @property
    def levels(self) -> bool:
        """True for whole numbers that look like the grey values of 8 bits."""
        return self.whole and self.low >= 0 and (DARK <= self.high <= WHITE or self.high <= 1)

    @property
    def real(self) -> bool:
        """True if the values are neither in [0, 1] nor grey values of 8 bits."""
        return not (self.levels or (self.low >= 0 and self.high <= 1))


def scanned(array: NDArray[Any], source: object, columns: Sequence[str] = (), mask: bool = False) -> Range:
    """Returns the range of an array; that of bytes and booleans without a look at them.

    Args:
        array: array (N, *shape).
        source: file of the array, for messages.
        columns: names of the columns of a table; empty: their numbers.
        mask: take NaN for a missing value.

    Raises:
        ValueError: naming the first row that holds NaN, an infinite value, or one beyond 32 bits.
    """
    if array.dtype in (np.uint8, np.bool_):
        return Range(0, 1 if array.dtype == np.bool_ else WHITE, whole=True)
    low, high, whole = np.inf, -np.inf, True
    missing, first = np.zeros(array.shape[1:], np.int64), ""
    limit = float(np.finfo(np.float32).max)
    for rows in chunks(len(array), array[0].nbytes):
        part = known = array[rows]
        if np.isnan(part.min()):
            nan = np.isnan(part)
            first = first or first_bad(nan, part, range(rows.start, rows.stop), columns)[0]
            missing += nan.sum(0)
            known = part[~nan]
            if not known.size:
                continue
        least, most = float(known.min()), float(known.max())
        if not (-limit <= least and most <= limit):
            where, value = first_bad(np.abs(part) > limit, part, range(rows.start, rows.stop), columns)
            raise ValueError(f"{source}: {where}: {value}, must be a finite number of 32 bits")
        low, high = min(low, least), max(high, most)
        whole = whole and (part.dtype.kind in "ui" or bool((known == np.floor(known)).all()))
        release(array)
    if not first:
        return Range(low, high, whole)
    if not mask:
        table = array.ndim == 2
        counts = {_named(columns, int(i)): int(missing[i]) for i in np.flatnonzero(missing)} if table else None
        raise ValueError(missing_values.refusal(int(missing.sum()), first, source, counts))
    return Range(low, high, whole, missing)


def refuse_empty(values: Range, num: int, source: object, columns: Sequence[str]) -> None:
    """Raises ValueError if no value at all is known, or none of a column of a table, of ``num`` rows."""
    missing = np.zeros(1) if values.missing is None else values.missing
    empty = np.flatnonzero(missing == num)
    if missing.ndim == 1 and len(empty):
        raise ValueError(f"{source}: column {_named(columns, int(empty[0]))} has no value at all; leave it out")
    if len(empty) == missing.size:
        raise ValueError(f"{source}: every value is missing")


def _named(columns: Sequence[str], column: int) -> str:
    return columns[column] if column < len(columns) else str(column)


def first_bad(
    wrong: NDArray[np.bool_], rows: NDArray[Any], numbers: Sequence[int] | Indices, columns: Sequence[str] = ()
) -> tuple[str, float]:
    """Returns where the first wrong value lies, in words, and the value.

    Args:
        wrong: True for each wrong value.
        rows: some rows of an array, whose numbers in it are ``numbers``.
        columns: names of the columns of a table; empty: their numbers.
    """
    place = np.unravel_index(int(wrong.argmax()), wrong.shape)
    row, rest = int(numbers[int(place[0])]), [int(index) for index in place[1:]]
    inside = f"column {_named(columns, rest[0])}" if len(rest) == 1 else f"place {', '.join(map(str, rest))}"
    return f"row {row}, {inside}", rows[place].item()
