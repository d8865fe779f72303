"""python -m benchmarks.speed: training speed of the whole program beside a bare PyTorch loop over the same network.

Both run in this process, in turn (A B A B ...), the first epoch of each not counted; the ratio is that of the medians.
The program runs as a user runs it: logging, checkpoints, callbacks and progress bar on.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from vae_lab.config.command import config_dir
from vae_lab.runs import git_state, write_text
from vae_lab.train import build_module, build_trainer
from vae_lab.training import prepare_process

NETWORK = ("latent_dim=2", "network.widths=[256]", "data.binarization=none", "data.val_size=0", "compile=true")
DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


class EpochTimes(pl.Callback):
    """Seconds of each training epoch, validation left out."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self.start)


class BareVae(torch.nn.Module):
    """784-256-2 and back, as in a tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 4))
        self.decoder = torch.nn.Sequential(torch.nn.Linear(2, 256), torch.nn.ReLU(), torch.nn.Linear(256, 784))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        reconstruction = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
        return (reconstruction + kl) / len(x)


def bare_epochs(images: torch.Tensor, batch_size: int, epochs: int) -> list[float]:
    """Seconds of each epoch of the loop that an expert would write."""
    torch.manual_seed(0)
    model = BareVae()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for rows in torch.randperm(len(images)).split(batch_size):
            x = images[rows].flatten(1).float() / 255
            optimizer.zero_grad()
            model(x).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def lab_epochs(batch_size: int, epochs: int) -> list[float]:
    """Seconds of each epoch of `python -m vae_lab.train` on the same network, with everything on."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = composed(folder, *NETWORK, f"data.batch_size={batch_size}", f"trainer.max_epochs={epochs}")
        parts: dict[str, Any] = {
            key: instantiate(cfg[key], _convert_="all") for key in ("data", "objective", "optimizer", "scheduler")
        }
        times = EpochTimes()
        trainer = build_trainer(cfg)
        trainer.callbacks.insert(0, times)
        trainer.fit(build_module(cfg, parts), datamodule=parts["data"])
        return times.seconds


def composed(folder: str, *overrides: str) -> DictConfig:
    """The config that the command line would compose."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["trainer=cpu", *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.run_dir, cfg.name = folder, "benchmark"
    return cfg


def measure(batch_size: int, rounds: int, epochs: int) -> tuple[list[float], list[float]]:
    """Images a second of the program and of the bare loop, an entry for each counted epoch."""
    data = instantiate(composed(".", *NETWORK).data, _convert_="all")
    images = torch.from_numpy(data.split("train").arrays.images)
    lab: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        lab += lab_epochs(batch_size, epochs)[1:]
        bare += bare_epochs(images, batch_size, epochs)[1:]
    return [len(images) / s for s in lab], [len(images) / s for s in bare]


def main() -> None:
    """Measures, prints a table and writes docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    prepare_process(0)

    rows = []
    for batch_size in (128, 512):
        lab, bare = (sorted(speeds) for speeds in measure(batch_size, options.rounds, options.epochs))
        spread = [f"{statistics.median(s):,.0f} ({s[0]:,.0f} to {s[-1]:,.0f})" for s in (lab, bare)]
        rows.append(
            (f"784-256-2, batch {batch_size}", *spread, f"{statistics.median(lab) / statistics.median(bare):.2f}")
        )
    header = ("network", "vae_lab, images/s", "bare loop, images/s", "ratio")
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if options.write:
        write_text(DOCUMENT, document(header, rows))


def document(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """docs/performance.md."""
    git = git_state() or {"commit": "unknown"}
    lines = ["| " + " | ".join(row) + " |" for row in (header, ("---",) * len(header), *rows)]
    return "\n".join(
        [
            "# Performance",
            "",
            "Written by `python -m benchmarks.speed --write`. Training images a second, median of the counted epochs",
            "(lowest to highest), second epoch on, validation left out. Both programs run in one process in turn;",
            "logging, checkpoints, callbacks and the progress bar of vae_lab are on. Compare the ratios: absolute",
            "figures are the machine's.",
            "",
            *lines,
            "",
            f"Machine: {platform.machine()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
            f"torch {torch.__version__}, Lightning {pl.__version__}; commit {git['commit'][:12]}.",
            "",
            "GPU: not measured.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
