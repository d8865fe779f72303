"""Defines the LightningModule that trains every model: its loss, its evaluation and its curves."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.core.codes import Code, posterior_codes
from vae_lab.errors import NonFiniteLossError
from vae_lab.objectives import Objective, Scheduled
from vae_lab.training.batches import known_batch
from vae_lab.training.compiled import CompiledLoss
from vae_lab.training.guard import gradient_culprit
from vae_lab.training.metrics import BoundMetric, UnitMetrics, bits_per_dim
from vae_lab.training.optimization import Optimization, Step, StepTerms
from vae_lab.training.resume.content import ResumableModule
from vae_lab.training.sharding import is_sharded, shard
from vae_lab.training.trainer_checks import refuse_callbacks
from vae_lab.training.trainer_parts import log_interval
from vae_lab.types import Batch, DataSpec

EVALUATION_SEED = 0
"""Seed of the posterior samples in validation and test: the same in every epoch and run, so that curves compare."""


class VariationalModule(ResumableModule):
    """Trains a `LatentVariableModel` by an `Objective`; logs the true ELBO beside whatever is optimised.

    `vae_lab.training.stepping` takes the optimizer steps; `vae_lab.training.resume.content` writes and reads
    checkpoints.

    Args:
        model: model that is trained.
        objective: objective that is minimised.
        optimization: options of the optimization.
        spec: description of the data.
        seed: seed of the training noise.
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
        if eval_samples < 1:
            raise ValueError(f"eval_samples={eval_samples}: must be at least 1")
        objective.check(model)
        super().__init__(model, objective, optimization)
        self.spec = spec
        self.seed = seed
        self.eval_samples = eval_samples
        self.train_bound = BoundMetric(model.level_groups)
        self.eval_bound = BoundMetric(model.level_groups, importance_weighted=eval_samples > 1)
        self.active_units = UnitMetrics(model.level_groups)

    @property
    def compile_seconds(self) -> float:
        """Seconds that compiling took; 0 if the loss is not compiled."""
        return self._loss.seconds if isinstance(self._loss, CompiledLoss) else 0.0

    def configure_callbacks(self) -> list[Callback]:
        """Refuses callbacks that cannot work, before any of them is called; adds none."""
        if self.trainer.state.fn == "fit":
            refuse_callbacks(self.trainer)
        return []

    def configure_model(self) -> None:
        """Shards the weights over the processes under `ModelParallelStrategy`."""
        if self.device_mesh is not None and not is_sharded(self.model):
            shard(self.model, self.device, self.trainer.world_size)

    def training_loss(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> StepTerms:
        terms: ElboTerms = self.model(x, y, self.objective.num_samples, check=False)
        loss = self.objective.loss(terms, scheduled)
        return StepTerms(loss.value, terms.log_likelihood.detach(), terms.kl.detach(), loss.logs)

    def log_steps(self, steps: list[Step], first_step: int) -> None:
        self._update_train_bound(steps, first_step)
        interval = log_interval(self.trainer)
        if interval and self.global_step % interval == 0:
            last = steps[-1].batches[-1]
            self.log("train/loss", last.loss, prog_bar=True, sync_dist=True, batch_size=1)
            self.log_dict({f"train/{name}": value for name, value in last.logs.items()}, sync_dist=True, batch_size=1)
            if self.guard.skipped:
                self.log("train/skipped_steps", float(self.guard.skipped), batch_size=1)
            if self.unusual is not None:
                self.log_dict({f"train/{name}": value for name, value in self.unusual.curves().items()}, batch_size=1)

    def _update_train_bound(self, steps: list[Step], first_step: int) -> None:
        """Adds the batches of a pass to the averages of the epoch; the host waits for the device once."""
        batches = [terms for step in steps for terms in step.batches]
        log_likelihood = torch.cat([terms.log_likelihood for terms in batches], dim=1)
        kl = torch.cat([terms.kl for terms in batches], dim=1)
        losses = torch.stack([terms.loss for terms in batches])
        skipped = torch.stack([step.found_inf for step in steps]).sum()
        if bool((log_likelihood.sum() + kl.sum() + losses.sum()).isfinite() & (skipped == 0)):
            self.guard.in_a_row = 0
            self.train_bound.update(log_likelihood, kl)
        else:
            self.guard.record_steps(steps, first_step, self.train_bound, self._gradient_culprit, self._scaler)

    def _gradient_culprit(self) -> str:
        """Returns the term of the last batch whose gradient is not finite, although every term is."""
        assert self._batch is not None
        with noise.sharded(self._batch.shard):
            x, y = self._batch.x, self.labels(self._batch)
            terms: ElboTerms = self.model(x, y, self.objective.num_samples, check=False)
        return gradient_culprit(terms, self.train_bound.term_names, list(self.model.parameters()))

    def on_train_epoch_start(self) -> None:
        # The noise of an epoch depends only on this, not on the number of processes or on what ran before.
        noise.seed(self.seed, self.current_epoch)
        super().on_train_epoch_start()

    def on_train_epoch_end(self) -> None:
        self._log_bound("train", self.train_bound)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(known_batch(self, batch, first=batch_idx == 0), batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(known_batch(self, batch, first=batch_idx == 0), batch_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> list[Code]:
        """Returns the codes of a batch, one `Code` for each level, nearest the data first."""
        batch = known_batch(self, batch, first=batch_idx == 0)
        with noise.fixed_seed(EVALUATION_SEED + batch_idx, self.device), noise.sharded(batch.shard):
            return posterior_codes(self.model, batch.x, self.labels(batch))

    def on_validation_epoch_end(self) -> None:
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._log_evaluation("test")

    def _evaluate(self, batch: Batch, batch_idx: int) -> None:
        with noise.fixed_seed(EVALUATION_SEED + batch_idx, self.device), noise.sharded(batch.shard):
            terms: ElboTerms = self.model(batch.x, self.labels(batch), self.eval_samples, check=False)
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
        bits = bits_per_dim(self.model, means["elbo"], self.spec)
        if bits is not None:
            means["bits_per_dim"] = bits
        for name, value in means.items():
            self.log(f"{split}/{name}", value, prog_bar=name == "elbo", sync_dist=True, batch_size=1)
