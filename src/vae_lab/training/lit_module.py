"""The one LightningModule that trains every model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.objectives import Objective
from vae_lab.training.guard import FiniteGuard
from vae_lab.training.metrics import ActiveUnitsMetric, BoundMetric
from vae_lab.types import Batch, DataSpec

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]

EVALUATION_SEED = 0
"""Of the posterior samples in validation and test: the same for every epoch and run, so that curves compare."""


class VariationalModule(LightningModule):
    """Trains a `LatentVariableModel` by an `Objective`; logs the true ELBO beside whatever is optimised.

    Args:
        model: to be trained.
        objective: what is minimised.
        optimizer: parameters -> optimizer.
        scheduler: (optimizer, total_steps) -> learning-rate schedule, stepped with the optimizer; None: constant.
        spec: of the data.
        seed: of the noise in training.
        eval_samples: K in validation and test; above 1 `iw_bound` is logged as well.

    Raises:
        ValueError: for fewer than 1 evaluation sample.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        objective: Objective,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        spec: DataSpec,
        seed: int = 0,
        eval_samples: int = 2,
    ) -> None:
        super().__init__()
        if eval_samples < 1:
            raise ValueError(f"eval_samples={eval_samples}: must be at least 1")
        self.model = model
        self.objective = objective
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        self.spec = spec
        self.seed = seed
        self.eval_samples = eval_samples
        self.guard = FiniteGuard()
        self.train_bound = BoundMetric(model.num_levels)
        self.eval_bound = BoundMetric(model.num_levels, importance_weighted=eval_samples > 1)
        self.active_units = nn.ModuleList(ActiveUnitsMetric() for _ in range(model.num_levels))

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_factory(self.model.parameters())
        if self.scheduler_factory is None:
            return optimizer
        scheduler = self.scheduler_factory(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def terms(self, batch: Batch, num_samples: int) -> ElboTerms:
        """The terms of the bound on a batch; labels are given to conditional models only."""
        with noise.sharded(batch.shard):
            terms: ElboTerms = self.model(batch.x, batch.y if self.model.conditional else None, num_samples)
        return terms

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        terms = self.terms(batch, self.objective.num_samples)
        loss = self.objective(terms, self.global_step)
        self.train_bound.update(terms)
        self.guard.observe(terms, loss.value, self.global_step)
        due = (self.global_step + 1) % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if due or self.device.type == "cpu":
            self.guard.check()
        if due:
            self.log("train/loss", loss.value, prog_bar=True, sync_dist=True)
            self.log_dict({f"train/{name}": value for name, value in loss.logs.items()})
        value: Tensor = loss.value
        return value

    def on_train_epoch_start(self) -> None:
        # The noise of an epoch depends on nothing but this: not on the number of processes, nor on what ran before.
        noise.seed(self.seed, self.current_epoch)

    def on_train_epoch_end(self) -> None:
        self._log_bound("train", self.train_bound)

    def on_validation_epoch_start(self) -> None:
        self.guard.check()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _evaluate(self, batch: Batch, batch_idx: int) -> None:
        with noise.fixed_seed(EVALUATION_SEED + batch_idx, self.device):
            terms = self.terms(batch, self.eval_samples)
        self.guard.observe(terms, terms.elbo.sum(), self.global_step)
        self.eval_bound.update(terms)
        for metric, level in zip(self.active_units, terms.levels, strict=True):
            metric.update(level)  # type: ignore[operator]

    def _log_evaluation(self, split: str) -> None:
        self.guard.check()
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
        bits = self.model.likelihood.head.bits_per_dim(means["elbo"], self.spec.support)  # type: ignore[union-attr,operator]
        if bits is not None:
            means["bits_per_dim"] = bits
        if self.model.num_levels == 1:
            del means["kl_level_1"]
        for name, value in means.items():
            self.log(f"{split}/{name}", value, prog_bar=name == "elbo", sync_dist=True)
