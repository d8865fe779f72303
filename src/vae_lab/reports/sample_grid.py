"""The samples of each setting, side by side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from vae_lab.reports import text
from vae_lab.reports.charts import DPI
from vae_lab.reports.comparison import Comparison
from vae_lab.reports.varied import Setting
from vae_lab.runs.folder import FIGURES
from vae_lab.runs.reading import RunRecord

INCHES = 2.6
"""Width of one setting's samples."""
_MAX_COLUMNS = 6
_MAX_TILES = 36
_LETTERS, _MAX_PARTS = 32, 5
"""Letters in a line above a tile, and settings named there."""
_SAMPLES = "samples.png"
_MAX_PIXELS = 10**8


def sample_grid(comparison: Comparison) -> Figure | None:
    """Draws figures/samples.png of the first seed of each setting, under its label; None if no run drew any."""
    pictures = {place: (setting, _picture(setting)) for place, setting in _places(comparison)}
    tiles = {place: (setting, picture) for place, (setting, picture) in pictures.items() if picture is not None}
    if not tiles:
        return None
    rows, columns = (max(numbers) + 1 for numbers in zip(*tiles, strict=True))
    labels = {place: _label(comparison, setting) for place, (setting, _) in tiles.items()}
    heading = 0.2 * (1 + max(label.count("\n") + 1 for label in labels.values()))
    figure = Figure(figsize=(columns * INCHES, rows * (INCHES + heading)), dpi=DPI, layout="constrained")
    for (row, column), (_, picture) in tiles.items():
        axes = figure.add_subplot(rows, columns, row * columns + column + 1)
        axes.axis("off")
        axes.set_title(labels[row, column], fontsize="small")
        axes.imshow(picture)
    return figure


def with_unreadable_pictures(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Returns the runs, with a reason if the picture of the samples exists but cannot be read."""
    return [run if (problem := _problem(run)) is None else replace(run, reason=problem) for run in runs]


def _problem(run: RunRecord) -> str | None:
    path = run.folder / FIGURES / _SAMPLES
    if run.state != "finished" or not os.path.lexists(path):
        return None
    try:
        _read(path)
    except Exception as error:  # Pillow raises errors of many kinds
        problem = f"{FIGURES}/{_SAMPLES}: not readable as a picture ({text.printable(str(error))[:100]})"
        return f"{run.reason}; {problem}" if run.reason else problem
    return None


def _read(path: Path) -> Image.Image:
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("not a regular file")
    with Image.open(path) as picture:
        if picture.width * picture.height > _MAX_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels")
        return picture.convert("RGB")


def _label(comparison: Comparison, setting: Setting) -> str:
    parts = comparison.label(setting.values).split(", ")
    shown = "\n".join(text.label(part, _LETTERS) for part in parts[:_MAX_PARTS]) or "samples"
    return f"{shown}\n…" if len(parts) > _MAX_PARTS else shown


def _places(comparison: Comparison) -> Iterator[tuple[tuple[int, int], Setting]]:
    """Yields row and column of each setting: a row per line and a column per value of the axis, if these fit."""
    values = comparison.values(comparison.axis) if comparison.axis else []
    cells = len(values) * len(comparison.lines())
    if 0 < len(values) <= _MAX_COLUMNS and len(comparison.settings) > cells / 2:  # otherwise most cells are empty
        for row, settings in enumerate(list(comparison.lines().values())[: _MAX_TILES // len(values)]):
            for setting in settings:
                yield (row, values.index(setting.values[str(comparison.axis)])), setting
        return
    for i, setting in enumerate(comparison.settings[:_MAX_TILES]):
        yield divmod(i, _MAX_COLUMNS), setting


def _picture(setting: Setting) -> Image.Image | None:
    """Returns the picture of the first seed that has one."""
    for run in setting.runs:
        with contextlib.suppress(Exception):  # whoever reads the runs says what is wrong with a picture
            return _read(run.folder / FIGURES / _SAMPLES)
    return None
