"""A callback of Hydra that chooses the folders of runs and sweeps, and reports on a sweep when it ends.

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

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from vae_lab.cli.messages import fail
from vae_lab.cli.paths import quoted
from vae_lab.errors import RunError
from vae_lab.runs.locks import hold
from vae_lab.runs.reading import Run, find_runs
from vae_lab.sweeps import jobs
from vae_lab.sweeps.grid import planned_jobs


class SweepCallback(Callback):
    """Gives each run and each sweep its own folder, or the folder that is resumed, and ends a sweep with a report."""

    def __init__(self) -> None:
        self.finished_before: set[frozenset[str]] = set()

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with ending_the_command():
            if config.sweep.resume is not None:
                raise RunError(f"sweep.resume={config.sweep.resume}: resumes a sweep; add -m")
            if launcher := config.hydra.runtime.choices.launcher:
                raise RunError(f"launcher={launcher}: runs the jobs of a sweep; add -m (one job is a sweep, too)")
            if (search := config.hydra.runtime.choices.search) and config.search.trial is None:
                raise RunError(f"search={search}: searches with the jobs of a sweep; add -m")
            if not _is_set(config, "hydra.run.dir"):
                if jobs.started_together():
                    raise RunError(
                        "hydra.run.dir: must be given to torchrun and srun, whose processes share the folder"
                    )
                folder = make_unique_folder(_resolved(config, "hydra.run.dir"))
                with read_write(config.hydra):
                    config.hydra.run.dir = str(folder)
            else:
                _refuse_unusable("hydra.run.dir", _resolved(config, "hydra.run.dir"))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with ending_the_command():
            if jobs.started_together():
                raise RunError(
                    "-m: torchrun and srun start the processes of one run; without them each job of a sweep starts its "
                    "own (trainer.devices), or use launcher=submitit_slurm"
                )
            planned = planned_jobs(config)
            folder = _sweep_folder(config)
            folder.mkdir(parents=True, exist_ok=True)
            hold(folder)
            # In the overrides as well: jobs compose their configs from them.
            with read_write(config.hydra):
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")
            print(f"sweep folder {folder}; to resume it: the same command with {shlex.quote(f'sweep.resume={folder}')}")
            if config.sweep.resume is not None:
                self._compare(find_runs(folder), planned)

    def _compare(self, runs: list[Run], planned: list[list[str]] | None) -> None:
        """Says what is left to do, and what of the folder is not in this sweep."""
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
        with ending_the_command():
            # Here and not above: nothing but the end of a sweep needs what draws.
            from vae_lab.reports.page import write_report  # noqa: PLC0415
            from vae_lab.runs.search_record import search_lines  # noqa: PLC0415
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


def make_unique_folder(folder: Path) -> Path:
    """Makes a folder that nobody else has: ``folder``, or with _1, _2, ... behind it where others were quicker."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mine, number = folder, 0
    while True:
        try:
            mine.mkdir()
        except FileExistsError:
            number += 1
            mine = folder.with_name(f"{folder.name}_{number}")
        else:
            return mine


def _refuse_unusable(key: str, folder: Path) -> None:
    """Raises for a folder that cannot be made, naming the key that asks for it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:  # Hydra makes it again; a run that is refused before shall leave nothing
            path.rmdir()
    except OSError as error:
        is_link = isinstance(error, FileExistsError) and any(path.is_symlink() for path in missing)
        reason = "a link in it leads nowhere" if is_link else error.strerror or error
        raise RunError(f"{key}={folder}: {reason}; name another folder") from error


@contextmanager
def ending_the_command() -> Iterator[None]:
    """Lets an error in a callback end the command, where Hydra would make a warning of it and go on."""
    try:
        yield
    except Exception as error:
        try:
            fail(error)
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from error


def _sweep_folder(config: DictConfig) -> Path:
    """The folder that is resumed, or a new one."""
    if config.sweep.resume is not None:
        folder = Path(str(config.sweep.resume)).expanduser()
        if not (folder / "multirun.yaml").is_file():
            reason = "no sweep there; it holds multirun.yaml" if folder.is_dir() else "no such folder"
            raise RunError(f"sweep.resume={config.sweep.resume}: {reason}")
        return folder
    folder = _resolved(config, "hydra.sweep.dir")
    if not _is_set(config, "hydra.sweep.dir"):
        return make_unique_folder(folder)
    if (folder / "multirun.yaml").is_file():
        raise RunError(f"hydra.sweep.dir={folder}: holds a sweep already; sweep.resume={folder} resumes it")
    _refuse_unusable("hydra.sweep.dir", folder)
    return folder


def _is_set(config: DictConfig, key: str) -> bool:
    """Whether the user set a key of Hydra's; then the folder is the user's own choice."""
    return any(word.lstrip("+").startswith(f"{key}=") for word in config.hydra.overrides.hydra)


def _resolved(config: DictConfig, key: str) -> Path:
    """The value of a key before Hydra begins its job, when ${hydra:...} is not yet known to it."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return Path(str(OmegaConf.select(config, key)))
    finally:
        HydraConfig.instance().cfg = before
        OmegaConf.set_readonly(config.hydra, False)
