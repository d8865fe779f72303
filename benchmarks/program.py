"""vae_lab as a user runs it, in this process: logging, checkpoints, callbacks and progress bar on."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from vae_lab.config.command import config_dir
from vae_lab.train import build_module, build_trainer


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


def epochs(*overrides: str) -> tuple[list[float], float]:
    """Seconds of each epoch of `python -m vae_lab.train`, and those that compiling took."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = composed(folder, *overrides)
        parts = parts_of(cfg)
        times = EpochTimes()
        trainer = build_trainer(cfg)
        trainer.callbacks.insert(0, times)
        module = build_module(cfg, parts)
        trainer.fit(module, datamodule=parts["data"])
        return times.seconds, module.compile_seconds
