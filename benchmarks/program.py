"""vae_lab as a user runs it, in this process: logging, checkpoints, callbacks and progress bar on."""

from __future__ import annotations

import tempfile

import pytorch_lightning as pl
import torch

from benchmarks.bare import clock
from benchmarks.loops import Steps
from vae_lab.fitting import ComposedRun, compose
from vae_lab.training import VariationalModule


class Paired(pl.Callback):
    """Times each longer pass of vae_lab's steps, and the same number of steps of each bare loop right after it.

    A shared machine is half as fast in one second as in the next; neighbours in time compare.

    Args:
        bare: each runs a number of steps of a bare loop.

    Attributes:
        seconds: seconds per step of vae_lab and of each bare loop, for each pass.
        peak_bytes: the most memory of a GPU that vae_lab took in a pass; 0 without a GPU.
    """

    pass_safe = True

    def __init__(self, *bare: Steps) -> None:
        self.bare = bare
        self.seconds: list[tuple[float, ...]] = []
        self.peak_bytes = 0
        self.others_bytes = allocated_bytes()  # the bare loops' share
        self.started: tuple[int, float] | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        now = clock()
        if self.started is not None and trainer.current_epoch > 0:
            num = trainer.global_step - self.started[0]
            if num > LONG_PASS:
                self.peak_bytes = max(self.peak_bytes, peak_bytes() - self.others_bytes)
                of_bare = [_seconds(steps, num) / num for steps in self.bare]
                self.seconds.append(((now - self.started[1]) / num, *of_bare))
        peak_bytes()
        self.started = (trainer.global_step, clock())

    def on_train_epoch_start(self, *args: object) -> None:
        self.started = None


def _seconds(steps: Steps, num: int) -> float:
    started = clock()
    steps(num)
    return clock() - started


def allocated_bytes() -> int:
    """The memory that tensors on a GPU take; 0 without a GPU."""
    return torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0


def peak_bytes() -> int:
    """The most memory that tensors on a GPU took since the last call; 0 without a GPU."""
    if not torch.cuda.is_initialized():
        return 0
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


LONG_PASS = 8
"""Steps; shorter passes are not timed."""


class EpochTimes(pl.Callback):
    """Seconds of each training epoch, validation left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = clock()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(clock() - self.start)


def composed(*overrides: str) -> ComposedRun:
    """The objects that `python -m vae_lab.train` trains; on the CPU unless the overrides choose a trainer."""
    if not any(word.startswith("trainer=") for word in overrides):
        overrides = ("trainer=cpu", *overrides)
    return compose(*overrides)


def fitted(*overrides: str, callback: pl.Callback | None = None) -> VariationalModule:
    """The module that `python -m vae_lab.train` trains, with a callback more; what it writes is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        run = composed(*overrides, f"hydra.run.dir={folder}")
        if callback is not None:
            run.trainer.callbacks.insert(0, callback)
        run.trainer.fit(run.module, datamodule=run.data)
        return run.module


def run(callback: pl.Callback, *overrides: str) -> float:
    """`python -m vae_lab.train` with a callback more; seconds that compiling took."""
    return fitted(*overrides, callback=callback).compile_seconds


def epochs(*overrides: str) -> list[float]:
    """Seconds of each epoch of `python -m vae_lab.train`."""
    times = EpochTimes()
    run(times, *overrides)
    return times.seconds
