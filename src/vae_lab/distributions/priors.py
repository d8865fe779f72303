"""Priors of the top latent level: modules called as prior(None, context), the first link of a prior chain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.distributions.conditional import ConditionalDistribution
from vae_lab.distributions.gaussian import Gaussian, diagonal_gaussian
from vae_lab.networks.mlp import Mlp

PriorFactory = Callable[[Sequence[int], int], nn.Module]
"""(event_shape, context_features) -> prior."""


class StandardNormal(nn.Module):
    """p(z) = N(0, I), independent of the context.

    Args:
        event_shape: shape of z.
        context_features: not used, but an argument of every prior.
    """

    def __init__(self, event_shape: Sequence[int], context_features: int = 0) -> None:
        super().__init__()
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(tuple(event_shape)), persistent=False)

    def forward(self, given: None = None, context: Tensor | None = None) -> Distribution:
        """Returns N(0, I) with the batch shape of the context, so that one sample is drawn per label."""
        batch_shape = () if context is None else context.shape[:-1]
        zero = self.zero.expand(*batch_shape, *self.zero.shape)
        return diagonal_gaussian(zero, torch.ones_like(zero), self.zero.dim())


class LabelConditional(ConditionalDistribution):
    """p(z|c) = N(m(c), diag(s(c)^2)), learned (Sohn, Lee and Yan 2015): each class has its own place among the latents.

    Args:
        event_shape: shape of z.
        context_features: C, the width of the context; must be positive.

    Raises:
        ValueError: for an unconditional model.
    """

    def __init__(self, event_shape: Sequence[int], context_features: int = 0) -> None:
        if context_features < 1:
            raise ValueError("LabelConditional: needs a conditional model (conditional=True)")
        head = Gaussian(event_shape)
        super().__init__(Mlp((), head.param_shape, context_features), head)
