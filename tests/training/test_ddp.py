"""Several processes compute what one computes at the same total batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SIZES = (
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=6",
    "trainer.limit_val_batches=4",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "data.batch_size=84",
    "data.val_size=290",  # the last validation batch is short and cannot be halved or cut in three
    "data.horizontal_flip=true",
    "network.widths=[32]",
    "callbacks=none",
)


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Curves and metrics of a run in a process of its own, as Lightning starts further ones like it."""
    command = (sys.executable, "-m", "vae_lab.train", *SIZES, *words, f"hydra.run.dir={folder}")
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, cwd=folder.parent, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(folder))
    events.Reload()
    curves = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return {"curves": curves, "metrics": json.loads((folder / "metrics.json").read_text())["metrics"]}


def test_the_loss_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    words = ("model=mhvae", "trainer.limit_test_batches=3")
    one = run(tmp_path / "one", "trainer=cpu", *words)
    for processes in (2, 3):
        many = run(
            tmp_path / str(processes), "trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={processes}", *words
        )
        assert len(many["curves"]["train/loss"]) == 12
        for tag in ("train/loss", "train/elbo", "val/elbo", "val/kl_level_1", "val/iw_bound"):
            assert many["curves"][tag] == pytest.approx(one["curves"][tag], rel=1e-5), tag
        for tag in ("test/elbo", "test/kl", "test/log_likelihood"):
            assert many["metrics"][tag] == pytest.approx(one["metrics"][tag], rel=1e-5), tag
