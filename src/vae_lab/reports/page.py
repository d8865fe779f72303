"""report.md, report.csv and pictures of all runs below a folder."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import get_args

from matplotlib.figure import Figure

from vae_lab.errors import RunError
from vae_lab.files import atomic_path
from vae_lab.reports import tables, text
from vae_lab.reports.charts import DPI, TITLES, charts
from vae_lab.reports.comparison import Comparison, compare
from vae_lab.reports.remarks import remarks
from vae_lab.reports.sample_grid import sample_grid, with_unreadable_pictures
from vae_lab.runs.reading import RunRecord, State, find_runs
from vae_lab.runs.sweep_folder import search_lines

MARK = "<!-- Written by python -m vae_lab.report, which will write over it. -->"
"""First line of every report, so that nothing else is ever written over."""
TEXT, NUMBERS, PICTURES = "report.md", "report.csv", "report"
_OWN_PICTURE = re.compile(rf"(group_\d+_)?({'|'.join([*TITLES, 'rate_distortion', 'samples'])})")
"""Names of pictures of reports; any other picture beside them is the user's."""


def write_report(folder: Path) -> Comparison:
    """Compares all runs in ``folder`` and below it, and writes report.md, report.csv and the folder report of pictures.

    Raises:
        RunError: for a missing folder or one without runs, or if something else is called report.md, report.csv or
            report.
    """
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder")
    runs = with_unreadable_pictures(find_runs(folder))
    if not runs:
        raise RunError(f"{folder}: no runs there; a run folder holds config.yaml and, once finished, metrics.json")
    _check_own(folder)
    comparison = compare(runs)
    pictures, problems = _draw(comparison)
    files = {folder / PICTURES / f"{name}.png": content for name, content in pictures.items()}
    files[folder / NUMBERS] = _encoded(tables.comma_separated(comparison, folder))
    # Last, and so renamed first when the with-block ends: its first line marks the files beside it as ours.
    files[folder / TEXT] = _encoded(page(comparison, folder, pictures, problems))
    with ExitStack() as whole:  # the old files stay until all new ones are written
        for path, content in files.items():
            whole.enter_context(atomic_path(path)).write_bytes(content)
    for path in (folder / PICTURES).glob("*.png"):
        if path not in files and _OWN_PICTURE.fullmatch(path.stem):
            path.unlink()  # of an earlier report
    return comparison


def page(comparison: Comparison, folder: Path, pictures: Iterable[str], problems: Iterable[str] = ()) -> str:
    """Returns the content of report.md."""
    parts = [MARK, f"# {text.markdown(folder.resolve().name)}", _counts(comparison.runs)]
    if comparison.shared:
        parts.append("All with " + " ".join(map(text.code, comparison.shared)) + ".")
    if found := search_lines(folder):
        parts += ["## Best trial", *map(text.markdown, found)]
    if comparison.settings:
        parts.append(_EXPLANATION)
    groups = comparison.groups
    if len(groups) > 1:
        parts.append(GROUPS)
    for number, (name, group) in enumerate(groups.items()):
        parts += _section(group, folder, name, [each for each in pictures if each.startswith(_prefix(groups, number))])
    parts += [f"Not drawn: {text.markdown(problem)}." for problem in problems]
    others = tables.other_rows(comparison, folder)
    if len(others) > 1:
        parts += ["## Not finished, or not readable", tables.markdown(others)]
    return "\n\n".join(parts) + "\n"


def _section(group: Comparison, folder: Path, name: str, pictures: Iterable[str]) -> list[str]:
    """Returns the tables and the pictures of runs that can be compared."""
    level, parts = "##", []
    if name:
        level, parts = "###", [f"## {text.markdown(name)}"]
    if group.settings:
        usual = text.markdown(tables.usual(group))
        parts += [f"{level} Settings", *([usual] if usual else [])]
        parts.append(tables.markdown(tables.setting_rows(group)))
    if found := remarks(group, folder):
        parts.append("\n".join(f"- {text.markdown(remark)}" for remark in found))
    parts += [f"![{picture.replace('_', ' ')}]({PICTURES}/{picture}.png)" for picture in pictures]
    if group.finished:
        parts += [f"{level} Runs", tables.markdown(tables.run_rows(group, folder))]
    return parts


GROUPS = (
    "The nats of different data, and of different kinds of likelihood, do not mean the same. What can be compared is "
    "shown together; report.csv has all runs."
)
_EXPLANATION = (
    "Mean ± sample standard deviation over n seeds, of the test set, in nats per example. The NLL is by importance "
    "sampling, where `python -m vae_lab.evaluate` was run; the ELBO bounds -NLL from below."
)


def _counts(runs: Iterable[RunRecord]) -> str:
    states = [run.state for run in runs]
    counts = [f"{states.count(state)} {state}" for state in get_args(State) if state in states]
    return f"{len(states)} run{'s' * (len(states) != 1)}: {', '.join(counts)}."


def _check_own(folder: Path) -> None:
    """Raises RunError for a file at the place of the report that is not a report."""
    page = folder / TEXT
    if page.is_file() and page.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        return
    for name in (TEXT, NUMBERS, PICTURES):
        if (folder / name).exists():
            raise RunError(f"{folder / name}: not written by vae_lab.report; move it elsewhere")


def _draw(comparison: Comparison) -> tuple[dict[str, bytes], list[str]]:
    """Returns the pictures of each group of runs by name, and the reason for each that could not be drawn."""
    pictures, problems = {}, []
    groups = comparison.groups
    for number, group in enumerate(groups.values()):
        makers: list[tuple[str, Callable[[], Figure | None]]] = [
            *charts(group),
            ("samples", partial(sample_grid, group)),
        ]
        for name, make in makers:
            try:
                figure = make()
                if figure is not None:
                    pictures[_prefix(groups, number) + name] = _png(figure)
            except Exception as error:  # values that no axis can show, such as 1e308
                problems.append(f"{name}: {type(error).__name__} {error}")
    return pictures, problems


def _prefix(groups: Mapping[str, Comparison], number: int) -> str:
    """Opens the names of the pictures of a group, where there are several."""
    return f"group_{number + 1}_" if len(groups) > 1 else ""


def _encoded(content: str) -> bytes:
    """Returns UTF-8 of a string in which names of files may have bytes that are not UTF-8."""
    return content.encode(errors="backslashreplace")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # of letters that the font lacks
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
