"""An objective with a parameter of its own, as a discriminator or a learned weight is."""

from __future__ import annotations

from typing import Any

import torch

from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.objectives import Elbo
from vae_lab.objectives.base import Loss, Scheduled


class LearnedTemperature(Elbo):
    """The ELBO whose log-likelihood has a learned precision: log p(x|z) / t + log t ..., at its best t = |log p|."""

    def __init__(self, lr: float | None = None) -> None:
        super().__init__()
        self.log_temperature = torch.nn.Parameter(torch.zeros(()))
        self.lr = lr

    def parameter_groups(self, model: LatentVariableModel) -> list[dict[str, Any]]:
        if self.lr is None:
            return super().parameter_groups(model)
        return [{"params": list(model.parameters())}, {"params": [self.log_temperature], "lr": self.lr}]

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        log_likelihood = terms.log_likelihood.mean()
        value = (
            scheduled["beta"] * terms.kl.mean((0, 1)).sum()
            - log_likelihood / self.log_temperature.exp()
            + self.log_temperature
        )
        return Loss(value, {"temperature": self.log_temperature.exp()})
