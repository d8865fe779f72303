"""Writes curves to a CSV file, which a resumed run goes on with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from vae_lab.files import atomic_path
from vae_lab.runs.folder import CSV

Row = dict[str, Any]


class CsvLogger(Logger):
    """Writes ``metrics.csv``: a row for each call, with its ``step``, and a column for each curve.

    Lightning's own `CSVLogger` deletes the rows of an earlier process; this one goes on with them.

    Args:
        save_dir: folder of the file.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.path = Path(save_dir) / CSV
        self._unwritten: list[Row] = []

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._unwritten.append({"step": step, **metrics})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing, because config.yaml in the same folder has the settings."""

    @rank_zero_only
    def save(self) -> None:
        """Appends the rows that are not written yet; rewrites the file if they bring new columns."""
        if not self._unwritten:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        known, rows = _read(self.path)
        columns = list(dict.fromkeys([*known, "step", *(key for row in self._unwritten for key in row)]))
        if columns != known:
            _write(self.path, columns, rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns).writerows(self._unwritten)
        self._unwritten = []

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def num_rows(path: Path) -> int:
    """Returns the number of rows of a file, without its header; 0 if there is no file."""
    return len(_read(path)[1])


def keep_rows(path: Path, num: int) -> None:
    """Removes all rows after the first ``num``; deletes a file of which none is left, and a link."""
    if path.is_symlink() or not num:  # a link may lead out of the run
        path.unlink(missing_ok=True)
        return
    columns, rows = _read(path)
    if num < len(rows):
        _write(path, columns, rows[:num])


def _read(path: Path) -> tuple[list[str], list[Row]]:
    """Returns columns and rows; none if there is no file."""
    if not path.exists():
        return [], []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        return list(reader.fieldnames or []), rows


def _write(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with atomic_path(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
