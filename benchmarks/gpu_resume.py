"""A run that is stopped and resumed on the device, beside one that never was."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor

from benchmarks.bench import Bench, Part
from vae_lab.train import main as train_main
from vae_lab.training import VariationalModule
from vae_lab.training.resume import interrupts

ROUNDING = 1e-3
"""Relative bound of the norm of the difference of the weights where the device may add in any order."""


def train(*words: str) -> int:
    """The exit code of `python -m vae_lab.train`, run in this process.

    Raises:
        RuntimeError: for a command that fails; it says what the command said.
    """
    said = io.StringIO()
    code = 0
    with mock.patch.object(sys, "argv", ["train", *words]), mock.patch.dict(os.environ):
        try:
            with redirect_stdout(said), redirect_stderr(said):
                train_main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        finally:
            GlobalHydra.instance().clear()
            interrupts.restore_handlers()
    if code == 1:
        raise RuntimeError(f"vae_lab.train {' '.join(words)}: {said.getvalue().strip()}")
    return code


@contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Within it, SIGTERM comes when that many steps have been taken and the next one begins."""
    whole = VariationalModule._optimizer_step

    def stopping(self: VariationalModule, batches: Any) -> Any:
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, batches)

    with mock.patch.object(VariationalModule, "_optimizer_step", stopping):
        yield


def tensors(run: Path) -> list[Tensor]:
    """Weights and optimizer state of the last checkpoint of a run."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    moments = [
        value
        for optimizer in checkpoint["optimizer_states"]
        for state in optimizer["state"].values()
        for value in state.values()
    ]
    return [value for value in (*checkpoint["state_dict"].values(), *moments) if isinstance(value, Tensor)]


def distance(run: Path, reference: Path) -> tuple[bool, float]:
    """True if all tensors are the same to the last bit, and the largest relative difference of one of them."""
    pairs = list(zip(tensors(run), tensors(reference), strict=True))
    same = all(torch.equal(ours, other) for ours, other in pairs)
    return same, max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in pairs if a.is_floating_point())


def interrupted(words: tuple[str, ...], stop: int) -> tuple[bool, float]:
    """The `distance` of a run stopped after ``stop`` steps or the next and resumed, from one that was not."""
    with tempfile.TemporaryDirectory() as folder:
        reference, run = Path(folder) / "reference", Path(folder) / "run"
        train(*words, f"hydra.run.dir={reference}")
        with stopped_at(stop):
            code = train(*words, f"hydra.run.dir={run}")
        assert code == 128 + signal.SIGTERM, f"exit code {code} of a run that was stopped"
        train(f"resume={run}")
        return distance(run, reference)


def resume(bench: Bench) -> dict[str, Any]:
    """Deterministic, to the last bit; else within rounding."""
    batches = bench.pick(60, 7)
    sizes = ("network.widths=[16]", "data.batch_size=20") if bench.tiny else ()
    words = (
        *bench.trainer(),
        *sizes,
        "callbacks.pictures=null",
        "callbacks.projector=null",
        "trainer.max_epochs=2",
        f"trainer.limit_train_batches={batches}",
        "trainer.limit_val_batches=2",
        "trainer.limit_test_batches=2",
    )
    try:
        same, _ = interrupted((*words, "trainer.deterministic=true"), batches // 2)
    finally:
        torch.use_deterministic_algorithms(False)  # Lightning leaves it on
    identical, difference = interrupted(words, batches // 2)
    return {
        "holds": same and difference <= ROUNDING,
        "deterministic_is_bitwise": same,
        "default_is_bitwise": identical,
        "default_relative_difference": difference,
        "bounds": {"default_relative_difference": ROUNDING},
    }


PARTS = (Part("resume", "correctness", 30, resume),)
