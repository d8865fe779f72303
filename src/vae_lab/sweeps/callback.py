"""Where runs and sweeps are put, and what a sweep tells when it ends: a callback of Hydra's, in the first process.

What it knows of the jobs it reads from their folders: any launcher may have run them anywhere.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from vae_lab.cli.messages import fail
from vae_lab.cli.paths import quoted
from vae_lab.errors import RunError
from vae_lab.runs.locks import hold
from vae_lab.runs.reading import Run, find_runs
from vae_lab.sweeps import jobs
from vae_lab.sweeps.launchers import PLUGINS, Grid, register
from vae_lab.sweeps.search import OptunaSearch

# By name: Hydra imports its plugins a second time, so that there may be two classes of it.
GRIDS = (f"{PLUGINS}.Grid", f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}")
"""The sweepers that know all their jobs before the first."""


class Folders(Callback):
    """Gives each run and each sweep a folder of its own, or the folder that is resumed; ends a sweep with a report."""

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
                folder = claim(_resolved(config, "hydra.run.dir"))
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
            for sweeper in (Grid, OptunaSearch):
                register(sweeper)
            _refuse_empty(config)
            folder = _sweep_folder(config)
            folder.mkdir(parents=True, exist_ok=True)
            hold(folder)
            # In the overrides as well: jobs compose their configs from them.
            config.hydra.sweep.dir = str(folder)
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")
            print(f"sweep folder {folder}; to resume it: the same command with {shlex.quote(f'sweep.resume={folder}')}")
            if config.sweep.resume is not None:
                self._compare(find_runs(folder), planned_jobs(config))

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
        if error := sys.exception():  # a sweeper that could not start its jobs; the table would hide the reason
            print(f"error: no more jobs were started: {type(error).__name__}: {error}", file=sys.stderr)
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


def claim(folder: Path) -> Path:
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


def _refuse_empty(config: DictConfig) -> None:
    """Raises for a grid without a job, naming the key that has no value."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    if config.hydra.sweeper._target_ not in GRIDS:
        return
    for override in parser.parse_overrides(list(config.hydra.overrides.task)):
        if override.is_sweep_override() and not list(override.sweep_string_iterator()):
            raise RunError(f"{override.input_line}: has no value, so that there is no job to run")


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


def planned_jobs(config: DictConfig) -> list[list[str]] | None:
    """The overrides of each job of the sweep; None with a sweeper that decides on them as it goes."""
    if config.hydra.sweeper._target_ not in GRIDS:
        return None
    words = [f"{key}={values}" for key, values in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*words, *config.hydra.overrides.task])
    (planned,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    no_settings = config.hydra.job.config.override_dirname.exclude_keys
    return [jobs.without_keys(job, no_settings) for job in planned]


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
        return claim(folder)
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
