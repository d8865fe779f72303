"""Lightning's part of an evaluation: batches, devices and the progress bar."""

from __future__ import annotations

import math

import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torchmetrics import Metric

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.settings import EvaluationSettings
from vae_lab.training.metrics import BoundMetric, UnitMetrics
from vae_lab.types import Batch


class MeanAndError(Metric):
    """Mean over examples of several numbers, with standard errors; the same over any number of processes."""

    full_state_update = False
    total: Tensor
    square: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("square", torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Adds examples, (size, B)."""
        self.total += values.double().sum(1)
        self.square += values.double().square().sum(1)
        self.count += values.shape[1]

    def compute(self) -> tuple[list[float], list[float], int]:
        """Returns means, standard errors (deviation over the root of the number; nan for one) and number."""
        mean = self.total / self.count
        variance = (self.square / self.count - mean**2).clamp(min=0) * self.count / (self.count - 1)
        return mean.tolist(), (variance / self.count).sqrt().tolist(), int(self.count)


class EvaluationModule(LightningModule):
    """Runs a model over a split and keeps the sums that `vae_lab.evaluation.estimate` reads.

    Args:
        settings: numbers of samples, their chunk and seed, and ``all_labels``; the rest is not read.
    """

    def __init__(self, model: LatentVariableModel, settings: EvaluationSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.marginal = MeanAndError(3 if settings.all_labels else 2)
        self.bound = BoundMetric(model.level_groups)
        self.active_units = UnitMetrics(model.level_groups)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        y, settings = batch.y if self.model.conditional else None, self.settings
        with noise.fixed_seed(noise.seed_of_batch(settings.seed, batch_idx), self.device), noise.sharded(batch.shard):
            estimate = self.model.importance_estimate(batch.x, y, settings.num_samples, settings.chunk)
            terms = self.model(batch.x, y, settings.elbo_samples)
            rows = [estimate.log_prob, estimate.effective_samples]
            if settings.all_labels:
                rows.append(self._unconditional(batch.x))
        self.marginal.update(torch.stack(rows))
        self.bound.update(terms.log_likelihood, terms.kl)
        self.active_units.update(terms.levels)

    def _unconditional(self, x: Tensor) -> Tensor:
        """Returns log p(x) = log sum_y p(x|y) / num_classes, (B,)."""
        assert self.model.spec is not None
        classes, settings = self.model.spec.num_classes, self.settings
        log_probs = [
            self.model.log_marginal(x, torch.full((len(x),), y, device=x.device), settings.num_samples, settings.chunk)
            for y in range(classes)
        ]
        return torch.stack(log_probs).logsumexp(0) - math.log(classes)
