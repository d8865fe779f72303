"""The GPUs and cores of a machine, shared among the jobs that run there at once."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_SIGNAL_AT_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def visible_gpus() -> list[str]:
    """Returns the usable GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # noqa: PLC0415  (only a launcher that shares a machine needs it)

    count = torch.cuda.device_count()
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names.split(",")[:count] if names else [str(i) for i in range(count)]


def _cores() -> int:
    from joblib import cpu_count  # noqa: PLC0415  (which respects the limits of a container)

    return int(cpu_count())


def jobs_at_once() -> int:
    """Returns one job per GPU; without GPUs, one per two cores, but two jobs on two or three cores."""
    return len(visible_gpus()) or min(_cores(), max(2, _cores() // 2))


RESOLVERS: dict[str, Callable[[], int]] = {
    "jobs_at_once": jobs_at_once,
    "gpus": lambda: len(visible_gpus()),
    "gpus_a_job": lambda: min(1, len(visible_gpus())),
    "cpus_a_job": lambda: max(1, _cores() // jobs_at_once()),
}
"""Functions that configs call as ``${name:}``."""


class ShareMachine(Callback):
    """Gives each of the jobs that run at once on this machine its own GPU and its part of the cores.

    If the process that launches them ends, however it does, Linux sends SIGTERM to the jobs: they save and stop.

    Args:
        jobs_at_once: number of processes that run jobs.
    """

    def __init__(self, jobs_at_once: int) -> None:
        self.threads = max(1, _cores() // max(1, jobs_at_once))
        self.gpus = visible_gpus()
        self.launching = os.getpid()
        self.locks = Path(tempfile.gettempdir()) / f"vae_lab-gpus-{self.launching}"

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Sets the environment of the job's process, before it imports torch."""
        if sys.platform == "linux" and os.getpid() != self.launching:  # and not when the shell of the user ends
            ctypes.CDLL(None).prctl(_SIGNAL_AT_DEATH_OF_PARENT, signal.SIGTERM)
        os.environ.setdefault("OMP_NUM_THREADS", str(self.threads))
        if self.gpus:
            number, _lock = _own_gpu(self.locks, len(self.gpus))
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[number]


@functools.cache
def _own_gpu(folder: Path, count: int) -> tuple[int, IO[str]]:
    """Returns the number and the lock of a GPU that no other process gets until this one ends.

    With more processes than GPUs, some processes share one.
    """
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
