"""Standardised data: real numbers in their own units outside of a model, of mean 0 and spread 1 inside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.types import Scaling


class Standardisation(nn.Module):
    """u = (x - mean) / scale, and the distribution of x that one of u gives.

    Args:
        scaling: mean and scale of each index of the first axis of an example.
        shape: shape of an example.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, scaling: Scaling, shape: Sequence[int]) -> None:
        super().__init__()
        axis = (-1, *[1] * (len(shape) - 1))
        # Not persistent: they are recorded in the spec, from which a model is built.
        dtype = torch.get_default_dtype()
        for name, column in scaling._asdict().items():
            self.register_buffer(name, torch.tensor(column, dtype=dtype).reshape(axis), persistent=False)
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Returns standardised examples, (..., *shape)."""
        return (x - self.mean) / self.scale

    def undone(self, p: Distribution) -> Distribution:
        """Returns the distribution of x of which ``p`` is that of u."""
        return Rescaled(p, self.mean.expand(self.shape), self.scale.expand(self.shape))


class Rescaled(Distribution):
    """x = loc + scale * u with u ~ base: log p(x) = log p(u) - sum_i log scale_i.

    Unlike `torch.distributions.TransformedDistribution` it has a mean and a variance.

    Args:
        base: distribution of u, of event shape (*event).
        loc, scale: (*event).
    """

    arg_constraints = {}

    def __init__(self, base: Distribution, loc: Tensor, scale: Tensor) -> None:
        self.base, self.loc, self.scale = base, loc, scale
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.scale.square() * self.base.variance

    def log_prob(self, value: Tensor) -> Tensor:
        log_prob: Tensor = self.base.log_prob((value - self.loc) / self.scale)
        return log_prob - self.scale.log().sum()

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        return self.loc + self.scale * self.base.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        return self.loc + self.scale * self.base.rsample(torch.Size(sample_shape))
