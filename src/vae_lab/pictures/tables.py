"""Draws rows of tables: a scatter of two columns, and the mean and spread of each column in its own unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vae_lab.pictures.columns import check_columns, names_of
from vae_lab.pictures.grid import DPI, figure_picture
from vae_lab.types import DataSpec

_SIDE = 4.5
"""Inches of the scatter."""
_LINE, _ABOVE = 0.17, 0.7
"""Inches of a line of the table, and of what is above and below it."""
_MAX_LINES = 40
"""Columns that the table lists: the first ones."""
_MAX_NAME = 28
_COLOURS = ("0.6", "#D55E00", "#0072B2")
_BINS = 40


def table_figure(sets: Mapping[str, Tensor], spec: DataSpec | None, shown: Sequence[str] = ()) -> Tensor:
    """Draws sets of rows, each in one colour, as a picture (3, H, W) in [0, 1].

    Args:
        sets: rows (N, D) by the name of the set; missing values are NaN.
        shown: names of the columns of the scatter, one or two; empty: the two with most variance in the first set.

    Raises:
        ValueError: for a column that the data do not have.
    """
    check_columns(spec, shown)
    own = {name: x.detach().float().cpu().numpy() for name, x in sets.items()}
    first = next(iter(own.values()))
    names = names_of(spec, first.shape[1])
    places = columns_shown(first, names, shown)
    lines = _lines(own, names)
    height = max(_SIDE, _LINE * len(lines) + _ABOVE)
    width = 0.085 * max(map(len, lines))
    figure = Figure(figsize=(_SIDE + width, height), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[_SIDE, width])
    _scatter(left, own, [names[place] for place in places], places)
    right.set_axis_off()
    for i, line in enumerate(lines):
        place = {"xycoords": "axes fraction", "xytext": (0, -72 * _LINE * i), "textcoords": "offset points"}
        written = right.annotate(line, (0, 1), **place, family="monospace", fontsize=8, va="top", parse_math=False)
        written.set_in_layout(False)
    return figure_picture(figure)


def columns_shown(x: np.ndarray, names: Sequence[str], shown: Sequence[str] = ()) -> list[int]:
    """Returns the columns of a scatter, at most two: those of the names, else those with most variance."""
    if shown:
        return [list(names).index(name) for name in shown]
    known = [column[np.isfinite(column)] for column in x.T]
    spread = np.array([column.var() if column.size else 0.0 for column in known])
    return sorted(np.argsort(-spread, kind="stable")[:2].tolist())


def _scatter(axes: Axes, sets: Mapping[str, np.ndarray], names: Sequence[str], places: Sequence[int]) -> None:
    """Draws the sets over each other in the plane of two columns; of one column its histogram."""
    values = np.concatenate([x[:, places[0]] for x in sets.values()])
    known = values[np.isfinite(values)]
    for (name, x), colour in zip(sets.items(), _COLOURS[len(sets) == 1 :], strict=False):
        if len(places) == 2:
            axes.scatter(x[:, places[0]], x[:, places[1]], s=9, alpha=0.6, color=colour, label=name, linewidths=0)
        elif known.size:
            ends = (known.min(), known.max())
            axes.hist(x[:, places[0]], _BINS, range=ends, histtype="step", density=True, color=colour, label=name)
    axes.set_xlabel(names[0], parse_math=False)
    axes.set_ylabel(names[1] if len(places) == 2 else "density", parse_math=False)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.1), ncols=len(sets), frameon=False, fontsize=9)


def _lines(sets: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
    """Returns the lines of the table: mean and standard deviation of each column in each set."""
    cut = [name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…" for name in names[:_MAX_LINES]]
    wide = max(map(len, [*cut, "column"]))
    heads = "  ".join(f"{name:^21}" for name in sets)
    lines = [f"{'column':{wide}}  {heads}", f"{'':{wide}}  " + "  ".join(f"{'mean ± deviation':^21}" for _ in sets)]
    for i, name in enumerate(cut):
        lines.append(f"{name:{wide}}  " + "  ".join(_mean_and_spread(x[:, i]) for x in sets.values()))
    return lines + ([f"and {len(names) - _MAX_LINES} more columns"] if len(names) > _MAX_LINES else [])


def _mean_and_spread(column: np.ndarray) -> str:
    known = torch.from_numpy(column[np.isfinite(column)]).double()
    if not len(known):
        return f"{'none':^21}"
    return f"{float(known.mean()):>9.4g} ± {float(known.std(correction=0)):<9.3g}"
