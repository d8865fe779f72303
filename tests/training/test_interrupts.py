"""The signal by which submitit queues a job again: noted while a run trains, then handed on to who listened before."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAST, Outcome

from vae_lab.training.resume import interrupts


@pytest.fixture
def queue() -> Iterator[list[bool]]:
    """Listens to SIGUSR2 as submitit does: whether last.ckpt was there when it came."""
    found: list[bool] = []

    def listener(number: int, frame: Any) -> None:
        found.append(Path("run/checkpoints/last.ckpt").is_file())
        raise SystemExit(77)

    before = signal.signal(signal.SIGUSR2, listener)
    yield found
    interrupts.restore_handlers()
    signal.signal(signal.SIGUSR2, before)


def test_a_run_is_saved_before_it_is_queued_again(
    train: Callable[..., Outcome], queue: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*FAST, "hydra.run.dir=run", "resume=auto")
    step, steps = torch.optim.Adam.step, itertools.count()

    def signalling(self: Any, *args: Any, **options: Any) -> Any:
        if next(steps) == 1:
            os.kill(os.getpid(), signal.SIGUSR2)
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", signalling)
    outcome = train(*words, "trainer.max_epochs=2")
    assert queue == [True]
    assert outcome.code == 77
    assert "stopped by SIGUSR2" in outcome.out


def test_without_a_listener_the_signal_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    interrupts.listen()
    assert signal.getsignal(signal.SIGUSR2) == before
    interrupts.restore_handlers()
    assert signal.getsignal(signal.SIGUSR2) == before
