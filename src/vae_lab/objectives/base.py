"""An objective turns the terms of the bound into the one number that training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel


class Loss(NamedTuple):
    """What an objective returns.

    Attributes:
        value: to be minimised, averaged over the batch, in nats where the objective is a bound; ().
        logs: further numbers worth a curve, by name, each ().
    """

    value: Tensor
    logs: dict[str, Tensor | float] = {}


class Objective(nn.Module, ABC):
    """A scalar training objective.

    Args:
        num_samples: K, latent samples for each example.

    Raises:
        ValueError: for fewer than one sample.
    """

    one_level: ClassVar[bool] = False
    """Whether it is defined for models with one level of latents only."""
    log_names: ClassVar[tuple[str, ...]] = ()
    """Names of the further numbers in each `Loss`, its ``logs``."""

    def __init__(self, num_samples: int = 1) -> None:
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples={num_samples}: must be at least 1")
        self.num_samples = num_samples

    def check(self, model: LatentVariableModel) -> None:
        """Refuses a model that the objective is not defined for.

        Raises:
            ValueError: for a hierarchy where one level is needed.
        """
        if self.one_level and model.num_levels > 1:
            raise ValueError(
                f"objective {type(self).__name__} needs a model of one level, this one has {model.num_levels}"
            )

    def forward(self, terms: ElboTerms, step: int) -> Loss:
        """The loss of a batch at the global step ``step``."""
        return self.loss(terms, self.weight(step))

    def weight(self, step: int) -> float:
        """The one number of the objective that follows the step, such as the weight of the KL; 1 where none does.

        It stands apart from `loss` so that a compiled loss takes it as an input, and is compiled once.
        """
        return 1.0

    def plan(self, steps: float) -> float | None:
        """Takes note of the steps that a run plans (infinity: no end); returns them if they matter, else None."""
        return None

    def parameter_groups(self, model: LatentVariableModel) -> list[dict[str, Any]]:
        """Returns what the optimizer gets: groups of parameters, each with options that replace the optimizer's.

        By default one group, the parameters of the model and those of the objective, such as a learned weight or a
        discriminator: both are trained, clipped, saved and resumed.
        """
        return [{"params": [*model.parameters(), *self.parameters()]}]

    @abstractmethod
    def loss(self, terms: ElboTerms, weight: Tensor | float) -> Loss:
        """The loss of a batch, with what `weight` gave for its step."""


def example_terms(model: LatentVariableModel) -> ElboTerms | None:
    """Returns the terms of one blank example, so that `check` can see what kinds of distributions a model has.

    No random number is used up, and the model stays in its mode. None for a model that does not know its data.
    """
    if model.spec is None:
        return None
    parameter = next(model.parameters())
    x = parameter.new_zeros(1, *model.spec.shape)
    y = torch.zeros(1, dtype=torch.long, device=x.device) if model.conditional else None
    training = model.training
    try:
        with torch.no_grad(), noise.fixed_seed(0, x.device):
            terms: ElboTerms = model.eval()(x, y, check=False)
    finally:
        model.train(training)
    return terms
