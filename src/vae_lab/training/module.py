"""The one LightningModule that trains every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.errors import NonFiniteLossError
from vae_lab.objectives import Objective
from vae_lab.runs.formats import FORMAT, migrated
from vae_lab.training import interrupts, passes, resumed_optimizer
from vae_lab.training.averaging import keep_trained_weights
from vae_lab.training.compiled import CompiledLoss
from vae_lab.training.guard import StepGuard, gradient_culprit
from vae_lab.training.metrics import BoundMetric, UnitMetrics
from vae_lab.training.optimization import (
    Optimization,
    Step,
    StepTerms,
    check_optimization,
    forget_gradients,
    gradient_norm,
    look_for_non_finite,
    refuse_scaled_gradients,
    schedules,
    step_unless,
    step_with_scaler,
    total_steps,
)
from vae_lab.training.places import make_absolute, make_relative
from vae_lab.training.progress import Progress, progress_of, restore_progress, skip_done_batches
from vae_lab.training.sharding import is_sharded, refuse_fused_sgd, shard
from vae_lab.training.skipping import UnusualGradients
from vae_lab.types import Batch, DataSpec

EVALUATION_SEED = 0
"""Of the posterior samples in validation and test: the same for every epoch and run, so that curves compare."""

COMPILING_PAYS = 10_000
"""Steps of a run from which on compiling pays: it takes 3 to 20 s, and saves 0.4 ms a step of a small network."""


class VariationalModule(LightningModule):
    """Trains a `LatentVariableModel` by an `Objective`; logs the true ELBO beside whatever is optimised.

    One call of `training_step` takes several optimizer steps (`vae_lab.training.passes`), so the optimization is
    "manual" to Lightning: clipping and accumulation are given here and not to its Trainer.

    Args:
        model: to be trained.
        objective: what is minimised.
        optimization: how.
        spec: of the data.
        seed: of the noise in training.
        eval_samples: K in validation and test; above 1 `iw_bound` is logged as well.

    Raises:
        ValueError: for fewer than 1 evaluation sample or accumulated batch, or a model that the objective refuses.
    """

    pass_safe = True  # its own hooks; those of a subclass are called at each batch

    def __init__(
        self,
        model: LatentVariableModel,
        objective: Objective,
        optimization: Optimization,
        spec: DataSpec,
        seed: int = 0,
        eval_samples: int = 2,
    ) -> None:
        super().__init__()
        if eval_samples < 1:
            raise ValueError(f"eval_samples={eval_samples}: must be at least 1")
        check_optimization(optimization)
        objective.check(model)
        self.automatic_optimization = False
        self.model = model
        self.objective = objective
        self.optimization = optimization
        self.spec = spec
        self.seed = seed
        self.eval_samples = eval_samples
        self.train_bound = BoundMetric(model.level_groups)
        self.eval_bound = BoundMetric(model.level_groups, importance_weighted=eval_samples > 1)
        self.active_units = UnitMetrics(model.level_groups)
        self.guard = StepGuard()
        self.unusual = UnusualGradients(optimization.gradient_skip) if optimization.gradient_skip is not None else None
        self._batch: Batch | None = None  # the last of training
        self._planned_steps: float | None = None
        self._restored: Mapping[str, Any] | None = None  # the checkpoint of a run that goes on
        self._resumed: Progress | None = None  # an unfinished epoch's, until the batch where it goes on
        self._begun_epoch: int | None = None
        self._skipped = torch.zeros(())  # 1 if the last optimizer step was skipped
        self._loss: Callable[[Tensor, Tensor | None, float], StepTerms] = self._step_terms

    def configure_model(self) -> None:
        """Under `ModelParallelStrategy` every process holds a shard of each weight."""
        if self.device_mesh is not None and not is_sharded(self.model):
            shard(self.model, self.device, self.trainer.world_size)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimization.optimizer(self.objective.parameter_groups(self.model))
        if self.trainer.precision == "16-mixed":
            refuse_scaled_gradients(self.optimization, optimizer)
        if is_sharded(self.model):
            refuse_fused_sgd(optimizer)
        passes.clip_steps(self, optimizer, self.optimization)
        schedulers = schedules(self.trainer, self.optimization, optimizer)  # which may change the options
        self._options = resumed_optimizer.options_of(optimizer)
        return [optimizer], schedulers

    def on_train_start(self) -> None:
        passes.check_subclass(self)
        if self._restored:
            resumed_optimizer.bring_up_to_date(self.trainer, self._options, self.optimization, self._restored)
        self._watchers = passes.batch_watchers(self.trainer, self)
        self._direct = not self._watchers and passes.can_bypass_lightning(self.trainer)
        self._scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        steps = total_steps(self.trainer, self.optimization.accumulate_grad_batches)
        # A run that goes on, longer than planned, keeps the plan it began with.
        self._planned_steps = self.objective.plan(self._planned_steps or steps)
        pays = steps >= COMPILING_PAYS and self.model.compile_pays and not is_sharded(self.model)
        if self.optimization.compile is True or (self.optimization.compile == "auto" and pays):
            self._loss = CompiledLoss(self._step_terms)

    @property
    def skipped_last_step(self) -> bool:
        """True if the last optimizer step was skipped; the host waits for the device."""
        return bool(self._skipped)

    @property
    def compile_seconds(self) -> float:
        """What compiling took; 0 where the loss is not compiled."""
        return self._loss.seconds if isinstance(self._loss, CompiledLoss) else 0.0

    def _labels(self, batch: Batch) -> Tensor | None:
        """They are given to conditional models only."""
        return batch.y if self.model.conditional else None

    def _step_terms(self, x: Tensor, y: Tensor | None, weight: Tensor | float) -> StepTerms:
        terms: ElboTerms = self.model(x, y, self.objective.num_samples, check=False)
        loss = self.objective.loss(terms, weight)
        return StepTerms(loss.value, terms.log_likelihood.detach(), terms.kl.detach(), loss.logs)

    def training_step(self, dataloader_iter: Any) -> None:
        """The optimizer steps of one pass through Lightning's loop, and then what is watched of them."""
        if self._begun_epoch != self.current_epoch:
            raise TypeError("on_train_epoch_start: a subclass must call super().on_train_epoch_start(), for the noise")
        if self._resumed is not None:
            shape = skip_done_batches(self.trainer, self._resumed, dataloader_iter, self.train_bound)
            if shape and isinstance(self._loss, CompiledLoss):
                self._loss.shape = shape
            self._resumed = None
        first, steps = self.global_step, list[Step]()
        for _ in range(1 if self._watchers else passes.steps_in_pass(self.trainer, dataloader_iter.fetched)):
            if dataloader_iter.done or (self.trainer.world_size == 1 and interrupts.received()):
                break
            steps.append(self._optimizer_step(dataloader_iter))
        passes.count_pass(self.trainer, len(steps), sum(len(step.batches) for step in steps))
        if steps:
            self._watch(steps, first)

    def _optimizer_step(self, dataloader_iter: Any) -> Step:
        """One optimizer step, on the batches that it accumulates."""
        optimizer: Any = self.optimizers()
        accumulate = self.optimization.accumulate_grad_batches
        weight = self.objective.weight(self.global_step)
        done: list[StepTerms] = []
        while len(done) < accumulate and not dataloader_iter.done:
            batch, index, _ = next(dataloader_iter)
            batch = passes.to_device(self, batch, self._direct)
            if self._watchers:
                passes.show_batch(self._watchers, self, dataloader_iter, index, self._batch if done else None, batch)
            self._batch = batch
            with noise.sharded(batch.shard):
                terms = self._loss(batch.x, self._labels(batch), weight)
            self._backward(terms.loss / accumulate if accumulate > 1 else terms.loss)
            done.append(terms._replace(loss=terms.loss.detach()))
        found_inf = self._take_step(optimizer, index)
        passes.call_hook(self._watchers, self, "on_before_zero_grad", optimizer.optimizer)
        if self in self._watchers:
            self.optimizer_zero_grad(self.current_epoch, index, optimizer.optimizer)
        else:
            forget_gradients(optimizer.optimizer)
        if self.optimization.scheduler is not None:
            self.lr_scheduler_step(self.lr_schedulers(), None)  # type: ignore[arg-type]
        return Step(done, found_inf)

    def _backward(self, loss: Tensor) -> None:
        if self._direct:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.manual_backward(loss)

    def _take_step(self, optimizer: Any, index: int) -> Tensor:
        """A step of the optimizer, unless an entry of the gradient is not finite; 1 where one is, else 0, ()."""
        step = optimizer.optimizer.step if self._direct else optimizer.step
        if self in self._watchers:
            step = partial(self.optimizer_step, self.current_epoch, index, optimizer, lambda: None)
        if self._scaler is not None:
            self._skipped = step_with_scaler(step, self._scaler)
            return self._skipped
        self._skipped = found_inf = look_for_non_finite(optimizer.optimizer)
        if self.unusual is not None:
            self._skipped = torch.maximum(found_inf, self.unusual.check(gradient_norm(optimizer.optimizer)))
        before = self.global_step
        step_unless(self._skipped, optimizer.optimizer, step)
        if self.global_step == before:
            passes.count_step(self.trainer)
        return found_inf

    def _watch(self, steps: list[Step], first_step: int) -> None:
        batches = [terms for step in steps for terms in step.batches]
        last = batches[-1]
        log_likelihood = torch.cat([terms.log_likelihood for terms in batches], dim=1)
        kl = torch.cat([terms.kl for terms in batches], dim=1)
        losses = torch.stack([terms.loss for terms in batches])
        skipped = torch.stack([step.found_inf for step in steps]).sum()
        if bool((log_likelihood.sum() + kl.sum() + losses.sum()).isfinite() & (skipped == 0)):
            self.guard.all_taken()
            self.train_bound.update(log_likelihood, kl)
        else:
            self.guard.look_at_each(steps, first_step, self.train_bound, self._gradient_culprit, self._scaler)
        interval = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if interval and self.global_step % interval == 0:
            self.log("train/loss", last.loss, prog_bar=True, sync_dist=True, batch_size=1)
            self.log_dict({f"train/{name}": value for name, value in last.logs.items()}, sync_dist=True, batch_size=1)
            if self.guard.skipped:
                self.log("train/skipped_steps", float(self.guard.skipped), batch_size=1)
            if self.unusual is not None:
                self.log_dict({f"train/{name}": value for name, value in self.unusual.curves().items()}, batch_size=1)

    def _gradient_culprit(self) -> str:
        """The term of the last batch whose gradient is not finite, where every term is."""
        assert self._batch is not None
        with noise.sharded(self._batch.shard):
            x, y = self._batch.x, self._labels(self._batch)
            terms: ElboTerms = self.model(x, y, self.objective.num_samples, check=False)
        return gradient_culprit(terms, self.train_bound.term_names, list(self.model.parameters()))

    def note_progress(self) -> None:
        """Has the checkpoints that follow say where the run stands now: the epoch ends before its last batch."""
        self._resumed = progress_of(self.trainer, self.train_bound, self.guard)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Before the first step after a resume the run still stands where it stood.
        checkpoint["progress"] = self._resumed or progress_of(self.trainer, self.train_bound, self.guard)
        checkpoint |= {"format": FORMAT, "loops": None, "planned_steps": self._planned_steps}  # loops: Lightning's own
        checkpoint |= resumed_optimizer.description(self.trainer, self.optimization)
        checkpoint["gradient_norms"] = None if self.unusual is None else self.unusual.state()
        make_relative(self.trainer, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(migrated(checkpoint))  # a strategy may have read it by itself
        make_absolute(self.trainer, checkpoint)
        resumed_optimizer.drop_absent_callbacks(self.trainer, checkpoint)
        keep_trained_weights(self.trainer, checkpoint)
        if self.trainer.training:
            self._planned_steps = checkpoint["planned_steps"]
            if self.unusual is not None and checkpoint.get("gradient_norms"):
                self.unusual.restore(checkpoint["gradient_norms"])
            restore_progress(self.trainer, checkpoint, self.guard)
            self._resumed = checkpoint["progress"] if checkpoint["progress"]["batch"] else None
            self._restored = resumed_optimizer.keep_what_is_asked_for(self.trainer, checkpoint, self.optimization)

    def on_train_epoch_start(self) -> None:
        # The noise of an epoch depends on nothing but this: not on the number of processes, nor on what ran before.
        noise.seed(self.seed, self.current_epoch)
        self._begun_epoch = self.current_epoch

    def on_train_epoch_end(self) -> None:
        self._log_bound("train", self.train_bound)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _evaluate(self, batch: Batch, batch_idx: int) -> None:
        with noise.fixed_seed(EVALUATION_SEED + batch_idx, self.device), noise.sharded(batch.shard):
            terms: ElboTerms = self.model(batch.x, self._labels(batch), self.eval_samples, check=False)
        iw_bound = terms.importance_weighted_bound if self.eval_samples > 1 else None
        self.eval_bound.update(terms.log_likelihood, terms.kl, iw_bound)
        self.active_units.update(terms.levels)

    def _log_evaluation(self, split: str) -> None:
        counts = self.active_units.finish()
        if not self.trainer.barebones:
            self.log_dict({f"{split}/{name}": float(count) for name, count in counts.items()}, sync_dist=True)
        self._log_bound(split, self.eval_bound)

    def _log_bound(self, split: str, metric: BoundMetric) -> None:
        means = metric.compute()
        metric.reset()
        for name in (*metric.names, "kl"):
            if not math.isfinite(means.get(name, 0.0)):  # before a checkpoint is written
                raise NonFiniteLossError(f"{split}/{name} is not finite at step {self.global_step}")
        if self.trainer.barebones:
            return
        bits = self.model.likelihood.head.bits_per_dim(means["elbo"], self.spec.support)  # type: ignore[union-attr,operator]
        if bits is not None:
            means["bits_per_dim"] = bits
        for name, value in means.items():
            self.log(f"{split}/{name}", value, prog_bar=name == "elbo", sync_dist=True, batch_size=1)
