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
from vae_lab.training.stopping import monitored_values, settle_early_stopping

Progress = Mapping[str, Any]
"""Plain containers and tensors:

epoch             epochs that are finished
batch             batches of the next epoch that are done
batches           batches of the finished epochs
step, logged_step optimizer steps, and the x-axis of the curves
batch_size        examples in a batch of all processes together
should_stop       True if early stopping or the limit of time had ended the run
monitored         the last value that each early stopping has seen
skipped           steps skipped as their gradient was not finite, and how many of them were the last
ranks             for each process: its random states and its sums of the unfinished epoch
"""


def progress_of(trainer: Trainer, train_bound: BoundMetric, guard: StepGuard) -> dict[str, Any]:
    """Where the run stands, before an epoch or a pass of steps; every process must call it."""
    epoch_loop = trainer.fit_loop.epoch_loop
    epochs: Any = trainer.fit_loop.epoch_progress.current  # Lightning types its counters as less than they are
    batches: Any = epoch_loop.batch_progress
    cut = ends_within_epoch(trainer)
    batch = batches.current.processed if cut or epochs.started > epochs.processed else 0
    return {
        "epoch": epochs.processed - cut,
        "batch": batch,
        "batches": batches.total.processed - batch,
        "batch_size": _batch_size(trainer),
        "step": trainer.global_step,
        "logged_step": epoch_loop._batches_that_stepped,
        "should_stop": trainer.should_stop,
        "monitored": monitored_values(trainer),
        "skipped": [guard.skipped, guard.in_a_row],
        "ranks": gathered({"random": random_states(), "train_bound": [train_bound.total, train_bound.count]}),
    }


def ends_within_epoch(trainer: Trainer) -> bool:
    """Returns True at the end of an epoch that was cut off, by max_steps or max_time, before its last batch."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epoch_loop = trainer.fit_loop.epoch_loop
    begun = epochs.started == epochs.processed and epoch_loop.batch_progress.current.ready > 0
    return begun and not epoch_loop._num_ready_batches_reached()


def restore_progress(trainer: Trainer, checkpoint: Mapping[str, Any], guard: StepGuard) -> None:
    """Sets Lightning's counters; `skip_done_batches` follows when the epoch has begun."""
    progress = checkpoint["progress"]
    epochs = trainer.fit_loop.epoch_progress
    epoch_loop = trainer.fit_loop.epoch_loop
    counters: list[tuple[Any, int]] = [(epochs.total, progress["epoch"]), (epochs.current, progress["epoch"])]
    counters.append((epoch_loop.batch_progress.total, progress["batches"]))
    for counter, number in counters:
        counter.ready = counter.started = counter.processed = counter.completed = number
    steps = epoch_loop.manual_optimization.optim_step_progress.total
    steps.ready = steps.completed = progress["step"]
    epoch_loop._batches_that_stepped = progress["logged_step"]
    trainer.should_stop = settle_early_stopping(trainer, checkpoint)
    guard.skipped, guard.in_a_row = progress["skipped"]


def skip_done_batches(
    trainer: Trainer, progress: Progress, dataloader_iter: Any, train_bound: BoundMetric
) -> torch.Size | None:
    """Brings an epoch that has just begun to the batch where it was stopped, with its averages and random states.

    Returns:
        The shape of the first batch of the epoch; None if no batch was skipped.
    """
    shapes: list[torch.Size] = []
    batches = _done_batches(trainer, progress)
    while len(shapes) < batches and not dataloader_iter.done:
        shapes.append(next(dataloader_iter)[0].x.shape)
    trainer.fit_loop.epoch_loop.batch_progress.increment_by(len(shapes))
    ranks = progress["ranks"]
    own = ranks[trainer.global_rank if len(ranks) == trainer.world_size else 0]
    sums = sums_of_rank(ranks, trainer.global_rank, trainer.world_size)
    for state, saved in zip((train_bound.total, train_bound.count), sums, strict=True):
        state.copy_(saved)
    train_bound._update_count += 1  # torchmetrics would warn if no batch of the epoch is left to follow
    set_random_states(own["random"])
    return shapes[0] if shapes else None


def sums_of_rank(ranks: Sequence[Mapping[str, Any]], rank: int, world: int) -> list[Tensor]:
    """Returns the part of a process in the sums of the unfinished epoch; all parts together are what was saved."""
    saved: list[list[Tensor]] = [entry["train_bound"] for entry in ranks]
    if len(ranks) == world:
        return saved[rank]
    return [torch.stack(parts).sum(0) * (rank == 0) for parts in zip(*saved, strict=True)]


def _done_batches(trainer: Trainer, progress: Progress) -> int:
    """The batches of the unfinished epoch that are done, in batches of the size that is asked for now."""
    before, now = progress["batch_size"], _batch_size(trainer)
    if before is None or now is None or before == now:
        return int(progress["batch"])
    batches, again = divmod(progress["batch"] * before, now)
    if again and trainer.is_global_zero:
        print(f"data.batch_size={now}: {again} examples of the unfinished epoch are seen a second time")
    return int(batches)


def _batch_size(trainer: Trainer) -> int | None:
    return getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]


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
