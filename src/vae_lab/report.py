"""python -m vae_lab.report FOLDER: compares all runs below a folder, in report.md, report.csv and pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vae_lab.errors import RunError


def report(folder: Path) -> None:
    """Writes the report and shows its tables."""
    # Here and not above: --help must not wait for what draws.
    from vae_lab.reports import tables  # noqa: PLC0415
    from vae_lab.reports.page import write_report  # noqa: PLC0415
    from vae_lab.reports.text import printable  # noqa: PLC0415
    from vae_lab.screen import print_lines, print_table  # noqa: PLC0415

    comparison = write_report(folder)
    for name, group in comparison.groups.items():
        if group.settings:
            title = f"{name + ': ' if name else ''}finished runs: {len(group.finished)}"
            header, *rows = [list(map(printable, row)) for row in tables.setting_rows(group, essential=True)]
            print_table(printable(title), header, rows)
            print_lines([printable(tables.usual(group))])
    unfinished = [run for run in comparison.runs if run.state != "finished" or run.reason]
    print_lines(printable(f"{run.state} {run.folder}: {tables.why(run)}") for run in unfinished)
    print_lines([f"written to   {folder / 'report.md'}"])


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
