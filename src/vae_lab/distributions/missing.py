"""Examples with missing values, which are NaN: the density of what was observed, and what a network reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, OneHotCategorical

from vae_lab.distributions.conditional import Head
from vae_lab.distributions.product import Product
from vae_lab.distributions.rescaled import Rescaled


class Observed(Distribution):
    """The distribution of the entries of x that are not NaN; its mean and its samples are those of all entries.

    The entries are independent given z, so that the others integrate to 1: log p(x_observed | z) is the sum over what
    was observed, and E_q[log p(x_observed | z)] - KL bounds log p(x_observed) (Nazabal et al. 2020, arXiv:1807.03653).

    Args:
        base: distribution whose entries, or parts, are independent.
    """

    arg_constraints = {}

    def __init__(self, base: Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.base.variance

    def log_prob(self, value: Tensor) -> Tensor:
        return _log_prob(self.base, value)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        sample: Tensor = self.base.sample(torch.Size(sample_shape))
        return sample


def filled(x: Tensor) -> Tensor:
    """Returns what a network reads: x with 0 for what is missing, and 1 where it was observed, (B, 2 C, ...)."""
    known = ~x.isnan()
    return torch.cat((x.where(known, 0.0), known.to(x.dtype)), dim=1)


def check_independent(head: Head) -> None:
    """Checks that the entries of a likelihood are independent, without which no value can be left out of it.

    Raises:
        ValueError: if they are not.
    """
    try:
        _log_prob(head(torch.zeros(1, *head.param_shape)), torch.full((1, *head.event_shape), torch.nan))
    except TypeError:
        raise ValueError(
            f"likelihood {type(head).__name__} joins the values of an example, so that missing ones cannot be left"
            " out; Gaussian can"
        ) from None


def _log_prob(p: Distribution, x: Tensor) -> Tensor:
    """Returns the log-density of the entries of ``x`` that are not NaN, (*batch_shape)."""
    known = ~x.isnan()
    if isinstance(p, Rescaled):
        stretch = p.scale.log().where(known, 0.0).flatten(-len(p.event_shape)).sum(-1)
        return _log_prob(p.base, (x - p.loc) / p.scale) - stretch
    if isinstance(p, Product):
        parts = zip(p.parts, torch.split(x, p.sizes, dim=-1), strict=True)
        return torch.stack([_log_prob(part, of_part) for part, of_part in parts]).sum(0)
    if isinstance(p, OneHotCategorical):
        log_prob: Tensor = p.log_prob(x.where(known, 0.0))  # type: ignore[no-untyped-call]
        return log_prob.where(known.all(-1), 0.0)
    if isinstance(p, Independent) and not p.base_dist.event_shape:
        entries: Tensor = p.base_dist.log_prob(x.where(known, 0.0)).where(known, 0.0)
        return entries.flatten(-p.reinterpreted_batch_ndims).sum(-1)
    raise TypeError(f"{type(p).__name__}: not a distribution of independent entries")
