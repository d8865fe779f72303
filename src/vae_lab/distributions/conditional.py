"""Conditional distributions made of a network and a head: p(y | given, context) = head(net(given, context))."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.types import Support

_BYTES = 256
"""Values of 8-bit data."""
_SUITABLE: dict[Support, str] = {
    "binary": "Bernoulli",
    "unit": "Gaussian",
    "uint8": "DiscretizedLogistic, LogisticMixture, Categorical or Gaussian",
    "real": "Gaussian",
}


class Head(nn.Module, ABC):
    """Turns raw network output into a distribution over one event; a likelihood is a head over data.

    Raw output has shape (..., params_per_dim, *event_shape). Heads keep their parameters valid themselves (clamped
    log-scales), because `torch.compile` switches the validation of distributions off.

    Args:
        event_shape: shape of one event, such as (latent_dim,) or (channels, height, width).
    """

    params_per_dim: int = 1
    discrete: ClassVar[bool] = False
    """True for a probability mass, False for a density."""
    exact_on: frozenset[Support] = frozenset({"unit", "uint8", "real"})
    """Supports of data over which this is a true density or mass."""
    tolerates: ClassVar[frozenset[Support]] = frozenset()
    """Supports of data that are accepted with a warning, because the result is not a density there."""

    def __init__(self, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Shape that the network must output for one event: (params_per_dim, *event_shape)."""
        return (self.params_per_dim, *self.event_shape)

    @abstractmethod
    def build(self, params: Sequence[Tensor]) -> Distribution:
        """Returns the distribution with ``params_per_dim`` parameters, each of shape (..., *event_shape)."""

    def forward(self, raw: Tensor) -> Distribution:
        # Densities are computed in float32 at least, even if the network ran in 16 bits.
        if raw.dtype in (torch.float16, torch.bfloat16):
            raw = raw.float()
        return self.build(raw.unbind(-1 - len(self.event_shape)))

    def raw_of_mean(self, mean: Tensor) -> Tensor:
        """Returns raw output whose distribution has about this mean, (params_per_dim, *event_shape).

        Args:
            mean: mean of each dimension of an event, (*event_shape).

        Raises:
            ValueError: for a head without a parameter for the mean.
        """
        raise ValueError(f"likelihood {type(self).__name__} has no parameter for the mean")

    def check_support(self, support: Support) -> None:
        """Refuses data that this likelihood cannot model; warns if its result would not be a density.

        Raises:
            ValueError: with the likelihoods that suit ``support``.
        """
        name = type(self).__name__
        if support in self.tolerates:
            warnings.warn(
                f"{name} on grey values ({support}) is not a density: its numbers compare only with themselves; "
                f"{_SUITABLE[support]} would be one",
                stacklevel=2,
            )
        elif support not in self.exact_on:
            raise ValueError(f"likelihood {name} cannot model {support} data; {_SUITABLE[support]} can")

    def bits_per_dim(self, nats: float, support: Support) -> float | None:
        """Returns bits per dimension for a (bound on the) log-likelihood of ``nats`` per example; None if undefined.

        They are undefined if the head is not a density or mass, and for real-valued data, whose units are arbitrary.

        A density over the 256 levels k/255 is multiplied by their spacing 1/255 to give a mass, which adds log2(255)
        bits per dimension and makes it comparable with the discrete likelihoods.
        """
        if support not in self.exact_on or support == "real":
            return None
        bits = -nats / (math.prod(self.event_shape) * math.log(2))
        return bits if self.discrete or support != "uint8" else bits + math.log2(255)


class LevelsHead(Head):
    """A probability mass over pixels of the values {0, 1/(n-1), ..., 1}.

    Args:
        event_shape: shape of one example.
        levels: number of values of a pixel, n; 256 for 8-bit pictures, over which another number is not a mass.

    Raises:
        ValueError: for fewer than two levels.
    """

    discrete = True
    exact_on: frozenset[Support] = frozenset({"uint8"})

    def __init__(self, event_shape: Sequence[int], levels: int) -> None:
        super().__init__(event_shape)
        if levels < 2:
            raise ValueError(f"levels={levels}: must be at least 2")
        self.levels = levels
        if levels != _BYTES:
            self.exact_on = self.exact_on - {"uint8"}

    def check_support(self, support: Support) -> None:
        if support == "uint8" and self.levels != _BYTES:
            warnings.warn(
                f"levels={self.levels}: 8-bit data have {_BYTES} values, over which this likelihood is not a mass: its"
                f" numbers compare only with themselves; set {_BYTES}",
                stacklevel=2,
            )
        else:
            super().check_support(support)


def by_support(event_shape: Sequence[int], **options: Any) -> Head:
    """Stands for a likelihood that a command has yet to choose by the support of the data.

    Raises:
        ValueError: always.
    """
    raise ValueError("likelihood: not chosen yet; name one that suits the support, such as Gaussian")


class ConditionalDistribution(nn.Module):
    """p(y | given, context) = head(net(given, context)).

    Args:
        net: network that maps given (..., *in_shape) and context (B, C) to raw output (..., *head.param_shape).
        head: head that turns raw output into a distribution.
    """

    def __init__(self, net: nn.Module, head: Head) -> None:
        super().__init__()
        self.net = net
        self.head = head

    def forward(self, given: Tensor | None, context: Tensor | None = None) -> Distribution:
        distribution: Distribution = self.head(self.net(given, context))
        return distribution

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Sets the bias of the network's last layer so that training starts at distributions of about this mean.

        Args:
            mean: mean of an event, (*event_shape).

        Raises:
            ValueError: for a head without a parameter for the mean, or a network without ``start_at``.
        """
        raw = self.head.raw_of_mean(mean)
        start_at = getattr(self.net, "start_at", None)
        if start_at is None:
            raise ValueError(f"network {type(self.net).__name__} has no start_at(output)")
        start_at(raw)
