"""Draws signals as curves, many small pictures at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import IdentityTransform
from torch import Tensor

from vae_lab.pictures.grid import DPI, figure_picture

_CURVE, _UNDER = "#0072B2", "0.65"
"""Colours of a curve, and of what it is compared with."""
_WIDTH = 128
_BAND = 64
"""Pixels of a picture's width and of the height of one channel; of several channels each has half the height."""
_MARGIN = 3
_MAX_BINS = 2 * _WIDTH
"""Longer curves are drawn as the lowest and the highest value of each of this many pieces."""


def curve_pictures(x: Tensor, ranges: Tensor, under: Tensor | None = None) -> Tensor:
    """Returns a picture of each signal, with its channels below each other.

    Args:
        x: signals (N, C, T); values that are not finite leave a gap.
        ranges: lowest and highest value that is shown of each channel, (C, 2).
        under: signals that are drawn in grey below those of ``x``, of the same shape.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    num, channels = x.shape[:2]
    band = _BAND if channels == 1 else _BAND // 2
    height, across = band * channels, ceil(sqrt(num))
    down = ceil(num / across)
    corners = np.array([(i % across * _WIDTH, (down - 1 - i // across) * height) for i in range(num)])
    size = (across * _WIDTH + 0.5) / DPI, (down * height + 0.5) / DPI
    figure = Figure(figsize=size, dpi=DPI)
    for signals, colour, width in ((under, _UNDER, 2.0), (x, _CURVE, 1.0)):
        if signals is not None:
            lines = _lines(signals, ranges, corners, band)
            drawn = LineCollection(lines, colors=colour, linewidths=width, transform=IdentityTransform())
            figure.add_artist(drawn)
    sheet = figure_picture(figure)
    rows = sheet.unfold(1, height, height).unfold(2, _WIDTH, _WIDTH)  # (3, down, across, H, W)
    return rows.permute(1, 2, 0, 3, 4).flatten(0, 1)[:num].contiguous()


def _lines(x: Tensor, ranges: Tensor, corners: np.ndarray, band: int) -> Sequence[np.ndarray]:
    """Returns the points of each curve of each channel in pixels from the lower left, channel 0 on top."""
    values = _shortened(x.detach().double().cpu())
    low, high = ranges.double().unbind(1)
    share = ((values - low[:, None]) / (high - low)[:, None]).clamp(0, 1).numpy()
    channels, times = share.shape[1:]
    across = _MARGIN + np.linspace(0, _WIDTH - 2 * _MARGIN, times)
    lift = band * (channels - 1 - np.arange(channels))[:, None] + _MARGIN
    up = lift + share * (band - 2 * _MARGIN)
    points = np.stack(np.broadcast_arrays(across, up), axis=-1) + corners[:, None, None, :]
    return list(points.reshape(-1, times, 2))


def _shortened(x: Tensor) -> Tensor:
    """Returns curves of at least two points, and long ones by the extremes of each piece."""
    times = x.shape[-1]
    if times == 1:
        return x.expand(*x.shape[:-1], 2)
    if times <= 2 * _MAX_BINS:
        return x
    pieces = x.tensor_split(_MAX_BINS, dim=-1)
    extremes = [torch.stack((piece.amin(-1), piece.amax(-1)), dim=-1) for piece in pieces]
    return torch.cat(extremes, dim=-1)
