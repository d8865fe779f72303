"""Prints the table at the end of a sweep."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from vae_lab.runs.reading import RunRecord
from vae_lab.screen import print_table


class _JobRow(NamedTuple):
    """A job: its overrides, its state (finished, failed, skipped because finished before, ...) and details."""

    overrides: Sequence[str]
    state: str
    detail: str

    @property
    def succeeded(self) -> bool:
        """True if the job ended as planned."""
        return self.state in ("finished", "skipped", "pruned")


def job_rows(
    runs: Sequence[RunRecord], planned: Sequence[Sequence[str]] | None, finished_before: Set[frozenset[str]]
) -> list[_JobRow]:
    """Returns a row for each planned job; for each run of the folder, if the jobs were not planned beforehand."""
    if planned is None:
        return [_row(run.overrides or [run.folder.name], run, run.job in finished_before) for run in runs]
    # Of several runs of a job, such as a copy that did not finish, the finished one counts.
    found = {run.job: run for run in sorted(runs, key=lambda run: run.state == "finished")}
    return [_row(job, found.get(frozenset(job)), frozenset(job) in finished_before) for job in planned]


def _row(overrides: Sequence[str], run: RunRecord | None, skipped: bool) -> _JobRow:
    if run is None:
        return _JobRow(overrides, "not run", "it left nothing behind")
    if run.state == "finished":
        elbo = f"{run.metrics['elbo']:.3f}" if "elbo" in run.metrics else ""
        return _JobRow(overrides, "skipped" if skipped else "finished", elbo)
    return _JobRow(overrides, run.state, run.reason or "ended before it was done")


def print_jobs(rows: Sequence[_JobRow]) -> None:
    """Prints the table; overrides that all jobs share stand above it."""
    shared = set.intersection(*(set(row.overrides) for row in rows)) if len(rows) > 1 else set()
    title = " ".join(["sweep", *(word for row in rows[:1] for word in row.overrides if word in shared)])
    own = [" ".join(word for word in row.overrides if word not in shared) for row in rows]
    cells = [(words, row.state, row.detail) for words, row in zip(own, rows, strict=True)]
    print_table(title, ("job", "state", "test elbo, or the reason"), cells)
