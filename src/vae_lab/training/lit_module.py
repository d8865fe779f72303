"""The one LightningModule that trains every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.errors import NonFiniteLossError
from vae_lab.objectives import Objective
from vae_lab.training import interrupts
from vae_lab.training.compiled import CompiledLoss
from vae_lab.training.guard import check_finite
from vae_lab.training.metrics import ActiveUnitsMetric, BoundMetric
from vae_lab.training.passes import nobody_between, steps_in_pass
from vae_lab.training.progress import Progress, progress_of, restore_progress, skip_done_batches
from vae_lab.types import Batch, DataSpec

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]

EVALUATION_SEED = 0
"""Of the posterior samples in validation and test: the same for every epoch and run, so that curves compare."""

COMPILING_PAYS = 10_000
"""Steps of a run from which on compiling pays: it takes 3 to 20 s, and saves 0.4 ms a step of a small network."""


class Optimization(NamedTuple):
    """How the loss is minimised.

    Attributes:
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total_steps) -> learning-rate schedule, stepped with the optimizer; None: constant.
        gradient_clip_val: largest norm (or value) of the gradient; None: not clipped.
        gradient_clip_algorithm: "norm" or "value".
        accumulate_grad_batches: batches whose gradients are averaged for one optimizer step.
        compile: compile the loss and its gradient with `torch.compile`; "auto": where that pays for itself.
    """

    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None = None
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate_grad_batches: int = 1
    compile: bool | Literal["auto"] = "auto"


class StepTerms(NamedTuple):
    """What one batch of training leaves behind: loss (), log-likelihood (K, B), KL (K, B, L) and what is logged."""

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    logs: dict[str, Tensor | float]


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
        accumulate = optimization.accumulate_grad_batches
        for name, number in (("eval_samples", eval_samples), ("accumulate_grad_batches", accumulate)):
            if number < 1:
                raise ValueError(f"{name}={number}: must be at least 1")
        if optimization.gradient_clip_algorithm not in ("norm", "value"):
            raise ValueError(f"gradient_clip_algorithm={optimization.gradient_clip_algorithm}: choose norm or value")
        if (optimization.gradient_clip_val or 0) < 0:
            raise ValueError(f"gradient_clip_val={optimization.gradient_clip_val}: must be 0 or more, or null")
        objective.check(model)
        self.automatic_optimization = False
        self.model = model
        self.objective = objective
        self.optimization = optimization
        self.spec = spec
        self.seed = seed
        self.eval_samples = eval_samples
        self.train_bound = BoundMetric(model.num_levels)
        self.eval_bound = BoundMetric(model.num_levels, importance_weighted=eval_samples > 1)
        self.active_units = nn.ModuleList(ActiveUnitsMetric() for _ in range(model.num_levels))
        self._resumed: Progress | None = None  # an unfinished epoch's, until the batch where it goes on
        self._loss: Callable[[Tensor, Tensor | None, float], StepTerms] = self._step_terms

    def configure_optimizers(self) -> Any:
        optimizer = self.optimization.optimizer(self.model.parameters())
        scales = self.trainer.precision == "16-mixed"
        if (
            scales
            and self.optimization.gradient_clip_val
            and any(group.get("fused") for group in optimizer.param_groups)
        ):
            raise ValueError(
                "precision=16-mixed with gradient_clip_val: a fused optimizer sees scaled gradients only; "
                "set optimizer.fused=false"
            )
        if self.optimization.scheduler is None:
            return optimizer
        steps = self._total_steps()
        if steps == math.inf:
            raise ValueError("a learning-rate schedule needs an end: set trainer.max_epochs or trainer.max_steps")
        return [optimizer], [self.optimization.scheduler(optimizer, int(steps))]

    def on_train_start(self) -> None:
        self._direct = nobody_between(self.trainer)
        choice = self.optimization.compile
        if choice is True or (choice == "auto" and self._total_steps() >= COMPILING_PAYS):
            self._loss = CompiledLoss(self._step_terms)

    @property
    def compile_seconds(self) -> float:
        """What compiling took; 0 where the loss is not compiled."""
        return self._loss.seconds if isinstance(self._loss, CompiledLoss) else 0.0

    def _total_steps(self) -> float:
        """Optimizer steps in the whole run; infinite where nothing limits them."""
        trainer: Any = self.trainer
        limits = [trainer.max_steps] if trainer.max_steps != -1 else []
        if trainer.max_epochs not in (None, -1):
            trainer.fit_loop.setup_data()  # counts the batches
            limits.append(
                math.ceil(trainer.num_training_batches / self.optimization.accumulate_grad_batches) * trainer.max_epochs
            )
        return min(limits, default=math.inf)

    def _labels(self, batch: Batch) -> Tensor | None:
        """They are given to conditional models only."""
        return batch.y if self.model.conditional else None

    def _step_terms(self, x: Tensor, y: Tensor | None, weight: Tensor | float) -> StepTerms:
        terms: ElboTerms = self.model(x, y, self.objective.num_samples)
        loss = self.objective.loss(terms, weight)
        return StepTerms(loss.value, terms.log_likelihood.detach(), terms.kl.detach(), loss.logs)

    def training_step(self, dataloader_iter: Any) -> None:
        """The optimizer steps of one pass through Lightning's loop, and then what is watched of them."""
        if self._resumed is not None:
            skip_done_batches(self.trainer, self._resumed, dataloader_iter, self.train_bound)
            self._resumed = None
        first = self.global_step
        done: list[StepTerms] = []
        steps = 0
        for _ in range(steps_in_pass(self.trainer, dataloader_iter.fetched)):
            if dataloader_iter.done or (self.trainer.world_size == 1 and interrupts.received()):
                break
            done += self._optimizer_step(dataloader_iter)
            steps += 1
        self._tell_lightning(steps, len(done))
        if done:
            self._watch(done, first)

    def _optimizer_step(self, dataloader_iter: Any) -> list[StepTerms]:
        """One optimizer step, on the batches that it accumulates."""
        optimizer: Any = self.optimizers()
        accumulate = self.optimization.accumulate_grad_batches
        weight = self.objective.weight(self.global_step)
        done: list[StepTerms] = []
        while len(done) < accumulate and not dataloader_iter.done:
            batch, _, _ = next(dataloader_iter)
            batch = self._on_device(batch)
            with noise.sharded(batch.shard):
                terms = self._loss(batch.x, self._labels(batch), weight)
            self._backward(terms.loss / accumulate if accumulate > 1 else terms.loss)
            done.append(terms._replace(loss=terms.loss.detach()))
        self._take_step(optimizer)
        optimizer.zero_grad()
        if self.optimization.scheduler is not None:
            self.lr_schedulers().step()  # type: ignore[union-attr]
        return done

    def _on_device(self, batch: Batch) -> Batch:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self._direct and data is not None:
            moved: Batch = data.transfer_batch_to_device(batch, self.device, 0)
            return data.on_after_batch_transfer(moved, 0)  # type: ignore[no-any-return]
        return self.trainer.strategy.batch_to_device(batch)  # type: ignore[no-any-return]

    def _backward(self, loss: Tensor) -> None:
        if self._direct:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.manual_backward(loss)

    def _take_step(self, optimizer: Any) -> None:
        if not self._direct:
            optimizer.step()
            return
        self.on_before_optimizer_step(optimizer.optimizer)
        optimizer.optimizer.step()
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        progress.increment_ready()
        progress.increment_completed()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.optimization.gradient_clip_val:
            self.clip_gradients(
                optimizer, self.optimization.gradient_clip_val, self.optimization.gradient_clip_algorithm
            )

    def _tell_lightning(self, steps: int, batches: int) -> None:
        """Its loop counts one batch and one step for each pass; without the others curves and bars would go wrong."""
        loop = self.trainer.fit_loop.epoch_loop
        loop.batch_progress.increment_by(batches - 1)
        loop._batches_that_stepped += steps - 1

    def _watch(self, done: list[StepTerms], first_step: int) -> None:
        log_likelihood = torch.cat([terms.log_likelihood for terms in done], dim=1)
        kl = torch.cat([terms.kl for terms in done], dim=1)
        self.train_bound.update(log_likelihood, kl)
        losses = torch.stack([terms.loss for terms in done])
        if not bool((log_likelihood.sum() + kl.sum() + losses.sum()).isfinite()):
            sums = [(terms.log_likelihood.sum(), *terms.kl.sum((0, 1)), terms.loss) for terms in done]
            names = [*self.train_bound.names, "loss"]
            check_finite(torch.stack([torch.stack(row) for row in sums]), names, first_step)
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("train/loss", done[-1].loss, prog_bar=True, sync_dist=True, batch_size=1)
            self.log_dict({f"train/{name}": value for name, value in done[-1].logs.items()}, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["progress"] = progress_of(self.trainer, self.train_bound)
        checkpoint["loops"] = None  # Lightning's own account of it

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.training:
            progress = checkpoint["progress"]
            restore_progress(self.trainer, progress)
            self._resumed = progress if progress["batch"] else None

    def on_train_epoch_start(self) -> None:
        # The noise of an epoch depends on nothing but this: not on the number of processes, nor on what ran before.
        noise.seed(self.seed, self.current_epoch)

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
            terms: ElboTerms = self.model(batch.x, self._labels(batch), self.eval_samples)
        iw_bound = terms.importance_weighted_bound if self.eval_samples > 1 else None
        self.eval_bound.update(terms.log_likelihood, terms.kl, iw_bound)
        for metric, level in zip(self.active_units, terms.levels, strict=True):
            metric.update(level)  # type: ignore[operator]

    def _log_evaluation(self, split: str) -> None:
        counts = [metric.compute() for metric in self.active_units]  # type: ignore[operator]
        for metric in self.active_units:
            metric.reset()  # type: ignore[operator]
        values: dict[str, float] = {f"{split}/active_units": sum(counts)}
        if len(counts) > 1:
            values |= {f"{split}/active_units_level_{i}": count for i, count in enumerate(counts, 1)}
        self.log_dict(values, sync_dist=True)
        self._log_bound(split, self.eval_bound)

    def _log_bound(self, split: str, metric: BoundMetric) -> None:
        means = metric.compute()
        metric.reset()
        for name in metric.names:
            if not math.isfinite(means[name]):  # before a checkpoint is written
                raise NonFiniteLossError(f"{split}/{name} is not finite at step {self.global_step}")
        bits = self.model.likelihood.head.bits_per_dim(means["elbo"], self.spec.support)  # type: ignore[union-attr,operator]
        if bits is not None:
            means["bits_per_dim"] = bits
        if self.model.num_levels == 1:
            del means["kl_level_1"]
        for name, value in means.items():
            self.log(f"{split}/{name}", value, prog_bar=name == "elbo", sync_dist=True, batch_size=1)
