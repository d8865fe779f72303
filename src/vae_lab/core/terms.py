"""Results of a pass through a model: the terms of the bound, all in nats.

Shapes: K importance samples, B batch, L levels. Level 1 is nearest the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vae_lab.distributions.gaussian import gaussian_kl, is_diagonal_gaussian

T = TypeVar("T")


class _computed_once(Generic[T]):  # noqa: N801
    """functools.cached_property without its lock, which `torch.compile` cannot trace."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value = self.function(instance)
        instance.__dict__[self.name] = value
        return value


@dataclass(frozen=True)
class LatentLevel:
    """One level of latents: a sample, its posterior and its prior.

    Attributes:
        z: samples of q, (K, B, *event).
        q: the posterior of this level given what it was sampled from.
        p: the prior of this level given the levels above.
        analytic_kl: True if E_q[log q - log p] equals the closed-form KL(q || p) here. The posterior knows this; it is
            not an option (`vae_lab.core.posterior`).
        state: the state of the prior's chain once z is known, (K, B, *state), which the level below, or the likelihood,
            reads; None: z itself, the state of a Markov chain.
        log_q: log q(z), (K, B), if sampling has computed it already; None: it is computed by q.

    Raises:
        ValueError: for a q and a p over events of different shapes, or over single numbers.
    """

    z: Tensor
    q: Distribution
    p: Distribution
    analytic_kl: bool
    state: Tensor = None  # type: ignore[assignment]
    log_q: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.q.event_shape or self.q.event_shape != self.p.event_shape:
            q, p = tuple(self.q.event_shape), tuple(self.p.event_shape)
            raise ValueError(
                f"a level's q has events of shape {q}, its p of {p}; give both the shape of one example's latents,"
                " where torch.distributions.Independent makes batch dimensions part of the event"
            )
        if self.state is None:
            object.__setattr__(self, "state", self.z)

    @_computed_once
    def log_ratio(self) -> Tensor:
        """log q(z) - log p(z) at the sample, (K, B)."""
        log_q = self.q.log_prob(self.z) if self.log_q is None else self.log_q
        return log_q - self.p.log_prob(self.z)

    @property
    def center(self) -> Tensor:
        """Mean of q for each sample, (K, B, *event); if q has no mean in closed form, the mean of the K samples."""
        try:
            return self.q.mean.expand(self.z.shape)
        except NotImplementedError:
            return self.z.mean(0, keepdim=True).expand(self.z.shape)

    @_computed_once
    def kl(self) -> Tensor:
        """An unbiased estimate of this level's part of the KL term, (K, B).

        Uses the closed form if it is valid and exists, that is between two diagonal Gaussians. A mixture has none.
        """
        if not self._closed_form:
            return self.log_ratio
        return gaussian_kl(self.q, self.p).flatten(-len(self.q.event_shape)).sum(-1).expand(self.z.shape[:2])

    @_computed_once
    def kl_per_dimension(self) -> Tensor | None:
        """`kl` before the sum over the event, (K, B, *event); None if q or p does not factorise over dimensions."""
        if self._closed_form:
            return gaussian_kl(self.q, self.p).expand(self.z.shape)
        log_q, log_p = (_log_prob_per_dimension(each, self.z) for each in (self.q, self.p))
        return None if log_q is None or log_p is None else log_q - log_p

    @property
    def _closed_form(self) -> bool:
        return self.analytic_kl and is_diagonal_gaussian(self.q) and is_diagonal_gaussian(self.p)


def _log_prob_per_dimension(distribution: Distribution, z: Tensor) -> Tensor | None:
    """Returns the log-density of each dimension, (K, B, *event); None if the dimensions depend on each other."""
    if not isinstance(distribution, Independent) or distribution.base_dist.event_shape:
        return None
    log_prob: Tensor = distribution.base_dist.log_prob(z)
    return log_prob


@dataclass(frozen=True)
class ElboTerms:
    """The terms of the evidence lower bound for one batch.

    Attributes:
        log_likelihood: log p(x | z, c), (K, B).
        levels: latent levels, from the data up.
    """

    log_likelihood: Tensor
    levels: tuple[LatentLevel, ...]

    @_computed_once
    def kl(self) -> Tensor:
        """The KL term of each level, (K, B, L)."""
        return torch.stack([level.kl for level in self.levels], dim=-1)

    @_computed_once
    def log_weight(self) -> Tensor:
        """log w = log p(x|z,c) + log p(z|c) - log q(z|x,c), (K, B).

        Never uses closed-form KLs: the average weight would no longer estimate p(x), and the result would not be a
        bound.
        """
        return self.log_likelihood - sum(level.log_ratio for level in self.levels)

    @_computed_once
    def elbo(self) -> Tensor:
        """E_q[log p(x|z)] - KL at beta = 1, averaged over the samples, (B,). Higher is better; <= log p(x)."""
        return (self.log_likelihood - self.kl.sum(-1)).mean(0)

    @_computed_once
    def importance_weighted_bound(self) -> Tensor:
        """log (1/K) sum_k w_k, (B,) (Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519, eq. 8)."""
        return self.log_weight.logsumexp(0) - math.log(len(self.log_weight))


class ImportanceEstimate(NamedTuple):
    """Estimate of log p(x|y) by importance sampling, one number per example.

    Attributes:
        log_prob: log (1/K) sum_k w_k, (B,), in nats.
        effective_samples: (sum_k w_k)^2 / sum_k w_k^2, (B,), from 1 to K (Kong 1992): number of samples that carry the
            estimate.
    """

    log_prob: Tensor
    effective_samples: Tensor
