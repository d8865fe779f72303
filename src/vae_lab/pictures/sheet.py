"""A sheet: examples in rows, drawn as their kind is, and the arrays that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vae_lab.pictures.columns import rows_by_column
from vae_lab.pictures.grid import image_grid
from vae_lab.pictures.tables import table_figure
from vae_lab.pictures.tiles import is_drawable, is_signal, is_table, tiles_of
from vae_lab.types import Batch, DataSpec

MAX_ROWS = 64
"""Largest number of rows of a picture. More cannot be viewed, and would take more memory than the images."""


@dataclass(frozen=True)
class Sheet:
    """Images and arrays, computed once; then drawn, saved, or both.

    Attributes:
        tiles: images as they are shown, row by row, (rows * columns, *shape); or examples of another kind.
        columns: number of images in a row.
        arrays: computed arrays by name. ``images``, (N, *shape), are what the model made, in the range of the
            data; codes at level l are ``z_<l>``. Each function that makes a sheet names its other arrays.
        row_labels, column_labels, corner: see `image_grid`.
        spec: spec of the data, which says how they are drawn.
        compared: sets of examples, which are drawn instead if the data are a table, each in its colour; of signals the
            last set is drawn over the first one.
        note: line below the images.
    """

    tiles: Tensor
    columns: int
    arrays: Mapping[str, Tensor]
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    corner: str = ""
    spec: DataSpec | None = None
    compared: Mapping[str, Tensor] = field(default_factory=dict)
    note: str = ""

    @property
    def drawable(self) -> bool:
        """True if the data are of a kind that can be drawn."""
        return is_drawable(self.tiles.shape[1:])

    def draw(self, shown: Sequence[str] = ()) -> Tensor:
        """Draws the first `MAX_ROWS` rows as a picture, (3, H, W) in [0, 1].

        Args:
            shown: names of the columns of a table that a scatter shows; empty: the two with most variance.

        Raises:
            ValueError: for data that cannot be drawn, or a column that they do not have.
        """
        if self.compared and is_table(self.tiles.shape[1:]):
            return table_figure(self.compared, self.spec, shown)
        most = MAX_ROWS * self.columns
        tiles, under, labels = self.tiles[:most], None, self.row_labels[:MAX_ROWS]
        if len(self.compared) > 1 and is_signal(self.tiles.shape[1:]):
            under, tiles = (list(self.compared.values())[place][:most] for place in (0, -1))
            labels = ()
        drawn = tiles_of(tiles, self.spec, under)
        note = "; ".join(filter(None, (self.note, drawn.note)))
        return image_grid(drawn.pictures, self.columns, labels, self.column_labels, self.corner, note)

    @property
    def shows_numbers(self) -> bool:
        """True if the picture does not show all of the data, as it does for pictures of pixels in [0, 1]."""
        return self.tiles.dim() != 4 or (self.spec is not None and self.spec.support == "real")

    def table(self) -> dict[str, list[Any]]:
        """Returns the rows that the model made and their classes, by column; empty for data that are not a table.

        A categorical column has the name of its value, or of the most probable one.
        """
        if not is_table(self.tiles.shape[1:]):
            return {}
        rows, y = self.arrays["images"].cpu(), self.arrays.get("y")
        found = rows_by_column(rows, self.spec)
        if y is not None and y.dim() == 1 and len(y) == len(rows) and self.spec is not None:
            found["class"] = [self.spec.name_of(label) for label in y.tolist()]
        return found


def originals(examples: Batch) -> dict[str, Tensor]:
    """Returns examples as arrays of a sheet: ``originals``, ``grey`` (before they were binarized) and labels ``y``."""
    arrays = {"originals": examples.x, "grey": examples.grey, "y": examples.y}
    return {name: array for name, array in arrays.items() if array is not None}
