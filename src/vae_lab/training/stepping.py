"""Takes the optimizer steps of a run: several per pass of Lightning's training loop.

The argument of `training_step` must be NAMED ``dataloader_iter``: because of this name Lightning passes its iterator
instead of a batch. The bookkeeping of the loop takes a third of a millisecond per pass, a tenth of a step of a small
network. So a pass takes several steps; it ends where something may be logged, saved, drawn or shown. A pass takes one
step if a callback, or a subclass of the module, has a hook for each batch (`vae_lab.training.batch_hooks`). On a GPU a
step is captured where it can be (`vae_lab.training.capture.captured`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.data.loader import StoredRows
from vae_lab.objectives import Objective, Scheduled
from vae_lab.training.batch_hooks import (
    INNER_HOOKS,
    batch_observers,
    call_hook,
    call_hooks_between,
    can_bypass_lightning,
    check_subclass,
    clips_itself,
    defines,
)
from vae_lab.training.batches import known_batch
from vae_lab.training.capture.capturable import NO_PROMISE, may_change_model, obstacle_to_capture
from vae_lab.training.capture.captured import CapturedStep
from vae_lab.training.capture.device_steps import DeviceStep
from vae_lab.training.compiled import CompiledLoss, is_compiled
from vae_lab.training.lightning_loop import (
    count_pass,
    count_step,
    exhausted,
    next_index,
    show_batch,
    steps_in_pass,
    to_device,
    total_steps,
)
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
    with_momentum,
    zero_grad,
)
from vae_lab.training.resume import interrupts
from vae_lab.training.sharding import refuse_fused_sgd
from vae_lab.training.skipping import UnusualGradients
from vae_lab.training.trainer_parts import datamodule_of
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
        self._loss: Callable[[Tensor, Tensor | None, Scheduled], StepTerms] = self.training_loss
        self._captured: CapturedStep | None = None
        self.captured_steps = 0
        self.last_rate = 0.0  # with which the last optimizer step was taken

    def training_loss(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> StepTerms:
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
        optimizer = with_momentum(self.optimization.optimizer(self.objective.parameter_groups(self.model)))
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
        inside = any(observer is self or defines(observer, INNER_HOOKS) for observer in self._observers)
        self._direct = not (one or inside) and can_bypass_lightning(self.trainer)
        self._backward: Callable[[Tensor], None] = Tensor.backward if self._direct else self.manual_backward
        self._scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        steps = total_steps(self.trainer, self.optimization.accumulate_grad_batches)
        # A resumed run that is longer than planned keeps the plan it began with.
        self._planned_steps = self.objective.plan(self._planned_steps or steps)
        if is_compiled(self.optimization.compile, self.model, steps):
            self._loss = CompiledLoss(self.training_loss, (self.model, self.objective))
        optimizer: Any = self.optimizers()
        parts = (self, *self.model.modules(), *self.objective.modules(), *self._observers)
        obstacle = obstacle_to_capture(self.optimization, optimizer.optimizer, parts, self.device, self._direct)
        if obstacle is not None and (self.optimization.compile == "graph" or NO_PROMISE in obstacle):
            rank_zero_warn(f"compile={self.optimization.compile}: the training step is not captured: {obstacle}")
        if obstacle is None:
            kept = MAX_STEPS if self.optimization.steps_per_pass == "auto" else self.optimization.steps_per_pass
            self._captured = CapturedStep(self._step_on_device, optimizer.optimizer, self.device, kept)

    def on_train_end(self) -> None:
        self._captured = None  # its memory is free for the test, and the module can be copied

    def on_train_epoch_start(self) -> None:
        self._begun_epoch = self.current_epoch
        self._forget_captured()

    def on_validation_end(self) -> None:
        self._forget_captured()

    def _forget_captured(self) -> None:
        """Has the step captured again if a callback may have changed what it does."""
        if self._captured is not None and may_change_model(self.trainer):
            self._captured.forget()

    def training_step(self, dataloader_iter: Any) -> None:
        """Takes the optimizer steps of one pass of Lightning's loop, then logs them."""
        if self._begun_epoch != self.current_epoch:
            raise TypeError("on_train_epoch_start: a subclass must call super().on_train_epoch_start(), for the noise")
        first, steps = self.global_step, list[Step]()
        limit = self.optimization.steps_per_pass
        limit = 1 if self._observers else MAX_STEPS if limit == "auto" else limit
        for _ in range(steps_in_pass(self.trainer, next_index(dataloader_iter), limit)):
            if exhausted(dataloader_iter) or (self.trainer.world_size == 1 and interrupts.received()):
                break
            steps.append(self._optimizer_step(dataloader_iter))
        count_pass(self.trainer, sum(len(step.batches) for step in steps), len(steps))
        if steps:
            self.log_steps(steps, first)

    def _optimizer_step(self, dataloader_iter: Any) -> Step:
        """Takes one optimizer step, on the batches that it accumulates."""
        optimizer: Any = self.optimizers()
        scheduled = self.objective.scheduled(self.global_step)
        if self._captured is not None:
            step = self._captured_step(dataloader_iter, self._captured, scheduled)
        else:
            step = self._accumulated_step(dataloader_iter, optimizer, scheduled)
        self.last_rate = optimizer.param_groups[0]["lr"]
        if self.optimization.scheduler is not None:
            self.lr_scheduler_step(self.lr_schedulers(), None)  # type: ignore[arg-type]
        return step

    def _accumulated_step(self, dataloader_iter: Any, optimizer: Any, scheduled: Scheduled) -> Step:
        """Takes an optimizer step by Lightning's ways wherever a hook needs them."""
        accumulate = self.optimization.accumulate_grad_batches
        done: list[StepTerms] = []
        while len(done) < accumulate and not exhausted(dataloader_iter):
            batch, index, _ = next(dataloader_iter)
            batch = known_batch(self, self._to_device(batch), first=self._batch is None)
            if self._observers:
                if done:
                    call_hooks_between(self._observers, self, self._batch, batch, index)
                show_batch(dataloader_iter, batch)
            self._batch = batch
            terms = self._terms(batch, scheduled)
            self._backward(terms.loss / accumulate if accumulate > 1 else terms.loss)
            done.append(terms._replace(loss=terms.loss.detach()))
        found_inf = self._take_step(optimizer, index)
        call_hook(self._observers, self, "on_before_zero_grad", optimizer.optimizer)
        if self in self._observers:
            self.optimizer_zero_grad(self.current_epoch, index, optimizer.optimizer)
        else:
            zero_grad(optimizer.optimizer)
        return Step(done, found_inf)

    def _captured_step(self, dataloader_iter: Any, captured: CapturedStep, scheduled: dict[str, float]) -> Step:
        """Takes an optimizer step of which the host sees only the batch before and the numbers after."""
        batch, _, _ = next(dataloader_iter)
        before = self.global_step
        done = captured(batch if self._reads_on_device(batch) else self._to_device(batch), scheduled)
        self._count_step(before)
        self._batch, self._skipped = done.batch, done.skipped
        self.captured_steps += captured.replaying
        if self._observers:  # which may keep the batch, whose memory the next step overwrites
            x, y, shard, grey = done.batch
            kept = Batch(x.clone(), None if y is None else y.clone(), shard, None if grey is None else grey.clone())
            show_batch(dataloader_iter, kept)
        return Step([done.terms], done.found_inf)

    def _step_on_device(self, batch: Batch | StoredRows, scheduled: Scheduled) -> DeviceStep:
        """Takes an optimizer step on a batch on the device, as `CapturedStep` captures it."""
        optimizer: Any = self.optimizers()
        if self._reads_on_device(batch):
            batch = self._to_device(batch)
        batch = known_batch(self, batch, first=self._batch is None)
        terms = self._terms(batch, scheduled)
        terms.loss.backward()  # type: ignore[no-untyped-call]
        found_inf, skipped = self._step_unless_unusual(optimizer.optimizer, optimizer.optimizer.step)
        zero_grad(optimizer.optimizer)
        return DeviceStep(batch, terms._replace(loss=terms.loss.detach()), found_inf, skipped)

    def _terms(self, batch: Batch, scheduled: Scheduled) -> StepTerms:
        with noise.sharded(batch.shard):
            return self._loss(batch.x, self.labels(batch), scheduled)

    def _to_device(self, batch: Any) -> Any:
        """Returns the batch as the hooks of the data module, or those of the module, make it for the device."""
        data = datamodule_of(self.trainer)
        if self._direct and data is not None:
            batch = data.on_before_batch_transfer(batch, 0)
            return data.on_after_batch_transfer(data.transfer_batch_to_device(batch, self.device, 0), 0)
        return to_device(self, batch)

    def _reads_on_device(self, batch: Any) -> bool:
        """True if reading and transforming a batch are work of the device alone."""
        return isinstance(batch, StoredRows)

    def _take_step(self, optimizer: Any, index: int) -> Tensor:
        """Steps the optimizer unless an entry of the gradient is not finite; returns 1 if one is, else 0, ()."""
        step = optimizer.optimizer.step if self._direct else optimizer.step
        if self in self._observers:
            step = partial(self.optimizer_step, self.current_epoch, index, optimizer, lambda: None)
        if self._scaler is not None:
            self._skipped = step_with_scaler(step, self._scaler)
            return self._skipped
        before = self.global_step
        found_inf, self._skipped = self._step_unless_unusual(optimizer.optimizer, step)
        self._count_step(before)
        return found_inf

    def _step_unless_unusual(self, optimizer: Optimizer, step: Callable[[], Any]) -> tuple[Tensor, Tensor]:
        """Steps unless the gradient is not finite or unusual; returns 1 or 0 for not finite, and for skipped, ()."""
        skipped = found_inf = find_non_finite(optimizer)
        if self.unusual is not None:
            skipped = torch.maximum(found_inf, self.unusual.check(gradient_norm(optimizer)))
        step_unless(skipped, optimizer, step)
        return found_inf, skipped

    def _count_step(self, before: int) -> None:
        if self.global_step == before:  # Lightning has not seen the step
            count_step(self.trainer)
