"""Draws many small images as one large picture, with labels beside its rows and above its columns."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import IdentityTransform
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.utils import make_grid

_LEGIBLE_SIDE = 64
"""Pixels that the sides of smaller images are enlarged to, roughly: by whole factors, so that pixels stay square."""
PADDING = 2
PADDING_GREY = 0.75
"""Between white paper and black images, so that the border of either can be seen."""
DPI = 100
_FONT_SIZE = 8
_CHARACTER_WIDTH = 7
_LINE_HEIGHT = 20
"""Pixels of a character and a line of _FONT_SIZE points at DPI."""
_LEGIBLE_WIDTH = 430
"""Pixels of the widest picture whose labels of _FONT_SIZE can be read where TensorBoard shows it 350 pixels wide."""
_MAX_ENLARGED = 3.0
MAX_LINES = 4
"""Lines above the columns, where their labels are too long for one."""
_LEAST_NOTE_WIDTH = 400
"""Pixels that a picture with a note has at least."""
_GAP = 5
"""Pixels on either side of a row's label."""


def image_grid(
    images: Tensor,
    columns: int,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    corner: str = "",
    note: str = "",
) -> Tensor:
    """Returns images in rows of ``columns``, as (3, H, W) in [0, 1].

    Args:
        images: (N, 1 or 3, height, width). Values outside [0, 1] are clamped.
        row_labels: labels on the left, one for each row.
        column_labels: labels above, one for each column.
        corner: label in the corner of the two margins.
        note: line below the images, broken into as many as it needs.

    Raises:
        ValueError: for anything but images of 1 or 3 channels.
    """
    grid = make_grid(displayable(images), nrow=columns, padding=PADDING, pad_value=PADDING_GREY)
    if row_labels or column_labels:
        grid = _labelled(grid, row_labels, column_labels, corner)
    return _with_note(grid, note) if note else grid


def displayable(images: Tensor) -> Tensor:
    """Returns images on the CPU as 1 or 3 channels of float32 in [0, 1], small ones enlarged; (N, C, H, W)."""
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        shape = tuple(images.shape[1:])
        raise ValueError(f"pictures need data of shape (1 or 3 channels, height, width), these have {shape}")
    # A model that has diverged is shown black rather than stopping the training.
    images = images.detach().float().cpu().nan_to_num(0.0).clamp(0, 1)
    factor = max(1, round(_LEGIBLE_SIDE / max(images.shape[2:])))
    return interpolate(images, scale_factor=factor, mode="nearest")


def figure_picture(figure: Figure) -> Tensor:
    """Returns what matplotlib draws, as (3, H, W) in [0, 1]."""
    canvas: Any = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        canvas.draw()
    rgb = np.array(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(rgb).permute(2, 0, 1).float() / 255


def _labelled(grid: Tensor, row_labels: Sequence[str], column_labels: Sequence[str], corner: str) -> Tensor:
    """Returns the grid, pixel for pixel, with labels in a white margin on its left and above it."""
    letters = max(map(len, [*row_labels, corner])) if row_labels else 0
    size = _enlarged(grid.shape[2], letters)
    line_height = round(_LINE_HEIGHT * size)
    left = round(_CHARACTER_WIDTH * size * letters) + 2 * _GAP if row_labels else 0
    lines = _lines(column_labels, grid.shape[2] / size)
    top = line_height * lines if column_labels else 0
    height, width = grid.shape[1] + top, grid.shape[2] + left
    # Half a pixel more: matplotlib rounds down what may come out as 99.999.
    figure = Figure(figsize=((width + 0.5) / DPI, (height + 0.5) / DPI), dpi=DPI)
    right, middle = left - _GAP, height - line_height / 2
    for row, label in enumerate(row_labels):
        y = grid.shape[1] * (1 - (row + 0.5) / len(row_labels))
        _write(figure, right, y, label, size, horizontal="right")
    space = max(1, int(grid.shape[2] * lines / (_CHARACTER_WIDTH * size * max(1, len(column_labels)))))
    for column, label in enumerate(column_labels):  # in turn on the lines; what is still too long is cut
        shown = label if len(label) <= space else f"{label[: space - 1]}…"
        half = _CHARACTER_WIDTH * size * len(shown) / 2
        x = left + grid.shape[2] * (column + 0.5) / len(column_labels)
        x = min(max(x, (left if corner else 0) + half), width - half)  # beside the corner, and not beyond the edge
        _write(figure, x, middle - line_height * (column % lines), shown, size, horizontal="center")
    _write(figure, right, middle, corner, size, horizontal="right")
    picture = figure_picture(figure)
    picture[:, top:height, left:width] = grid
    return picture


def _with_note(picture: Tensor, note: str) -> Tensor:
    """Returns the picture above a line of text, which makes it wider if it is very narrow."""
    width = max(picture.shape[2], _LEAST_NOTE_WIDTH)
    size = _enlarged(width)
    lines = textwrap.wrap(note, int((width - 2 * _GAP) / (_CHARACTER_WIDTH * size)))
    line_height = round(_LINE_HEIGHT * size)
    height = line_height * len(lines)
    figure = Figure(figsize=((width + 0.5) / DPI, (height + 0.5) / DPI), dpi=DPI)
    for i, line in enumerate(lines):
        _write(figure, _GAP, height - line_height * (i + 0.5), line, size, horizontal="left")
    wider = pad(picture, (0, width - picture.shape[2]), value=1.0)
    return torch.cat((wider, figure_picture(figure)), dim=1)


def _enlarged(width: int, letters: int = 0) -> float:
    """Returns by how much labels grow, so that they can be read in a small view of the whole picture.

    Args:
        width: pixels of the picture without the margin of its row labels.
        letters: characters of the longest row label, which widens the picture as it grows.
    """
    room = _LEGIBLE_WIDTH - _CHARACTER_WIDTH * letters
    return min(max(1.0, width / room), _MAX_ENLARGED) if room > 0 else _MAX_ENLARGED


def _lines(labels: Sequence[str], width: float) -> int:
    """Returns the number of lines, `MAX_LINES` at most, on which no label is written over its neighbour."""
    longest = _CHARACTER_WIDTH * max(map(len, labels), default=0)
    return min(max(1, ceil(longest * len(labels) / width)), MAX_LINES)


def _write(figure: Figure, x: float, y: float, label: str, size: float, horizontal: str) -> None:
    """Writes a label at (x, y) pixels from the lower left corner, ``size`` times as large as usual."""
    place, points = IdentityTransform(), _FONT_SIZE * size
    figure.text(x, y, label, ha=horizontal, va="center", fontsize=points, transform=place, parse_math=False)
