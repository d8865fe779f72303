"""python -m vae_lab.report FOLDER: compares all runs below a folder, in report.md, report.csv and pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vae_lab.errors import RunError


def report(folder: Path) -> None:
    """Writes the report and shows its tables."""
    # Here and not above: --help must not wait for what draws.
    from rich.console import Console  # noqa: PLC0415

    from vae_lab.reports import tables  # noqa: PLC0415
    from vae_lab.reports.page import write_report  # noqa: PLC0415
    from vae_lab.reports.text import printable  # noqa: PLC0415

    comparison = write_report(folder)
    console = Console(soft_wrap=True)
    for name, group in comparison.groups.items():
        if group.settings:
            title = f"{name + ': ' if name else ''}finished runs: {len(group.finished)}"
            console.print(tables.on_screen(tables.setting_rows(group, essential=True), printable(title)))
            console.print(printable(tables.usual(group)), highlight=False, markup=False)
    for run in comparison.runs:
        if run.state != "finished" or run.reason:
            line = f"{run.state} {run.folder}: {tables.why(run)}"
            console.print(printable(line), highlight=False, markup=False)
    console.print(f"written to   {folder / 'report.md'}", highlight=False, markup=False)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m vae_lab.report", description=__doc__)
    parser.add_argument("folder", help="folder of the runs, such as outputs/sweeps/2026-11-21_10-00-00")
    folder = parser.parse_args().folder
    try:
        if not folder:
            raise RunError("folder '': is empty; name the folder of the runs")
        report(Path(folder).expanduser())
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
