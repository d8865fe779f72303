"""Drives Lightning: several optimizer steps per pass of its training loop. No other file uses Lightning's insides.

The argument of `training_step` must be NAMED ``dataloader_iter``: because of this name Lightning passes its iterator
instead of a batch. The bookkeeping of the loop takes a third of a millisecond per pass, a tenth of a step of a small
network. So a pass takes several steps; it ends where something may be logged, saved, drawn or shown. A pass takes one
step if a callback, or a subclass of the module, has a hook for each batch (`vae_lab.training.batch_hooks`).

The insides that this file uses; tests/training/test_insides.py fails if a version of Lightning moves one of them:

* ``dataloader_iter``: ``done``, ``fetched`` and ``data_fetcher._batch``, the batch that hooks are called with;
* ``trainer.fit_loop``: ``setup_data()``, and the counters of epochs, ``epoch_progress``;
* ``trainer.fit_loop.epoch_loop``: the counters of batches, ``batch_progress``, those of optimizer steps,
  ``manual_optimization.optim_step_progress``, and ``_batches_that_stepped``, the x-axis of the curves;
* ``LightningModule._on_before_batch_transfer()``, which calls the hook of the data module or of the module;
* ``ModelCheckpoint._every_n_train_steps``, ``._save_on_train_epoch_end``, ``EarlyStopping._check_on_train_epoch_end``;
* ``_MultiProcessingLauncher``, the launcher of processes that are forked or spawned.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher
from torch import Tensor

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.objectives import Objective
from vae_lab.training import interrupts
from vae_lab.training.batch_hooks import (
    batch_observers,
    call_hook,
    call_hooks_between,
    can_bypass_lightning,
    check_subclass,
    clips_itself,
)
from vae_lab.training.batches import known_batch
from vae_lab.training.compiled import CompiledLoss, is_compiled
from vae_lab.training.optimization import (
    Optimization,
    Step,
    StepTerms,
    check_optimization,
    clip_before_step,
    clip_gradient,
    find_non_finite,
    gradient_norm,
    parameters_of,
    refuse_scaled_gradients,
    schedule,
    step_unless,
    step_with_scaler,
    zero_grad,
)
from vae_lab.training.sharding import refuse_fused_sgd
from vae_lab.training.skipping import UnusualGradients
from vae_lab.types import Batch

MAX_STEPS = 32
"""Largest number of optimizer steps in a pass."""


class SteppedModule(LightningModule):
    """Takes the optimizer steps of a run; a subclass implements `training_loss` and `log_steps`.

    To Lightning the optimization is "manual": clipping and accumulation are given here and not to its Trainer.

    Args:
        model: model that is trained.
        objective: objective that is minimised.
        optimization: options of the optimization.
    """

    def __init__(self, model: LatentVariableModel, objective: Objective, optimization: Optimization) -> None:
        super().__init__()
        warnings.filterwarnings("ignore", message=".*dataloader_iter.*")  # tests/training/test_insides.py
        check_optimization(optimization)
        self.automatic_optimization = False
        self.model = model
        self.objective = objective
        self.optimization = optimization
        self.unusual = UnusualGradients(optimization.gradient_skip) if optimization.gradient_skip is not None else None
        self._batch: Batch | None = None  # the last of training
        self._planned_steps: float | None = None
        self._begun_epoch: int | None = None
        self._skipped = torch.zeros(())  # 1 if the last optimizer step was skipped
        self._loss: Callable[[Tensor, Tensor | None, float], StepTerms] = self.training_loss

    def training_loss(self, x: Tensor, y: Tensor | None, weight: Tensor | float) -> StepTerms:
        """Returns the loss of a batch, to be compiled, with its terms."""
        raise NotImplementedError

    def log_steps(self, steps: list[Step], first_step: int) -> None:
        """Logs the steps of a pass, numbered from ``first_step``."""
        raise NotImplementedError

    @property
    def skipped_last_step(self) -> bool:
        """True if the last optimizer step was skipped; the host waits for the device."""
        return bool(self._skipped)

    def labels(self, batch: Batch) -> Tensor | None:
        """Returns the labels that the model is given: None unless it is conditional."""
        return batch.y if self.model.conditional else None

    def configure_optimizers(self) -> Any:
        optimizer = self.optimization.optimizer(self.objective.parameter_groups(self.model))
        if self.trainer.precision == "16-mixed":
            refuse_scaled_gradients(self.optimization, optimizer)
        refuse_fused_sgd(self.model, optimizer)
        limit, algorithm = self.optimization.gradient_clip_val, self.optimization.gradient_clip_algorithm
        if clips_itself(self):
            clip_before_step(optimizer, lambda: self.configure_gradient_clipping(optimizer, limit, algorithm))
        elif limit:
            clip_before_step(optimizer, lambda: clip_gradient(parameters_of(optimizer), self.optimization))
        if self.optimization.scheduler is None:
            return [optimizer], []
        steps = total_steps(self.trainer, self.optimization.accumulate_grad_batches)
        return [optimizer], [schedule(self.optimization.scheduler, optimizer, steps)]

    def on_train_start(self) -> None:
        check_subclass(self)
        one = self.optimization.steps_per_pass == 1  # Lightning's contract to the letter
        self._observers = batch_observers(self.trainer, self, every_callback=one)
        self._direct = not (one or self._observers) and can_bypass_lightning(self.trainer)
        self._backward: Callable[[Tensor], None] = Tensor.backward if self._direct else self.manual_backward
        self._scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        steps = total_steps(self.trainer, self.optimization.accumulate_grad_batches)
        # A resumed run that is longer than planned keeps the plan it began with.
        self._planned_steps = self.objective.plan(self._planned_steps or steps)
        if is_compiled(self.optimization.compile, self.model, steps):
            self._loss = CompiledLoss(self.training_loss)

    def on_train_epoch_start(self) -> None:
        self._begun_epoch = self.current_epoch

    def training_step(self, dataloader_iter: Any) -> None:
        """Takes the optimizer steps of one pass of Lightning's loop, then logs them."""
        if self._begun_epoch != self.current_epoch:
            raise TypeError("on_train_epoch_start: a subclass must call super().on_train_epoch_start(), for the noise")
        first, steps = self.global_step, list[Step]()
        limit = self.optimization.steps_per_pass
        limit = 1 if self._observers else MAX_STEPS if limit == "auto" else limit
        for _ in range(steps_in_pass(self.trainer, dataloader_iter.fetched, limit)):
            if dataloader_iter.done or (self.trainer.world_size == 1 and interrupts.received()):
                break
            steps.append(self._optimizer_step(dataloader_iter))
        # Lightning counts one batch and one step per pass.
        count_batches(self.trainer, sum(len(step.batches) for step in steps) - 1)
        self.trainer.fit_loop.epoch_loop._batches_that_stepped += len(steps) - 1
        if steps:
            self.log_steps(steps, first)

    def _optimizer_step(self, dataloader_iter: Any) -> Step:
        """Takes one optimizer step, on the batches that it accumulates."""
        optimizer: Any = self.optimizers()
        accumulate = self.optimization.accumulate_grad_batches
        weight = self.objective.weight(self.global_step)
        done: list[StepTerms] = []
        while len(done) < accumulate and not dataloader_iter.done:
            batch, index, _ = next(dataloader_iter)
            batch = known_batch(self, self._to_device(batch), first=self._batch is None)
            if self._observers:
                if done:
                    call_hooks_between(self._observers, self, self._batch, batch, index)
                dataloader_iter.data_fetcher._batch = batch
            self._batch = batch
            with noise.sharded(batch.shard):
                terms = self._loss(batch.x, self.labels(batch), weight)
            self._backward(terms.loss / accumulate if accumulate > 1 else terms.loss)
            done.append(terms._replace(loss=terms.loss.detach()))
        found_inf = self._take_step(optimizer, index)
        call_hook(self._observers, self, "on_before_zero_grad", optimizer.optimizer)
        if self in self._observers:
            self.optimizer_zero_grad(self.current_epoch, index, optimizer.optimizer)
        else:
            zero_grad(optimizer.optimizer)
        if self.optimization.scheduler is not None:
            self.lr_scheduler_step(self.lr_schedulers(), None)  # type: ignore[arg-type]
        return Step(done, found_inf)

    def _to_device(self, batch: Any) -> Any:
        """Returns the batch as the hooks of the data module, or those of the module, make it for the device."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self._direct and data is not None:
            batch = data.on_before_batch_transfer(batch, 0)
            return data.on_after_batch_transfer(data.transfer_batch_to_device(batch, self.device, 0), 0)
        return self.trainer.strategy.batch_to_device(self._on_before_batch_transfer(batch))

    def _take_step(self, optimizer: Any, index: int) -> Tensor:
        """Steps the optimizer unless an entry of the gradient is not finite; returns 1 if one is, else 0, ()."""
        step = optimizer.optimizer.step if self._direct else optimizer.step
        if self in self._observers:
            step = partial(self.optimizer_step, self.current_epoch, index, optimizer, lambda: None)
        if self._scaler is not None:
            self._skipped = step_with_scaler(step, self._scaler)
            return self._skipped
        self._skipped = found_inf = find_non_finite(optimizer.optimizer)
        if self.unusual is not None:
            self._skipped = torch.maximum(found_inf, self.unusual.check(gradient_norm(optimizer.optimizer)))
        before = self.global_step
        step_unless(self._skipped, optimizer.optimizer, step)
        if self.global_step == before:  # Lightning has not seen the step
            progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            progress.increment_ready()
            progress.increment_completed()
        return found_inf


def steps_in_pass(trainer: Trainer, batch_index: int, limit: int) -> int:
    """Returns the number of optimizer steps until something may be logged, saved or drawn, from 1 to ``limit``.

    The next batch is the one at ``batch_index`` in its epoch.
    """
    return max(1, min(limit, *_steps_to_events(trainer, batch_index)))


def _steps_to_events(trainer: Trainer, batch_index: int) -> Iterator[int]:
    step = trainer.global_step
    if trainer.val_check_interval != 1.0:
        yield 1
    yield (1 << step.bit_length()) - step  # to the next power of two
    if trainer.max_steps != -1:
        yield trainer.max_steps - step
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    savers = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
    for interval in (trainer.log_every_n_steps, *(saver._every_n_train_steps for saver in savers)):  # type: ignore[attr-defined]
        if interval:
            yield interval - step % interval
    if refresh := getattr(trainer.progress_bar_callback, "refresh_rate", 0):
        yield refresh - batch_index % refresh


def total_steps(trainer: Any, accumulate_grad_batches: int) -> float:
    """Returns the number of optimizer steps in a whole run; infinity if nothing limits it."""
    limits = [trainer.max_steps] if trainer.max_steps != -1 else []
    if trainer.max_epochs not in (None, -1):
        trainer.fit_loop.setup_data()  # counts the batches
        limits.append(math.ceil(trainer.num_training_batches / accumulate_grad_batches) * trainer.max_epochs)
    return min(limits, default=math.inf)


def position(trainer: Trainer) -> dict[str, int]:
    """Returns the counters of a run between two passes, as they are in the ``progress`` of a checkpoint."""
    epochs: Any = trainer.fit_loop.epoch_progress.current  # Lightning types its counters as less than they are
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress
    cut = ends_within_epoch(trainer)
    batch = batches.current.processed if cut or epochs.started > epochs.processed else 0
    return {
        "epoch": epochs.processed - cut,
        "batch": batch,
        "batches": batches.total.processed - batch,
        "step": trainer.global_step,
        "logged_step": trainer.fit_loop.epoch_loop._batches_that_stepped,
    }


def ends_within_epoch(trainer: Trainer) -> bool:
    """True at the end of an epoch that max_steps or max_time has cut off before its last batch."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    whole = trainer.is_last_batch or ready >= trainer.num_training_batches
    return epochs.started == epochs.processed and ready > 0 and not whole


def restore_position(trainer: Trainer, progress: Mapping[str, Any]) -> None:
    """Sets Lightning's counters to those of a checkpoint, up to the beginning of an unfinished epoch."""
    epochs, epoch_loop = trainer.fit_loop.epoch_progress, trainer.fit_loop.epoch_loop
    counters: list[tuple[Any, int]] = [(epochs.total, progress["epoch"]), (epochs.current, progress["epoch"])]
    counters.append((epoch_loop.batch_progress.total, progress["batches"]))
    for counter, number in counters:
        counter.ready = counter.started = counter.processed = counter.completed = number
    steps = epoch_loop.manual_optimization.optim_step_progress.total
    steps.ready = steps.completed = progress["step"]
    epoch_loop._batches_that_stepped = progress["logged_step"]


def count_batches(trainer: Trainer, number: int) -> None:
    """Adds batches to those that Lightning has counted in this epoch."""
    trainer.fit_loop.epoch_loop.batch_progress.increment_by(number)


def skip_after_epoch(callback: EarlyStopping | ModelCheckpoint) -> None:
    """Has a callback that monitors a validation not look at the end of a training epoch."""
    if isinstance(callback, EarlyStopping):
        callback._check_on_train_epoch_end = False
    else:
        callback._save_on_train_epoch_end = False


def starts_processes(trainer: Trainer) -> bool:
    """True if the Trainer would fork or spawn processes from this one."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)
