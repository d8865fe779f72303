"""The pictures of a report, each left out if there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from vae_lab.reports import text
from vae_lab.reports.comparison import Comparison
from vae_lab.reports.varied import as_number

INCHES = (6.5, 4.5)
DPI = 120
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of Okabe and Ito, which colour-blind people can distinguish; then again with other markers."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TITLES = {
    "nll": "negative log-likelihood, nats (lower is better)",
    "elbo": "test ELBO, nats (higher is better)",
    "units_with_kl": "units with a KL above 0.01 nats",
    "active_units": "active units (Burda et al.: the mean varies)",
    "training_seconds": "training time, s",
}
"""Metrics that have a chart of their name, and the titles of its axis."""
MAX_LINES = 10
"""Lines of a chart that have a colour and a place in the legend; the others are grey, and in the table."""
_MAX_NAMES = 30
"""Points of a chart that have a label beside them."""
_TICK_LETTERS = 16
MAX_LETTERS = 60
"""Letters in one line of a name under an axis, and in all names that stand upright."""
_WIDE_RANGE = 8
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""


def charts(comparison: Comparison) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Yields the name of each picture that has something to draw, and the function that draws it."""
    if comparison.axis is not None:
        for metric in (comparison.likelihood, "units_with_kl", "active_units", "training_seconds"):
            if any(setting.numbers(metric) for setting in comparison.settings):
                yield metric, partial(_against_setting, comparison, metric)
    if any(setting.numbers("kl") and setting.numbers("log_likelihood") for setting in comparison.settings):
        yield "rate_distortion", partial(rate_distortion, comparison)


def _against_setting(comparison: Comparison, metric: str) -> Figure:
    """Draws a metric against the setting on the axis: each run, and mean and spread over the seeds, by line."""
    assert comparison.axis is not None
    figure, axes = _figure()
    place = _places(comparison, axes)
    numeric = comparison.is_numeric(comparison.axis)
    lines = comparison.lines()
    for i, (label, settings) in enumerate(lines.items()):
        # Kinds have no order and so no line between them; they stand beside each other instead.
        beside = 0.0 if numeric else 0.1 * (i - (len(lines) - 1) / 2)
        shown = [setting for setting in settings if setting.numbers(metric)]
        x = [place[setting.values[comparison.axis]] + beside for setting in shown]
        means = [setting.mean(metric) for setting in shown]
        spreads = [setting.spread(metric) or 0.0 for setting in shown]
        line = "-" if numeric else "none"
        axes.errorbar(x, means, spreads, **_style(i), linestyle=line, elinewidth=1, capsize=3, label=text.label(label))
        for at, setting in zip(x, shown, strict=True):
            values = setting.numbers(metric)
            _dots(axes, [at] * len(values), values, i)
    axes.set_ylabel(TITLES[metric])
    if metric in ("units_with_kl", "active_units"):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if metric != comparison.likelihood:
        top = max(axes.get_ylim()[1], 1)
        axes.set_ylim(-0.03 * top, top)
    _legend(comparison, axes)
    return figure


def rate_distortion(comparison: Comparison) -> Figure:
    """Draws the KL against the negative log-likelihood; along each grey line the ELBO is the same.

    Alemi et al., "Fixing a Broken ELBO", 2018, arXiv:1711.00464.
    """
    figure, axes = _figure()
    for i, (label, settings) in enumerate(comparison.lines().items()):
        shown = [setting for setting in settings if setting.numbers("kl") and setting.numbers("log_likelihood")]
        rates = [setting.mean("kl") for setting in shown]
        distortions = [-setting.mean("log_likelihood") for setting in shown]
        axes.plot(
            rates, distortions, **_style(i), linestyle=":" if comparison.axis else "none", label=text.label(label)
        )
        for setting, place in zip(shown, zip(rates, distortions, strict=True), strict=True):
            _dots(axes, setting.numbers("kl"), [-value for value in setting.numbers("log_likelihood")], i)
            if comparison.axis is not None and len(comparison.settings) <= _MAX_NAMES:
                _name(axes, text.label(setting.values[comparison.axis], _TICK_LETTERS), place, i)
    axes.margins(0.15)
    _elbo_lines(axes)
    axes.set_xlabel("rate: KL, nats")
    axes.set_ylabel("distortion: -log-likelihood, nats")
    if comparison.axis is not None:
        axes.set_title(f"at each point: {text.label(comparison.axis)}", fontsize="medium")
    _legend(comparison, axes)
    return figure


def _dots(axes: Axes, x: list[float], y: list[float], i: int) -> None:
    """Draws the runs themselves, over their mean and its bar; a single run is its own mean."""
    if len(x) > 1:
        colours = {"color": _style(i)["color"], "markerfacecolor": "white"}
        axes.plot(x, y, marker="o", markersize=3.5, linestyle="none", zorder=3, **colours)


def _name(axes: Axes, name: str, place: tuple[float, float], i: int) -> None:
    colour = _style(i)["color"]
    axes.annotate(name, place, xytext=(5, 4), textcoords="offset points", fontsize="small", color=colour)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _style(i: int) -> dict[str, Any]:
    """Returns the style of line ``i``: smaller than those below it, so that all are seen; grey beyond the legend."""
    if i >= MAX_LINES:
        return {"color": "0.6", "marker": ".", "markersize": 4, "linewidth": 0.8}
    marker = _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)]
    size = max(9 - 1.5 * i, 4)
    return {"color": _COLOURS[i % len(_COLOURS)], "marker": marker, "markersize": size, "linewidth": size / 5}


def _places(comparison: Comparison, axes: Axes) -> dict[str, float]:
    """Returns the place of each value of the setting on the axis: a number at itself, the others side by side."""
    assert comparison.axis is not None
    values = comparison.values(comparison.axis)
    axes.set_xlabel(text.label(comparison.axis))
    if not comparison.is_numeric(comparison.axis):
        names = [text.label(value, _TICK_LETTERS) for value in values]
        crowded = sum(map(len, values)) > MAX_LETTERS
        axes.set_xticks(range(len(values)), names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
        axes.set_xlim(-0.5, len(values) - 0.5)
        return {value: float(i) for i, value in enumerate(values)}
    places = {value: as_number(value) or 0.0 for value in values}
    smallest, largest = min(places.values()), max(places.values())
    if smallest > 0 and largest / smallest >= _WIDE_RANGE:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([text.label(value, _TICK_LETTERS) for value in places])
    return places


def _elbo_lines(axes: Axes) -> None:
    """Draws lines of equal ELBO = -(rate + distortion) across the axes."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    rates, distortions = np.meshgrid(np.linspace(left, right, 50), np.linspace(bottom, top, 50))
    levels = MaxNLocator(9).tick_values(-(right + top), -(left + bottom))
    elbo = -(rates + distortions)
    lines = axes.contour(rates, distortions, elbo, levels, colors="0.75", linestyles="solid", linewidths=0.8, zorder=0)
    axes.clabel(lines, fmt="ELBO %g", fontsize=7, colors="0.5")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _legend(comparison: Comparison, axes: Axes) -> None:
    """Names the lines below the plot, in as much more room as they need."""
    handles, labels = axes.get_legend_handles_labels()
    if len(comparison.lines()) < 2:
        return
    if len(labels) > MAX_LINES:
        handles = handles[: MAX_LINES + 1]
        labels = [*labels[:MAX_LINES], f"{len(labels) - MAX_LINES} more: see the table"]
    columns = 1 if max(map(len, labels)) > MAX_LETTERS / 2 else 2 if len(labels) > 1 else 1
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.set_size_inches(INCHES[0], INCHES[1] + 0.2 * (lines + 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize="small")
