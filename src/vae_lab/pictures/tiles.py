"""Draws examples of any kind as small pictures: pictures, volumes, signals and rows of tables.

Shapes: N examples, C channels, T times, D columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from torch import Tensor
from torch.nn.functional import pad

from vae_lab.pictures.columns import names_of, standardised
from vae_lab.pictures.curves import curve_pictures
from vae_lab.pictures.grid import PADDING_GREY, displayable
from vae_lab.types import DataSpec, listed

_MAX_CHANNELS = 8
_MAX_BANDS = 4
_MAX_COLUMNS = 64
"""Channels, channels of signals and volumes, and columns that are drawn: the first ones."""
_MAX_LISTED = 20
_ACROSS = 2
"""Channels in a row."""
_GAP, _FRAME = 1, 3
"""Pixels between the parts of a picture and around them."""
_CELL = (8, 56)
_MAX_STRIP = 128
"""Pixels of a value in the strip of a table's row, and of the height of a strip."""
_DEVIATIONS = 3.0
"""Standard deviations from the mean at which the colours of a strip end."""
_RANGE = (0.1, 99.9)
"""Percentiles of the values that are shown as black and white, or at the ends of a curve's axis."""
_COLOURS = {1, 3}
"""Numbers of channels that are shown as one picture."""


class Tiles(NamedTuple):
    """Small pictures (N, 1 or 3, H, W) in [0, 1], and a line that says how they are drawn; empty if it is plain."""

    pictures: Tensor
    note: str = ""


def is_drawable(shape: Sequence[int]) -> bool:
    """True if examples of this shape can be drawn: rows of tables, signals, pictures and volumes."""
    return 1 <= len(shape) <= 4


def is_table(shape: Sequence[int]) -> bool:
    """True for the rows of a table, (D,)."""
    return len(shape) == 1


def is_signal(shape: Sequence[int]) -> bool:
    """True for signals, (C, T)."""
    return len(shape) == 2


def tiles_of(x: Tensor, spec: DataSpec | None = None, under: Tensor | None = None) -> Tiles:
    """Draws examples, (N, *shape).

    Args:
        spec: spec of the data; None: values in [0, 1].
        under: examples that the curves of signals are drawn over.

    Raises:
        ValueError: for examples of a shape that cannot be drawn.
    """
    x = x.detach().float().cpu()
    if x.dim() == 2:
        return _strips(x, spec)
    if x.dim() == 3:
        return _curves(x, spec, None if under is None else under.detach().float().cpu())
    if x.dim() == 4:
        return _images(x, spec)
    if x.dim() == 5:
        return _slices(x, spec)
    raise ValueError(f"data of shape {tuple(x.shape[1:])} cannot be drawn")


def blank(like: Tensor, spec: DataSpec | None) -> float:
    """Returns the value of an example that is drawn as an empty place."""
    return PADDING_GREY if like.dim() == 4 and not _is_real(spec) else float("nan")


def _is_real(spec: DataSpec | None) -> bool:
    return spec is not None and spec.support == "real"


def _images(x: Tensor, spec: DataSpec | None) -> Tiles:
    channels = x.shape[1]
    if channels in _COLOURS:
        shown, note = _in_unit_range(x, spec, joint=True)
        return Tiles(displayable(shown), note)
    shown, note = _in_unit_range(x[:, :_MAX_CHANNELS], spec, joint=False)
    parts = [displayable(shown[:, i : i + 1]) for i in range(shown.shape[1])]
    across = min(len(parts), _ACROSS)
    how = f"{_first(_MAX_CHANNELS, channels)} in grey, in rows of {across}"
    return Tiles(_arranged(parts, across), _sentence(how, note))


def _slices(x: Tensor, spec: DataSpec | None) -> Tiles:
    channels, depth, height, width = x.shape[1:]
    in_colour = channels in _COLOURS
    shown, note = _in_unit_range(x if in_colour else x[:, :_MAX_BANDS], spec, joint=in_colour)
    cuts = [shown[:, :, depth // 2], shown[:, :, :, height // 2], shown[..., width // 2]]
    drawn = [displayable(cut) for cut in _channels_below(cuts, in_colour)]
    how = f"middle slices at depth {depth // 2}, height {height // 2} and width {width // 2}"
    below = "" if in_colour else f"{_first(_MAX_BANDS, channels)} below each other"
    return Tiles(_arranged(drawn, len(cuts)), _sentence(how, below, note))


def _channels_below(cuts: Sequence[Tensor], in_colour: bool) -> list[Tensor]:
    """Returns the cuts of all channels together, or of channel after channel."""
    if in_colour:
        return list(cuts)
    return [cut[:, i : i + 1] for i in range(cuts[0].shape[1]) for cut in cuts]


def _curves(x: Tensor, spec: DataSpec | None, under: Tensor | None) -> Tiles:
    channels = x.shape[1]
    x = x[:, :_MAX_BANDS]
    under = None if under is None else under[:, :_MAX_BANDS]
    ranges = _ranges(x if under is None else torch.cat((x, under)))
    names = names_of(spec, channels)
    shown = [f"{name} from {low:.3g} to {high:.3g}" for name, (low, high) in zip(names, ranges.tolist(), strict=False)]
    compared = "" if under is None else "blue over grey: reconstruction over original"
    some = "" if channels <= _MAX_BANDS else f"{_first(_MAX_BANDS, channels)}"
    return Tiles(curve_pictures(x, ranges, under), _sentence(compared, some, ", ".join(shown)))


def _strips(x: Tensor, spec: DataSpec | None) -> Tiles:
    """Draws each row as a strip with a cell for each column, coloured by its distance from the mean."""
    columns = x.shape[1]
    if spec is not None and _is_real(spec):
        share, colours = (standardised(x, spec) / _DEVIATIONS + 1) / 2, "coolwarm"
        of = "" if spec.scaling else " of these rows"
        how = f"blue below and red above the mean{of}, to {_DEVIATIONS:g} standard deviations"
        if spec.categories:  # whose mean no spec has
            first = columns - sum(spec.categories)
            share[:, first:] = (x[:, first:] + 1) / 2
            how += "; shares of categories from 0, grey, to 1, red"
        share = share[:, :_MAX_COLUMNS]
    else:
        share, colours, how = x[:, :_MAX_COLUMNS], "viridis", "from 0, dark, to 1, bright"
    map_ = colormaps[colours].with_extremes(bad=(PADDING_GREY,) * 3)
    rgb = map_(np.ma.masked_invalid(share.clamp(0, 1).numpy()))[..., :3]  # (N, D, 3)
    cells = torch.from_numpy(np.ascontiguousarray(rgb)).float().permute(0, 2, 1)[..., None]
    names = names_of(spec, columns)
    order = f"from top to bottom {listed(names, _MAX_LISTED)}"
    height = max(1, min(_CELL[0], _MAX_STRIP // share.shape[1]))
    return Tiles(cells.repeat_interleave(height, 2).repeat_interleave(_CELL[1], 3), _sentence(order, how))


def _in_unit_range(x: Tensor, spec: DataSpec | None, joint: bool) -> tuple[Tensor, str]:
    """Returns images in [0, 1], and how: real numbers from the lowest to the highest, of all channels or of each."""
    if not _is_real(spec):
        return x, ""
    shape = (1, -1, *[1] * (x.dim() - 2))
    ranges = _ranges(x.flatten(1)[:, None] if joint else x)
    low, high = (end.reshape(shape) for end in ranges.unbind(1))
    share = ((x - low) / (high - low)).nan_to_num(PADDING_GREY)
    if not joint:
        return share, "each from its {:g} to its {:g} percentile".format(*_RANGE)
    return share, f"from {float(low):.3g}, black, to {float(high):.3g}, white"


def _ranges(x: Tensor) -> Tensor:
    """Returns the lowest and the highest value of each channel but for outliers, (C, 2); never the same."""
    values = x.transpose(0, 1).flatten(1).numpy()
    ends = []
    for channel in values:
        known = channel[np.isfinite(channel)]
        low, high = np.percentile(known, _RANGE).tolist() if known.size else (0.0, 1.0)
        ends.append((low, high) if high > low else (low - 0.5, low + 0.5))
    return torch.tensor(ends)


def _arranged(parts: Sequence[Tensor], across: int) -> Tensor:
    """Returns pictures (N, c, h, w) of each example in rows of ``across``, on grey and in a white frame."""
    height, width = (max(part.shape[axis] for part in parts) + _GAP for axis in (2, 3))
    rows = ceil(len(parts) / across)
    num, channels = parts[0].shape[:2]
    sheet = torch.full((num, channels, rows * height - _GAP, across * width - _GAP), PADDING_GREY)
    for i, part in enumerate(parts):
        top, left = i // across * height, i % across * width
        sheet[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
    return pad(sheet, [_FRAME] * 4, value=1.0)


def _first(most: int, num: int) -> str:
    return f"{num} channels" if num <= most else f"the first {most} of {num} channels"


def _sentence(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
