"""The numbers of a comparison, as tables: for a page, for the screen and for other programs."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from vae_lab.reports import text
from vae_lab.reports.comparison import Comparison
from vae_lab.reports.varied import Setting
from vae_lab.runs.folder import TRACEBACK
from vae_lab.runs.reading import RunRecord

_COLUMNS = {
    "nll": ("NLL", 2),
    "elbo": ("ELBO", 2),
    "log_likelihood": ("log-likelihood", 2),
    "kl": ("KL", 2),
    "bits_per_dim": ("bits per dim (ELBO)", 3),
    "units_with_kl": ("units with KL", 1),
    "active_units": ("active units (Burda)", 1),
    "training_seconds": ("training, s", 1),
}
"""Title and digits of each metric that the tables show, if a run has it."""

Rows = list[list[str]]
"""A table; the first row has the titles."""
_Cell = str | tuple[str, str]
"""A string, or the label and the path of a link to a file below the page."""

_ESSENTIAL = ("nll", "elbo", "kl", "units_with_kl", "active_units")
"""Metrics that a screen is wide enough for."""


def setting_rows(comparison: Comparison, essential: bool = False) -> Rows:
    """Returns one row per setting: mean ± sample standard deviation over the seeds, and their number.

    If many keys vary, one column names the unusual values of each setting, and `usual` the others.
    """
    metrics = _metrics(comparison, essential)
    titles = [*_keys(comparison), "n", *(_COLUMNS[metric][0] for metric in metrics)]
    return [titles] + [
        [
            *_values(comparison, setting),
            str(len(setting.runs)),
            *(_mean_and_spread(setting, metric) for metric in metrics),
        ]
        for setting in comparison.settings
    ]


def _keys(comparison: Comparison) -> Sequence[str]:
    return ["setting"] if comparison.usual else comparison.keys


def _values(comparison: Comparison, setting: Setting) -> list[str]:
    return [comparison.label(setting.values)] if comparison.usual else list(setting.values.values())


def usual(comparison: Comparison) -> str:
    """Returns a line with the values that settings have unless a row says otherwise; '' if each key has a column."""
    words = ", ".join(f"{key}={value}" for key, value in comparison.usual.items() if value)
    return f"The usual: {words}." if words else ""


def _mean_and_spread(setting: Setting, metric: str) -> str:
    """Returns ``-98.74 ± 0.12``, say; the mean alone of a single seed."""
    if not setting.numbers(metric):
        return ""
    spread = setting.spread(metric)
    mean = _rounded(setting.mean(metric), metric)
    return mean if spread is None else f"{mean} ± {_rounded(spread, metric)}"


def run_rows(comparison: Comparison, folder: Path) -> list[list[_Cell]]:
    """Returns one row per finished run, with a link to its folder."""
    metrics = _metrics(comparison)
    rows: list[list[_Cell]] = [[*_keys(comparison), "seed", *(_COLUMNS[metric][0] for metric in metrics), "folder"]]
    for group in comparison.settings:
        for run in group.runs:
            numbers = [_rounded(run.metrics[metric], metric) if metric in run.metrics else "" for metric in metrics]
            rows.append([*_values(comparison, group), run.seed, *numbers, ("folder", relative(run.folder, folder))])
    return rows


def other_rows(comparison: Comparison, folder: Path) -> list[list[_Cell]]:
    """Returns the runs that did not finish, with the reason, and those with a broken file."""
    rows: list[list[_Cell]] = [["run", "state", "reason"]]
    for run in comparison.runs:
        if run.state != "finished" or run.reason:
            trace = run.folder / TRACEBACK
            target = trace if trace.is_file() else run.folder
            rows.append([(_label(comparison, run), relative(target, folder)), run.state, why(run)])
    return rows


def why(run: RunRecord) -> str:
    """Returns the reason why a run is not finished."""
    return run.reason or "neither metrics.json nor failure.json: it still trains, or was ended before it was done"


def markdown(rows: Sequence[Sequence[_Cell]]) -> str:
    """Returns a table of a Markdown page, which shows every string as it is."""
    return text.markdown_table([[_cell(cell) for cell in row] for row in rows])


def _cell(cell: _Cell) -> str:
    if isinstance(cell, str):
        return text.markdown(cell)
    label, path = cell
    return f"[{text.markdown(label)}]({quote(os.fsencode(path))})"


def comma_separated(comparison: Comparison, folder: Path) -> str:
    """Returns one line per run of any state: its folder, the settings that vary, the seed and all its metrics."""
    metrics = list(dict.fromkeys(metric for run in comparison.runs for metric in run.metrics))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(map(text.cell, ["folder", "state", *comparison.keys, "seed", *metrics, "reason"]))
    for run in comparison.runs:
        values = [run.setting(key) for key in comparison.keys]
        numbers = [run.metrics.get(metric, "") for metric in metrics]
        texts = map(text.cell, [relative(run.folder, folder), run.state, *values, run.seed])
        writer.writerow([*texts, *numbers, text.cell(run.reason)])
    return table.getvalue()


def _metrics(comparison: Comparison, essential: bool = False) -> list[str]:
    """Returns the metrics that runs have; of many settings, or for a screen, the essential ones alone."""
    columns = _ESSENTIAL if essential or comparison.usual else _COLUMNS
    return [metric for metric in columns if any(metric in run.metrics for run in comparison.runs)]


def relative(path: Path, folder: Path) -> str:
    """Returns the path of a run below the folder of its report."""
    return path.relative_to(folder).as_posix()


def _label(comparison: Comparison, run: RunRecord) -> str:
    return " ".join(word for word in run.overrides or () if word not in comparison.shared) or run.folder.name


def _rounded(value: float, metric: str) -> str:
    return f"{value:.{_COLUMNS[metric][1]}f}"
