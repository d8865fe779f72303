"""Hydra's callback that chooses the folders of runs and sweeps, and reports on a sweep when it ends.

It runs in the first process, and reads how the jobs ended from their folders, because any launcher may have run them.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from vae_lab.cli.messages import fail
from vae_lab.cli.overrides import refuse_sweeps
from vae_lab.cli.paths import quoted
from vae_lab.errors import RunError
from vae_lab.runs.locks import hold
from vae_lab.runs.reading import RunRecord, find_runs
from vae_lab.sweeps import jobs
from vae_lab.sweeps.folders import excluded_words, is_set, made_folder, sweep_folder
from vae_lab.sweeps.grid import planned_jobs


class SweepCallback(Callback):
    """Gives each run and each sweep its own folder, or the folder that is resumed, and ends a sweep with a report."""

    def __init__(self) -> None:
        self.finished_before: set[frozenset[str]] = set()

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with _ending_the_command():
            refuse_sweeps(config, config.hydra.runtime.choices, "add -m")
            if jobs.started_together() and not is_set(config, "hydra.run.dir"):
                raise RunError("hydra.run.dir: must be given to torchrun and srun, whose processes share the folder")
            folder = made_folder(config, "hydra.run.dir")
            with read_write(config.hydra):
                config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with _ending_the_command():
            if jobs.started_together():
                raise RunError(
                    "-m: torchrun and srun start the processes of one run; without them each job of a sweep starts its "
                    "own (trainer.devices), or use launcher=submitit_slurm"
                )
            planned = planned_jobs(config)
            folder = sweep_folder(config)
            hold(folder)
            naming, excluded = config.hydra.job.config.override_dirname, excluded_words(config, folder)
            # In the overrides as well, because jobs compose their configs from them.
            with read_write(config.hydra):
                config.hydra.sweep.dir, naming.exclude_keys = str(folder), excluded
                config.hydra.overrides.hydra += [
                    f"hydra.sweep.dir={quoted(str(folder))}",
                    f"hydra.job.config.override_dirname.exclude_keys=[{','.join(_literal(word) for word in excluded)}]",
                ]
            print(f"sweep folder {folder}; to resume it: -m {shlex.quote(f'sweep.resume={folder}')}")
            if config.sweep.resume is not None:
                self._compare(find_runs(folder), planned)

    def _compare(self, runs: list[RunRecord], planned: list[list[str]] | None) -> None:
        """Prints what is left to do, and how many runs of the folder do not belong to this sweep."""
        self.finished_before = {run.job for run in runs if run.state == "finished" and run.job is not None}
        if planned is None:
            return
        wanted = {frozenset(job) for job in planned}
        print(f"{len(self.finished_before & wanted)} of {len(wanted)} jobs are finished already")
        new = wanted - {run.job for run in runs}
        others = [run for run in runs if run.job not in wanted]
        if others:
            print(f"another grid: {len(new)} jobs are new, and {len(others)} in the folder are not of this sweep")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if sys.exception():  # Hydra 1.4, unlike 1.3, calls this after an error as well
            return
        with _ending_the_command():
            # Here and not above: only the end of a sweep needs what draws.
            from vae_lab.reports.page import write_report  # noqa: PLC0415
            from vae_lab.runs.sweep_folder import search_lines  # noqa: PLC0415
            from vae_lab.sweeps.job_table import job_rows, print_jobs  # noqa: PLC0415

            folder = Path(config.hydra.sweep.dir)
            runs = find_runs(folder)
            rows = job_rows(runs, planned_jobs(config), self.finished_before)
            print_jobs(rows)
            for line in search_lines(folder):
                print(line)
            if runs:
                write_report(folder)
                print(f"report       {folder / 'report.md'}")
            if not all(row.succeeded for row in rows):
                raise SystemExit(1)


def _literal(word: str) -> str:
    """Returns a word as a string of Hydra's grammar, in which an interpolation stays as it is written."""
    return quoted(word.replace("${", "\\${"))


@contextmanager
def _ending_the_command() -> Iterator[None]:
    """Context manager in which an error ends the command; Hydra would print it as a warning and go on."""
    try:
        yield
    except Exception as error:
        try:
            fail(error)
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from error
