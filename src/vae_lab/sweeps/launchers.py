"""Where the jobs of a sweep run: how launchers share a machine among them, and what becomes of lost jobs."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from hydra._internal.core_plugins import basic_sweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

PLUGINS = "hydra_plugins.vae_lab"
"""The name under which YAML has our sweepers: Hydra takes none from outside hydra_plugins."""


def register(sweeper: type[Sweeper]) -> None:
    """Makes a sweeper of ours known to Hydra."""
    Plugins.instance().class_name_to_class[f"{PLUGINS}.{sweeper.__name__}"] = sweeper


# What a machine has for its jobs.


def visible_gpus() -> list[str]:
    """The GPUs of this machine that may be used, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # noqa: PLC0415  (nothing but a launcher that shares a machine needs it)

    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names.split(",")[:count] if names else [str(i) for i in range(count)]


def _cores() -> int:
    from joblib import cpu_count  # noqa: PLC0415  (which knows of containers)

    return int(cpu_count())


def jobs_at_once() -> int:
    """One job a GPU, else one for every two cores, but two where there are two cores or three."""
    return len(visible_gpus()) or min(_cores(), max(2, _cores() // 2))


for _name, _function in {
    "jobs_at_once": jobs_at_once,
    "gpus": lambda: len(visible_gpus()),
    "gpus_a_job": lambda: min(1, len(visible_gpus())),
    "cpus_a_job": lambda: max(1, _cores() // jobs_at_once()),
}.items():
    OmegaConf.register_new_resolver(_name, _function, replace=True)


class Share(Callback):
    """Gives each job that runs beside others on this machine a GPU of its own and its share of the cores.

    Args:
        jobs_at_once: processes that run jobs.
    """

    def __init__(self, jobs_at_once: int) -> None:
        self.threads = max(1, _cores() // max(1, jobs_at_once))
        self.gpus = visible_gpus()
        self.locks = Path(tempfile.gettempdir()) / f"vae_lab-gpus-{os.getpid()}"  # of the process that launches

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """In the job's process, before it imports torch."""
        os.environ.setdefault("OMP_NUM_THREADS", str(self.threads))
        if self.gpus:
            number, _lock = _own_gpu(self.locks, len(self.gpus))
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[number]


@functools.cache
def _own_gpu(folder: Path, count: int) -> tuple[int, IO[str]]:
    """The number of a GPU that no other process has until this one ends; a shared one, should there be too few."""
    import fcntl  # noqa: PLC0415  (Windows lacks it)

    folder.mkdir(exist_ok=True)
    for number in range(count):
        lock = (folder / str(number)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return number, lock
    return os.getpid() % count, lock


# What becomes of a job whose process dies.


class Enduring(Launcher):
    """A launcher that may fail: what it did not finish is told, and the sweep comes to its table and its report.

    A job that fails writes that down and returns. A launcher fails where the process of a job is killed, or where it
    cannot start one.

    Args:
        launcher: of a plugin, set up.
        name: what the user chose.
    """

    def __init__(self, launcher: Launcher, name: str) -> None:
        self.launcher = launcher
        self.name = name

    def setup(self, **_: Any) -> None:
        """It is set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        try:
            with _lost_jobs(self.name):
                return self.launcher.launch(job_overrides, initial_job_idx)
        except HydraException:
            raise
        except Exception as error:
            _tell_lost(self.name, error)
            return []


def _tell_lost(name: str, error: Exception) -> None:
    if os.environ.get("VAE_LAB_FULL_ERROR", "0") not in ("0", ""):
        traceback.print_exception(error)
    lines = str(error).strip().splitlines() or [""]
    print(f"error: launcher={name}: {type(error).__name__}: {lines[0].strip()[:300]}", file=sys.stderr)


@contextmanager
def _lost_jobs(name: str) -> Iterator[None]:
    """Waits for all jobs of submitit: the plugin would raise for the first that died, and leave the others alone."""
    if not name.startswith("submitit"):
        yield
        return
    from submitit.core.core import Job  # noqa: PLC0415
    from submitit.core.utils import FailedJobError, UncompletedJobError  # noqa: PLC0415

    results = Job.results

    def results_or_nothing(job: Any) -> list[Any]:
        try:
            return results(job)
        except (FailedJobError, UncompletedJobError) as error:
            _tell_lost(name, error)
            return [JobReturn(status=JobStatus.COMPLETED)]

    Job.results = results_or_nothing  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Job.results = results  # type: ignore[method-assign]


def enduring(launcher: Launcher, config: DictConfig) -> Launcher:
    """The launcher of a sweep as one that may fail; Hydra's own, which runs jobs in this process, stays as it is."""
    name = config.hydra.runtime.choices["hydra/launcher"]
    return launcher if name == "basic" else Enduring(launcher, name)


class Grid(Sweeper):
    """Hydra's own sweeper, the product of all values, with a launcher that may fail."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        # Through its module: Hydra imports its plugins a second time, which makes another class of it.
        self.grid = basic_sweeper.BasicSweeper(max_batch_size, params)

    def setup(self, *, config: DictConfig, **context: Any) -> None:
        self.grid.setup(config=config, **context)
        assert self.grid.launcher is not None
        self.grid.launcher = enduring(self.grid.launcher, config)

    def sweep(self, arguments: list[str]) -> Any:
        return self.grid.sweep(arguments)
