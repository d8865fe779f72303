"""A run that goes on within an epoch takes over the shape that is compiled, and the sums of all devices."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Outcome
from torch import Tensor

from tests.training.test_resume import QUICK, stopped_at
from vae_lab.training.metrics import BoundMetric
from vae_lab.training.resume.content import random_states, skip_done_batches
from vae_lab.types import Batch

__all__ = ["stopped_at"]  # a fixture

FULL, SHORT = 20, 10


@pytest.fixture
def compiled_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that run compiled, in order."""
    sizes: list[int] = []

    def compile(loss: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def compiled(x: Tensor, *args: Any) -> Any:
            sizes.append(len(x))
            return loss(x, *args)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    return sizes


@pytest.mark.parametrize("stop", [3, 4])
def test_the_shape_of_full_batches_is_compiled(
    train: Callable[..., Outcome],
    stopped_at: Callable[..., None],
    compiled_sizes: list[int],
    tmp_path: Path,
    stop: int,
) -> None:
    of_data = (f"data.val_size={60_000 - 3 * FULL - SHORT}", "data.binarization=threshold")
    words = [*QUICK, *of_data, "compile=true", "trainer.limit_train_batches=1.0", "trainer.max_epochs=2"]
    stopped_at(stop, signal.SIGTERM)
    assert train(*words, f"hydra.run.dir={tmp_path}").code == 143
    assert train(f"resume={tmp_path}").code == 0
    checked = 2  # the first batch of each command, to compare the compiled gradient
    assert compiled_sizes == [FULL] * (6 + checked), "all full batches, and no short one"


def entry(total: float, count: int) -> dict[str, Any]:
    total_of_terms = torch.full((2,), total, dtype=torch.float64)
    return {"train_bound": [total_of_terms, torch.tensor(count, dtype=torch.float64)], "random": random_states()}


class Batches(list[Any]):
    """An iterator that knows when it is done, as Lightning's does."""

    @property
    def done(self) -> bool:
        return not self

    def __next__(self) -> Any:
        return self.pop(0)


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("now", [1, 2, 3])
def test_the_sums_of_an_epoch_are_those_of_all_devices_before(before: int, now: int) -> None:
    progress = {"batch": 2, "batch_size": 5 * now, "ranks": [entry(10.0 + rank, 5) for rank in range(before)]}
    metrics, data = [], SimpleNamespace(batch_size=5 * now)
    for rank in range(now):
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(increment_by=lambda _: None)))
        trainer: Any = SimpleNamespace(global_rank=rank, world_size=now, fit_loop=loop, datamodule=data)
        metrics.append(BoundMetric())
        batches = Batches((Batch(torch.zeros(size, 1, 2, 2), None), 0, 0) for size in (5, 5, 3))
        shape = skip_done_batches(trainer, progress, batches, metrics[-1])
    assert sum(metric.total[0].item() for metric in metrics) == sum(10.0 + rank for rank in range(before))
    assert sum(metric.count.item() for metric in metrics) == 5 * before
    assert shape == (5, 1, 2, 2)
