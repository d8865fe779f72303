"""Runs one job of a sweep, in whatever process; the folder of the job records what it is and how it ended."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vae_lab.cli.check import check_config
from vae_lab.cli.command import Task
from vae_lab.cli.compose import overrides_of, register_resolver, words_for_other_processes
from vae_lab.cli.messages import is_expected, message
from vae_lab.cli.overrides import without_keys
from vae_lab.cli.paths import quoted
from vae_lab.errors import RunError
from vae_lab.nested import key_of
from vae_lab.runs.folder import (
    LAST,
    OUTCOMES,
    first_result,
    last_checkpoint,
    make_unique_folder,
    save_failure,
    save_traceback,
)
from vae_lab.runs.locks import check_free
from vae_lab.runs.reading import read_run
from vae_lab.sweeps.machine import RESOLVERS

MAX_NAME_LENGTH = 200
"""Characters in the name of a folder; file systems allow 255 bytes."""


def job_folder(words: Sequence[str], excluded: Sequence[str]) -> str:
    """Returns the name of a job's folder: its words, except those that are excluded as they are or by their key."""
    return folder_name(",".join(sorted(word for word in without_keys(words, excluded) if word not in excluded)))


def folder_name(overrides: str) -> str:
    """Returns the name of a job's folder: its overrides, made unique and safe for every file system."""
    if not overrides:
        return "defaults"
    safe = re.sub(r"[^\w.,=+\[\]-]+", "-", overrides, flags=re.ASCII).strip("-.")
    if safe == overrides and len(safe) <= MAX_NAME_LENGTH:
        return safe
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:8]
    return f"{safe[: MAX_NAME_LENGTH - 9] or 'job'}-{digest}"


# Here, because every process that a launcher starts imports this module for its job.
register_resolver("job_folder", job_folder)
for _name, _function in RESOLVERS.items():
    register_resolver(_name, _function)


def run_job(task: Task, cfg: DictConfig) -> None:
    """Runs a job of a sweep, unless it is finished already; a job that fails records why, so that the others go on."""
    hydra = HydraConfig.get()
    folder, overrides = Path(hydra.runtime.output_dir), overrides_of(hydra)
    try:
        if not _prepare_job(folder, overrides):
            return
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return
    try:
        check_config(cfg)
        if _wants_several_processes(cfg):
            _run_in_subprocess(folder, overrides)
        else:
            cfg.resume = "auto"
            task(cfg)
    except Exception as error:
        reason = message(error)
        if not is_expected(error):
            reason = f"{type(error).__name__}: {reason}"
            print(f"the traceback is in {save_traceback(folder, error)}", file=sys.stderr)
        save_failure(folder, overrides, error, reason)
        print(f"error: {reason}", file=sys.stderr)
    gc.collect()  # of a failed job, too: the next one may need the memory


def _prepare_job(folder: Path, overrides: Sequence[str]) -> bool:
    """Returns True if the job is still to be run, and makes its folder ready for that.

    A folder that holds results, but nothing to go on from, or that cannot be read is renamed, because it may hold the
    user's files. The new name is hidden, so that reports do not count the run.

    Raises:
        RunError: if the folder holds another job, if another process works there, or if last.ckpt is not a file.
    """
    sweep = Path(HydraConfig.get().sweep.dir)
    if sweep.resolve() not in folder.resolve().parents:
        raise RunError(f"hydra.sweep.subdir: {folder} is not inside {sweep}; each job needs a folder of its own there")
    check_free(folder)
    found = read_run(folder)
    if found is None:
        return True
    if found.job != frozenset(overrides) and (found.job is not None or found.state == "finished"):
        raise RunError(f"{folder}: holds another run ({' '.join(found.overrides or ())})")
    if found.state in ("finished", "pruned"):
        return False
    if not last_checkpoint(folder) and (found.state == "unreadable" or first_result(folder)):
        aside = make_unique_folder(folder.with_name(f".{folder.name}_broken"))
        folder.replace(aside)
        folder.mkdir()
        reason = found.reason or f"no {LAST} to go on from"
        print(f"{folder.name}: {reason}; the job starts again, and what was there is in {aside}")
    for name in OUTCOMES:
        (folder / name).unlink(missing_ok=True)
    return True


def started_together() -> bool:
    """Returns True if torchrun or SLURM's srun has started other processes of the same run as well."""
    return any(int(os.environ.get(name, "1")) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS"))


def _wants_several_processes(cfg: DictConfig) -> bool:
    """Returns True if Lightning may start further processes for this job."""
    return str(cfg.trainer.devices) != "1" or cfg.trainer.num_nodes > 1


def _run_in_subprocess(folder: Path, overrides: Sequence[str]) -> None:
    """Runs the job as its own command.

    Lightning starts the processes of a run by repeating the command line, and the command line of a sweep would start
    the whole sweep again in each of them.

    Raises:
        RunError: if the command fails, with its reason.
    """
    hydra = HydraConfig.get()
    of_search = [word for word in hydra.overrides.task if key_of(word).partition(".")[0] == "search"]
    of_run = [f"hydra.run.dir={quoted(str(folder))}", "resume=auto"]
    words = [*overrides, *of_search, *of_run, *words_for_other_processes(hydra)]
    # In a job of SLURM as well, Lightning must start the processes, because srun has started only this one.
    environment = {name: value for name, value in os.environ.items() if name != "SLURM_NTASKS"}
    command = [sys.executable, "-m", "vae_lab.train", *words]
    reason = ""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr)
            if line.startswith("error: "):
                reason = reason or line.removeprefix("error: ").strip()
    if process.returncode:
        raise RunError(reason or f"ended with exit code {process.returncode}")
