"""Where a run stands, so that one that was stopped goes on as if it had never been.

Lightning's checkpoints lack every random state and the averages of an unfinished epoch, and its loops guess from their
counters where they were stopped. So ours say it: a checkpoint is written between two epochs or between two optimizer
steps, and holds in ``progress`` what is needed to go on from there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from vae_lab.training.guard import StepGuard
from vae_lab.training.metrics import BoundMetric
from vae_lab.training.processes import gathered

Progress = Mapping[str, Any]
"""Plain containers and tensors:

epoch             epochs that are finished
batch             batches of the next epoch that are done
batches           batches of the finished epochs
step, logged_step optimizer steps, and the x-axis of the curves
should_stop       whether early stopping has spoken
skipped           steps skipped as their gradient was not finite, and how many of them were the last
ranks             for each process: its random states and its sums of the unfinished epoch
"""


def progress_of(trainer: Trainer, train_bound: BoundMetric, guard: StepGuard) -> dict[str, Any]:
    """Where the run stands, before an epoch or a pass of steps; every process must call it."""
    epoch_loop = trainer.fit_loop.epoch_loop
    epochs: Any = trainer.fit_loop.epoch_progress.current  # Lightning types its counters as less than they are
    batches: Any = epoch_loop.batch_progress
    batch = batches.current.processed if epochs.started > epochs.processed else 0
    return {
        "epoch": epochs.processed,
        "batch": batch,
        "batches": batches.total.processed - batch,
        "step": trainer.global_step,
        "logged_step": epoch_loop._batches_that_stepped,
        "should_stop": trainer.should_stop,
        "skipped": [guard.skipped, guard.in_a_row],
        "ranks": gathered({"random": random_states(), "train_bound": [train_bound.total, train_bound.count]}),
    }


def restore_progress(trainer: Trainer, progress: Progress, guard: StepGuard) -> None:
    """Sets Lightning's counters; `skip_done_batches` follows when the epoch has begun."""
    epochs = trainer.fit_loop.epoch_progress
    epoch_loop = trainer.fit_loop.epoch_loop
    counters: list[tuple[Any, int]] = [(epochs.total, progress["epoch"]), (epochs.current, progress["epoch"])]
    counters.append((epoch_loop.batch_progress.total, progress["batches"]))
    for counter, number in counters:
        counter.ready = counter.started = counter.processed = counter.completed = number
    steps = epoch_loop.manual_optimization.optim_step_progress.total
    steps.ready = steps.completed = progress["step"]
    epoch_loop._batches_that_stepped = progress["logged_step"]
    trainer.should_stop = progress["should_stop"]
    guard.skipped, guard.in_a_row = progress["skipped"]


def skip_done_batches(
    trainer: Trainer, progress: Progress, dataloader_iter: Any, train_bound: BoundMetric
) -> torch.Size:
    """Brings an epoch that has just begun to the batch where it was stopped, with its averages and random states.

    Returns:
        The shape of the first batch of the epoch.
    """
    shapes: list[torch.Size] = [next(dataloader_iter)[0].x.shape for _ in range(progress["batch"])]
    trainer.fit_loop.epoch_loop.batch_progress.increment_by(progress["batch"])
    ranks = progress["ranks"]
    own = ranks[trainer.global_rank if len(ranks) == trainer.world_size else 0]
    sums = sums_of_rank(ranks, trainer.global_rank, trainer.world_size)
    for state, saved in zip((train_bound.total, train_bound.count), sums, strict=True):
        state.copy_(saved)
    set_random_states(own["random"])
    return shapes[0]


def sums_of_rank(ranks: Sequence[Mapping[str, Any]], rank: int, world: int) -> list[Tensor]:
    """Returns the part of a process in the sums of the unfinished epoch; all parts together are what was saved."""
    saved: list[list[Tensor]] = [entry["train_bound"] for entry in ranks]
    if len(ranks) == world:
        return saved[rank]
    return [torch.stack(parts).sum(0) * (rank == 0) for parts in zip(*saved, strict=True)]


def random_states() -> dict[str, Any]:
    """Those of Python, numpy, torch and the GPU of this process."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Puts back what `random_states` found."""
    random.setstate(states["python"])
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states.get("cuda") is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
