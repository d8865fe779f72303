"""The numbers of a comparison, as tables: for a page, for the screen and for other programs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from urllib.parse import quote

from rich.table import Column, Table
from rich.text import Text

from vae_lab.reports.comparison import Comparison
from vae_lab.reports.reading import Run, setting
from vae_lab.reports.settings import Setting

COLUMNS = {
    "nll": ("NLL", 2),
    "elbo": ("ELBO", 2),
    "log_likelihood": ("log-likelihood", 2),
    "kl": ("KL", 2),
    "bits_per_dim": ("bits per dim", 3),
    "active_units": ("active units", 1),
    "training_seconds": ("training, s", 1),
}
"""Title and digits of each metric that the tables show, where a run has it."""

Rows = list[list[str]]
"""A table; the first row has the titles."""


ESSENTIAL = ("nll", "elbo", "kl", "active_units")
"""What there is room for on a screen."""


def setting_rows(comparison: Comparison, essential: bool = False) -> Rows:
    """One row a setting: mean ± sample standard deviation over the seeds, and how many there are."""
    metrics = [metric for metric in _metrics(comparison) if metric in ESSENTIAL or not essential]
    titles = [*comparison.keys, "n", *(COLUMNS[metric][0] for metric in metrics)]
    return [titles] + [
        [*setting.values.values(), str(len(setting.runs)), *(mean_and_spread(setting, metric) for metric in metrics)]
        for setting in comparison.settings
    ]


def mean_and_spread(setting: Setting, metric: str) -> str:
    """Such as ``-98.74 ± 0.12``; the mean alone where there is one seed."""
    if not setting.numbers(metric):
        return ""
    spread = setting.spread(metric)
    mean = _rounded(setting.mean(metric), metric)
    return mean if spread is None else f"{mean} ± {_rounded(spread, metric)}"


def run_rows(comparison: Comparison, folder: Path) -> Rows:
    """One row a finished run, with a link to its folder."""
    metrics = _metrics(comparison)
    rows = [[*comparison.keys, "seed", *(COLUMNS[metric][0] for metric in metrics), "folder"]]
    for run in sorted(comparison.finished, key=lambda run: _place(comparison, run)):
        values = [setting(run, key) for key in comparison.keys]
        numbers = [_rounded(run.metrics[metric], metric) if metric in run.metrics else "" for metric in metrics]
        rows.append([*values, run.seed, *numbers, link("folder", run.folder, folder)])
    return rows


def other_rows(comparison: Comparison, folder: Path) -> Rows:
    """The runs that did not finish, with the reason; and those of which a file is broken."""
    rows = [["run", "state", "reason"]]
    for run in comparison.runs:
        if run.state != "finished" or run.reason:
            trace = run.folder / "failure.txt"
            target = trace if trace.is_file() else run.folder
            rows.append([link(_label(comparison, run), target, folder), run.state, why(run)])
    return rows


def why(run: Run) -> str:
    """The reason why a run is not finished."""
    return run.reason or "neither metrics.json nor failure.json: it still trains, or was ended before it was done"


def markdown(rows: Rows) -> str:
    """A table of a Markdown page; texts on the left, numbers on the right."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def on_screen(rows: Rows, title: str) -> Table:
    """A table for rich's console."""
    table = Table(*(Column(name, overflow="fold") for name in rows[0]), title=Text(title), title_justify="left")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table


def comma_separated(comparison: Comparison, folder: Path) -> str:
    """One line a run, whatever its state: its folder, the settings that vary, the seed and all its metrics."""
    metrics = list(dict.fromkeys(metric for run in comparison.runs for metric in run.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["folder", "state", *comparison.keys, "seed", *metrics, "reason"])
    for run in comparison.runs:
        values = [setting(run, key) for key in comparison.keys]
        numbers = [run.metrics.get(metric, "") for metric in metrics]
        writer.writerow([_relative(run.folder, folder), run.state, *values, run.seed, *numbers, run.reason])
    return text.getvalue()


def link(label: str, target: Path, folder: Path) -> str:
    """A link of a page in ``folder``."""
    for character in "[]":
        label = label.replace(character, f"\\{character}")
    return f"[{label}]({quote(_relative(target, folder))})"


def _metrics(comparison: Comparison) -> list[str]:
    return [metric for metric in COLUMNS if any(metric in run.metrics for run in comparison.runs)]


def _place(comparison: Comparison, run: Run) -> tuple[int, str, str]:
    place = next(i for i, setting in enumerate(comparison.settings) if run in setting.runs)
    return place, run.seed.zfill(10), str(run.folder)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _label(comparison: Comparison, run: Run) -> str:
    return " ".join(word for word in run.overrides or () if word not in comparison.shared) or run.folder.name


def _rounded(value: float, metric: str) -> str:
    return f"{value:.{COLUMNS[metric][1]}f}"
