"""Several processes compute what one computes at the same total batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.same_run import assert_same

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


def train(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The command in a process of its own, as Lightning starts further ones like it."""
    command = (sys.executable, "-m", "vae_lab.train", *words, f"hydra.run.dir={folder}")
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder.parent)


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Curves and metrics of a whole run."""
    process = train(folder, *words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    events = EventAccumulator(str(folder))
    events.Reload()
    curves = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return {"curves": curves, "metrics": json.loads((folder / "metrics.json").read_text())["metrics"]}


def test_the_loss_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    words = (*SIZES, "model=mhvae", "trainer.limit_test_batches=3")
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


TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def step_of(folder: Path) -> int:
    last = folder / "checkpoints" / "last.ckpt"
    return int(torch.load(last, weights_only=True)["global_step"]) if last.is_file() else 0


def other_process(process: subprocess.Popen[str]) -> int:
    """The second process of a run."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1:]
    return int(child)


def end_after(folder: Path, step: int, number: signal.Signals, *words: str) -> tuple[int, str, str]:
    """Sends a signal to the second process of two once a checkpoint is beyond a step; what became of the first."""
    process = train(folder, *words)
    while step_of(folder) <= step and process.poll() is None:
        time.sleep(0.01)
    os.kill(other_process(process), number)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells which process is whose")
def test_two_processes_that_were_stopped_and_killed_end_as_if_they_never_had_been(tmp_path: Path) -> None:
    sizes = (word for word in SIZES if not word.startswith(("trainer.limit_train", "callbacks")))
    no_pictures = ("callbacks.pictures=null", "callbacks.projector=null", "trainer.limit_test_batches=2")
    words = (*sizes, *TWO, *no_pictures, "trainer.limit_train_batches=200", "checkpoint.every_minutes=0.001")
    reference, folder = tmp_path / "reference", tmp_path / "run"
    run(reference, *words)

    code, out, errors = end_after(folder, 5, signal.SIGTERM, *words)
    assert code == 143, errors
    assert f"resume={folder}" in out
    code, _, errors = end_after(folder, step_of(folder) + 20, signal.SIGKILL, f"resume={folder}")
    assert code != 0
    assert "Traceback" not in errors
    assert 25 < step_of(folder) < 400, "it was ended on its way"
    run(folder, f"resume={folder}")
    assert_same(folder, reference)
