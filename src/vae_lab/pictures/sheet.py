"""A sheet: images in rows, and the arrays that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vae_lab.pictures.grid import image_grid
from vae_lab.types import Batch

MAX_ROWS = 64
"""Largest number of rows of a picture. More cannot be viewed, and would take more memory than the images."""


@dataclass(frozen=True)
class Sheet:
    """Images and arrays, computed once; then drawn, saved, or both.

    Attributes:
        tiles: images as they are shown, row by row, (rows * columns, C, H, W).
        columns: number of images in a row.
        arrays: computed arrays by name. ``images``, (N, C, H, W), are what the model made, in the range of the
            data; codes at level l are ``z_<l>``. Each function that makes a sheet names its other arrays.
        row_labels, column_labels, corner: see `image_grid`.
    """

    tiles: Tensor
    columns: int
    arrays: Mapping[str, Tensor]
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    corner: str = ""

    def draw(self) -> Tensor:
        """Draws the first `MAX_ROWS` rows as a picture, (3, H, W) in [0, 1]."""
        tiles, row_labels = self.tiles[: MAX_ROWS * self.columns], self.row_labels[:MAX_ROWS]
        return image_grid(tiles, self.columns, row_labels, self.column_labels, self.corner)


def originals(examples: Batch) -> dict[str, Tensor]:
    """Returns examples as arrays of a sheet: ``originals``, ``grey`` (before they were binarized) and labels ``y``."""
    arrays = {"originals": examples.x, "grey": examples.grey, "y": examples.y}
    return {name: array for name, array in arrays.items() if array is not None}
