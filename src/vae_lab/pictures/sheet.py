"""What a picture shows: images in rows, and the numbers that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from vae_lab.pictures.grid import image_grid
from vae_lab.types import Batch

MAX_ROWS = 64
"""Rows of a picture. More cannot be looked at, and of 10,000 images the picture would take more memory than they do."""


@dataclass(frozen=True)
class Sheet:
    """Computed once; then drawn, saved, or both.

    Attributes:
        tiles: the images as they are shown, row by row, (rows * columns, C, H, W).
        columns: images in a row.
        arrays: what was computed, by name. ``images``, (N, C, H, W), are what the model made, in the range of the
            data; codes at level l are ``z_<l>``. Each function that makes a sheet says what else there is.
        row_labels, column_labels, corner: see `image_grid`.
    """

    tiles: Tensor
    columns: int
    arrays: Mapping[str, Tensor]
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    corner: str = ""

    def draw(self) -> Tensor:
        """The first `MAX_ROWS` rows as a picture, (3, H, W) in [0, 1]."""
        tiles, row_labels = self.tiles[: MAX_ROWS * self.columns], self.row_labels[:MAX_ROWS]
        return image_grid(tiles, self.columns, row_labels, self.column_labels, self.corner)


def originals(examples: Batch) -> dict[str, Tensor]:
    """Examples as arrays of a sheet: ``originals``, what they were before they were binarized, and labels ``y``."""
    arrays = {"originals": examples.x, "grey": examples.grey, "y": examples.y}
    return {name: array for name, array in arrays.items() if array is not None}
