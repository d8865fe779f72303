"""Rewinds the files of curves to a checkpoint, so that a resumed run neither doubles nor loses a point."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from pathlib import Path

from vae_lab.runs.folder import CSV, EVENTS
from vae_lab.training.logs.csv_logger import keep_rows, num_rows


def sizes(run: Path) -> dict[str, int]:
    """Returns the bytes of each event file of a run, synced to disk, and the rows of its CSV file.

    The loggers must have been flushed.
    """
    found = {CSV: num_rows(run / CSV)}
    for path in run.glob(EVENTS):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            found[path.name] = os.fstat(file.fileno()).st_size
    return found


def rewind(run: Path, sizes: Mapping[str, int] | None, only: Container[Path] | None = None) -> None:
    """Removes what was written after ``sizes`` were recorded, because the steps that follow are logged again.

    Args:
        run: path of the run folder.
        sizes: what `sizes` returned; None: unknown, so that everything stays.
        only: event files that may be changed; None: all.
    """
    if sizes is None:
        return
    if CSV in sizes:
        keep_rows(run / CSV, sizes[CSV])
    for path in run.glob(EVENTS):
        if only is not None and path not in only:
            continue
        size = 0 if path.is_symlink() else sizes.get(path.name, 0)  # never what lies outside of the run
        if not size:
            path.unlink()
        elif path.stat().st_size > size:
            os.truncate(path, size)
