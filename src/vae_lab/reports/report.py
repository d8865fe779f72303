"""report.md, report.csv and pictures of all runs below a folder."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from vae_lab.errors import RunError
from vae_lab.files import write_bytes, write_text
from vae_lab.reports import tables
from vae_lab.reports.charts import DPI, charts
from vae_lab.reports.comparison import Comparison, compare
from vae_lab.reports.reading import Run, find_runs
from vae_lab.reports.samples import sample_grid
from vae_lab.reports.search import search_lines

MARK = "<!-- Written by python -m vae_lab.report, which will write over it. -->"
"""Opens every report, so that nothing else is ever written over."""
TEXT, NUMBERS, PICTURES = "report.md", "report.csv", "report"


def write_report(folder: Path) -> Comparison:
    """Compares all runs in ``folder`` and below it, and writes report.md, report.csv and the folder report of pictures.

    Raises:
        RunError: for a folder that is not there or holds no runs, or a report.md, report.csv or report that is not
            one of ours.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder")
    runs = find_runs(folder)
    if not runs:
        raise RunError(f"{folder}: no runs there; a run folder holds config.yaml and, once finished, metrics.json")
    _check_own(folder)
    comparison = compare(runs)
    # First of all, as it says that what lies beside it is ours.
    write_text(folder / TEXT, f"{MARK}\n")
    pictures = _write_pictures(comparison, folder / PICTURES)
    write_text(folder / NUMBERS, tables.comma_separated(comparison, folder))
    write_text(folder / TEXT, page(comparison, folder, pictures))
    return comparison


def page(comparison: Comparison, folder: Path, pictures: Iterable[str]) -> str:
    """The text of report.md."""
    parts = [MARK, f"# {folder.resolve().name}", _counts(comparison.runs)]
    if comparison.shared:
        parts.append("All with " + " ".join(f"`{word}`" for word in comparison.shared) + ".")
    if found := search_lines(folder):
        parts += ["## Best trial", *found]
    if comparison.settings:
        parts += ["## Settings", EXPLANATION, tables.markdown(tables.setting_rows(comparison))]
    parts += [f"![{name.replace('_', ' ')}]({PICTURES}/{name}.png)" for name in pictures]
    if comparison.finished:
        parts += ["## Runs", tables.markdown(tables.run_rows(comparison, folder))]
    others = tables.other_rows(comparison, folder)
    if len(others) > 1:
        parts += ["## Not finished, or not readable", tables.markdown(others)]
    return "\n\n".join(parts) + "\n"


EXPLANATION = (
    "Mean ± sample standard deviation over n seeds, of the test set, in nats an example. The NLL is by importance "
    "sampling, where `python -m vae_lab.evaluate` was run; the ELBO bounds -NLL from below."
)


def _counts(runs: Iterable[Run]) -> str:
    states = [run.state for run in runs]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states, key=STATES.index))]
    return f"{len(states)} run{'s' * (len(states) != 1)}: {', '.join(counts)}."


STATES = ["finished", "pruned", "failed", "unfinished", "unreadable"]


def _check_own(folder: Path) -> None:
    """Raises for a file of somebody else's where one of ours would be written."""
    text = folder / TEXT
    if text.is_file() and text.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        return
    for name in (TEXT, NUMBERS, PICTURES):
        if (folder / name).exists():
            raise RunError(f"{folder / name}: not written by vae_lab.report; move it away")


def _write_pictures(comparison: Comparison, folder: Path) -> list[str]:
    """Writes what there is to draw, takes away what an earlier report drew besides, and returns the names."""
    figures = dict(charts(comparison))
    samples = sample_grid(comparison)
    if samples is not None:
        figures["samples"] = samples
    for path in folder.glob("*.png"):
        if path.stem not in figures:
            path.unlink()
    for name, figure in figures.items():
        write_bytes(folder / f"{name}.png", _png(figure))
    return list(figures)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
