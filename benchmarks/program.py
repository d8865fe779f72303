"""vae_lab as a user runs it, in this process: logging, checkpoints, callbacks and progress bar on."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from vae_lab.config.command import config_dir
from vae_lab.train import build_module, build_trainer


class Paired(pl.Callback):
    """Times each longer pass of vae_lab's steps, and the same number of bare steps right after it.

    A shared machine is half as fast in one second as in the next; neighbours in time compare.

    Args:
        bare: runs a number of steps of the bare loop.
    """

    pass_safe = True

    def __init__(self, bare: Callable[[int], None]) -> None:
        self.bare = bare
        self.seconds: list[tuple[float, float]] = []
        self.started: tuple[int, float] | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        now = time.perf_counter()
        if self.started is not None and trainer.current_epoch > 0:
            steps = trainer.global_step - self.started[0]
            if steps > LONG_PASS:
                self.bare(steps)
                self.seconds.append(((now - self.started[1]) / steps, (time.perf_counter() - now) / steps))
        self.started = (trainer.global_step, time.perf_counter())

    def on_train_epoch_start(self, *args: object) -> None:
        self.started = None


LONG_PASS = 8
"""Steps; shorter passes are not timed."""


class EpochTimes(pl.Callback):
    """Seconds of each training epoch, validation left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def composed(folder: str, *overrides: str) -> DictConfig:
    """The config that the command line would compose."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["trainer=cpu", *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.run_dir, cfg.name = folder, "benchmark"
    return cfg


def parts_of(cfg: DictConfig) -> dict[str, Any]:
    return {key: instantiate(cfg[key], _convert_="all") for key in ("data", "objective", "optimizer", "scheduler")}


def run(callback: pl.Callback, *overrides: str) -> float:
    """`python -m vae_lab.train` with a callback more; seconds that compiling took."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = composed(folder, *overrides)
        parts = parts_of(cfg)
        trainer = build_trainer(cfg)
        trainer.callbacks.insert(0, callback)
        module = build_module(cfg, parts)
        trainer.fit(module, datamodule=parts["data"])
        return module.compile_seconds


def epochs(*overrides: str) -> list[float]:
    """Seconds of each epoch of `python -m vae_lab.train`."""
    times = EpochTimes()
    run(times, *overrides)
    return times.seconds
