"""Writes and reads what a checkpoint holds besides Lightning's own content: a resumed run gives the same result.

Lightning's checkpoints lack every random state and the averages of an unfinished epoch, and its loops guess from their
counters where a run was stopped. A checkpoint of the lab is written between two epochs or between two optimizer steps,
and its ``progress`` holds what is needed to go on from there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.data.loader import as_batch
from vae_lab.objectives import Objective
from vae_lab.runs.formats import FORMAT, migrated
from vae_lab.training.averaging import keep_trained_weights
from vae_lab.training.compiled import CompiledLoss
from vae_lab.training.guard import StepGuard
from vae_lab.training.lightning_loop import count_batches, position, restore_position
from vae_lab.training.metrics import BoundMetric
from vae_lab.training.optimization import Optimization
from vae_lab.training.processes import gathered
from vae_lab.training.resume import optimizer as resumed_optimizer
from vae_lab.training.resume.places import make_absolute, make_relative
from vae_lab.training.resume.stopping import monitored_values, settle_early_stopping
from vae_lab.training.stepping import SteppedModule
from vae_lab.training.trainer_parts import datamodule_of, has_trainer

Progress = Mapping[str, Any]
"""Plain containers and tensors:

epoch             epochs that are finished
batch             batches of the next epoch that are done
batches           batches of the finished epochs
step, logged_step optimizer steps, and the x-axis of the curves
batch_size        examples in a batch of all processes together
should_stop       True if early stopping or the limit of time had ended the run
monitored         last value that each early stopping has seen
skipped           steps skipped because of a non-finite gradient, and how many of them were the last
ranks             for each process: its random states and its sums of the unfinished epoch
"""


class ResumableModule(SteppedModule):
    """Writes and reads checkpoints from which a run goes on exactly; a subclass averages its epochs in ``train_bound``.

    Args:
        model, objective, optimization: arguments of `SteppedModule`.
    """

    train_bound: BoundMetric

    def __init__(self, model: LatentVariableModel, objective: Objective, optimization: Optimization) -> None:
        super().__init__(model, objective, optimization)
        self.guard = StepGuard()
        self._restored: Mapping[str, Any] | None = None  # the optimizer's description in the checkpoint
        self._resumed: Progress | None = None  # that of an unfinished epoch, until its next batch

    def configure_optimizers(self) -> Any:
        (optimizer,), schedulers = super().configure_optimizers()  # which may change the options
        self._options = resumed_optimizer.options_of(optimizer)
        return [optimizer], schedulers

    def on_train_start(self) -> None:
        if self._restored:  # before the steps are planned by the options of the optimizer
            resumed_optimizer.bring_up_to_date(self.trainer, self._options, self.optimization, self._restored)
        super().on_train_start()

    def training_step(self, dataloader_iter: Any) -> None:
        if self._resumed is not None:
            shape = skip_done_batches(self.trainer, self._resumed, dataloader_iter, self.train_bound)
            if shape and isinstance(self._loss, CompiledLoss):
                self._loss.shape = shape
            self._resumed = None
        super().training_step(dataloader_iter)

    def keep_progress(self) -> None:
        """Has later checkpoints say where the run stands now: the epoch ends before its last batch."""
        self._resumed = _progress_of(self.trainer, self.train_bound, self.guard)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Before the first step after a resume the run still stands where it stood.
        checkpoint["progress"] = self._resumed or _progress_of(self.trainer, self.train_bound, self.guard)
        checkpoint |= {"format": FORMAT, "loops": None, "planned_steps": self._planned_steps}  # loops: Lightning's own
        checkpoint |= resumed_optimizer.description(self.trainer, self.optimization)
        checkpoint["gradient_norms"] = None if self.unusual is None else self.unusual.state()
        make_relative(self.trainer, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(migrated(checkpoint))  # a strategy may have read it by itself
        if not has_trainer(self):
            return
        # Lightning does it after the weights are restored, which would round those of trainer.precision=64-true.
        self.trainer.precision_plugin.convert_module(self)
        make_absolute(self.trainer, checkpoint)
        resumed_optimizer.drop_absent_callbacks(self.trainer, checkpoint)
        keep_trained_weights(self.trainer, checkpoint)
        if self.trainer.training:
            progress = checkpoint["progress"]
            self._planned_steps = checkpoint["planned_steps"]
            if self.unusual is not None and checkpoint.get("gradient_norms"):
                self.unusual.restore(checkpoint["gradient_norms"])
            restore_position(self.trainer, progress)
            self.trainer.should_stop = settle_early_stopping(self.trainer, checkpoint)
            self.guard.skipped, self.guard.in_a_row = progress["skipped"]
            self._resumed = progress if progress["batch"] else None
            self._restored = resumed_optimizer.keep_what_is_asked_for(self.trainer, checkpoint, self.optimization)


def _progress_of(trainer: Trainer, train_bound: BoundMetric, guard: StepGuard) -> dict[str, Any]:
    """Returns where the run stands, before an epoch or a pass of steps; every process must call it."""
    return {
        **position(trainer),
        "batch_size": _batch_size(trainer),
        "should_stop": trainer.should_stop,
        "monitored": monitored_values(trainer),
        "skipped": [guard.skipped, guard.in_a_row],
        "ranks": gathered({"random": random_states(), "train_bound": [train_bound.total, train_bound.count]}),
    }


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
        shapes.append(as_batch(next(dataloader_iter)[0]).x.shape)
    count_batches(trainer, len(shapes))
    ranks = progress["ranks"]
    own = ranks[trainer.global_rank if len(ranks) == trainer.world_size else 0]
    train_bound.restore(*_sums_of_rank(ranks, trainer.global_rank, trainer.world_size))
    set_random_states(own["random"])
    return shapes[0] if shapes else None


def _sums_of_rank(ranks: Sequence[Mapping[str, Any]], rank: int, world: int) -> list[Tensor]:
    """Returns the part of a process in the sums of the unfinished epoch; all parts together are the saved sums."""
    saved: list[list[Tensor]] = [entry["train_bound"] for entry in ranks]
    if len(ranks) == world:
        return saved[rank]
    return [torch.stack(parts).sum(0) * (rank == 0) for parts in zip(*saved, strict=True)]


def _done_batches(trainer: Trainer, progress: Progress) -> int:
    """Returns the number of batches of the unfinished epoch that are done, in batches of the present size."""
    before, now = progress["batch_size"], _batch_size(trainer)
    if before is None or now is None or before == now:
        return int(progress["batch"])
    batches, again = divmod(progress["batch"] * before, now)
    if again and trainer.is_global_zero:
        print(f"data.batch_size={now}: {again} examples of the unfinished epoch are seen a second time")
    return int(batches)


def _batch_size(trainer: Trainer) -> int | None:
    return getattr(datamodule_of(trainer), "batch_size", None)


def random_states() -> dict[str, Any]:
    """Returns the random states of Python, numpy, torch and the GPU of this process."""
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Restores what `random_states` returned."""
    random.setstate(states["python"])
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states.get("cuda") is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
