"""Objectives turn the terms of the bound into the one number that training minimises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel

Scheduled = Mapping[str, Tensor | float]
"""Numbers of an objective that depend on the step, by name; on the device, (), where a loss is compiled or captured."""


class Loss(NamedTuple):
    """Loss of a batch.

    Attributes:
        value: number to be minimised, averaged over the batch, in nats if the objective is a bound; ().
        logs: further numbers that are logged, by name, each ().
    """

    value: Tensor
    logs: dict[str, Tensor | float] = {}


class Objective(nn.Module, ABC):
    """A scalar training objective.

    Args:
        num_samples: K, latent samples per example.

    Raises:
        ValueError: for fewer than one sample.
    """

    one_level: ClassVar[bool] = False
    """True if the objective is defined only for models with one level of latents."""
    trains_codebook: ClassVar[bool] = False
    """True for an objective that trains the codebook of a model that has one."""
    log_names: ClassVar[tuple[str, ...]] = ()
    """Names of the numbers in ``logs`` of each `Loss`."""

    def __init__(self, num_samples: int = 1) -> None:
        super().__init__()
        if num_samples < 1:
            raise ValueError(f"num_samples={num_samples}: must be at least 1")
        self.num_samples = num_samples

    def check(self, model: LatentVariableModel) -> None:
        """Refuses a model that the objective is not defined for.

        Raises:
            ValueError: for a hierarchy, if one level is needed.
        """
        if model.discrete and not self.trains_codebook:
            raise ValueError(f"objective {type(self).__name__} does not train a codebook; VectorQuantisation does")
        if self.one_level and model.num_levels > 1:
            raise ValueError(
                f"objective {type(self).__name__} needs a model of one level, this one has {model.num_levels}"
            )

    def forward(self, terms: ElboTerms, step: int) -> Loss:
        """Returns the loss of a batch at the global step ``step``."""
        return self.loss(terms, self.scheduled(step))

    def scheduled(self, step: int) -> dict[str, float]:
        """Returns the numbers that depend on the step, by name, such as the weight of the KL.

        They are separate from `loss` so that a compiled or captured loss takes them as inputs, and is made once.
        """
        return {}

    def plan(self, steps: float) -> float | None:
        """Records the number of steps that a run plans (infinity: no end); returns it if it matters, else None."""
        return None

    def parameter_groups(self, model: LatentVariableModel) -> list[dict[str, Any]]:
        """Returns the parameter groups of the optimizer, each with options that replace the optimizer's own.

        By default this is one group with the parameters of the model and of the objective, such as a learned weight or
        a discriminator. Both are trained, clipped, saved and resumed.
        """
        return [{"params": [*model.parameters(), *self.parameters()]}]

    @abstractmethod
    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        """Returns the loss of a batch, with the numbers of `scheduled` for its step."""


def example_terms(model: LatentVariableModel, seed: int = 0, num_samples: int = 1) -> ElboTerms | None:
    """Returns the terms of one blank example, which show `check` the kinds of distributions of a model.

    The state of the random numbers and the mode of the model stay. Returns None for a model without a spec.

    Args:
        model: any model.
        seed: seed of the noise.
        num_samples: K.
    """
    if model.spec is None:
        return None
    x, y = blank_batch(model, 1)
    training = model.training
    try:
        with torch.no_grad(), noise.fixed_seed(seed, x.device):
            terms: ElboTerms = model.eval()(x, y, num_samples, check=False)
    finally:
        model.train(training)
    return terms


def blank_batch(model: LatentVariableModel, num: int) -> tuple[Tensor, Tensor | None]:
    """Returns examples of zeros and their labels, (num, ...), for a model with a spec."""
    assert model.spec is not None, "only a spec says what an example is"
    x = next(model.parameters()).new_zeros(num, *model.spec.shape)
    if not model.conditional:
        return x, None
    rows = model.spec.vector_condition
    return x, x.new_zeros(num, model.spec.context_features) if rows else x.new_zeros(num, dtype=torch.long)
