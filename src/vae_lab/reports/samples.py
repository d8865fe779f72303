"""The samples of each setting, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from vae_lab.reports.charts import DPI, shortened
from vae_lab.reports.comparison import Comparison
from vae_lab.reports.settings import Setting

INCHES = 2.6
"""Width of one setting's samples."""
MOST_COLUMNS = 6
MOST_TILES = 36


def sample_grid(comparison: Comparison) -> Figure | None:
    """figures/samples.png of the first seed of each setting, under its label; None where no run drew any."""
    tiles = {place: setting for place, setting in _places(comparison) if _picture(setting) is not None}
    if not tiles:
        return None
    rows, columns = (max(numbers) + 1 for numbers in zip(*tiles, strict=True))
    heading = 0.2 * (1 + len(comparison.keys))
    figure = Figure(figsize=(columns * INCHES, rows * (INCHES + heading)), dpi=DPI, layout="constrained")
    for (row, column), setting in tiles.items():
        axes = figure.add_subplot(rows, columns, row * columns + column + 1)
        axes.axis("off")
        axes.set_title("\n".join(map(shortened, setting.label.split(", "))) or "samples", fontsize="small")
        with Image.open(str(_picture(setting))) as picture:
            axes.imshow(picture.convert("RGB"))
    return figure


def _places(comparison: Comparison) -> Iterator[tuple[tuple[int, int], Setting]]:
    """The row and the column of each setting: a row a line and a column a value of the axis, where these fit."""
    values = comparison.values(comparison.axis) if comparison.axis else []
    if 0 < len(values) <= MOST_COLUMNS:
        for row, settings in enumerate(list(comparison.lines().values())[: MOST_TILES // len(values)]):
            for setting in settings:
                yield (row, values.index(setting.values[str(comparison.axis)])), setting
        return
    for i, setting in enumerate(comparison.settings[:MOST_TILES]):
        yield divmod(i, MOST_COLUMNS), setting


def _picture(setting: Setting) -> Path | None:
    paths = (run.folder / "figures" / "samples.png" for run in sorted(setting.runs, key=lambda run: run.seed.zfill(10)))
    return next((path for path in paths if path.is_file()), None)
