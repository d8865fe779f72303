"""Mixtures of diagonal Gaussians: a distribution, and the learned prior made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from vae_lab.distributions.gaussian import Gaussian, loc_and_scale
from vae_lab.networks.mlp import Mlp

_START = 0.1
"""Standard deviation of the initial parameters without context: near N(0, I), but no two components equal."""


class DiagonalGaussianMixture(MixtureSameFamily):
    """sum_m pi_m N(loc_m, diag(scale_m^2)), the components along the last batch dimension of ``components``.

    Args:
        logits: unnormalised logarithms of the weights pi, (*batch_shape, M).
        components: diagonal Gaussians of batch shape (*batch_shape, M).
    """

    def __init__(self, logits: Tensor, components: Distribution) -> None:
        weights = Categorical(logits=logits, validate_args=False)
        super().__init__(weights, components, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns log sum_m pi_m N(value; loc_m, diag(scale_m^2)) without torch's array of samples x M x dimensions.

        With t = 1 / scale^2 the logarithm of a Gaussian is - t z^2 / 2 + t loc z + constant: one matrix product for all
        samples and components. Because these terms nearly cancel, the mean c of all loc is subtracted from z and loc
        first; in float32 the error is about 1e-7 ((z - c) / scale)^2.
        """
        dims = len(self.event_shape)
        loc, scale = loc_and_scale(self.component_distribution)
        loc, log_scale = loc.flatten(-dims), scale.log().flatten(-dims)  # (*batch, M, D)
        center = loc.mean(-2)  # (*batch, D)
        loc = loc - center.unsqueeze(-2)
        precision = (-2 * log_scale).exp()
        z, _ = torch.broadcast_tensors(value.flatten(-dims) - center, loc[..., 0, :])  # type: ignore[no-untyped-call]  # (..., *batch, D)
        leading, z = z.shape[:-1], z.reshape(-1, *self.batch_shape, z.shape[-1])
        powers = torch.cat((z.square(), z), dim=-1)
        factors = torch.cat((-0.5 * precision, precision * loc), dim=-1)
        # Autocast would compute this in bfloat16.
        with torch.autocast(z.device.type, enabled=False):
            products = torch.einsum("k...d,...md->k...m", powers, factors)
        squares = precision * loc.square() + math.log(2 * math.pi)
        constant = self.mixture_distribution.logits - (0.5 * squares + log_scale).sum(-1)
        log_prob: Tensor = (products + constant).logsumexp(-1)
        return log_prob.reshape(leading)


class MixtureOfGaussians(nn.Module):
    """p(z|c) = sum_m pi_m(c) N(loc_m(c), diag(scale_m(c)^2)), all learned; linear in the context if there is one.

    Args:
        event_shape: shape of z.
        context_features: C, the width of the context; 0 for none.
        num_components: number of components, M.

    Raises:
        ValueError: for fewer than 1 component.
    """

    def __init__(self, event_shape: Sequence[int], context_features: int = 0, num_components: int = 10) -> None:
        super().__init__()
        check_num_components(num_components)
        self.num_components = num_components
        self.head = Gaussian(event_shape)
        raw_shape = (num_components, 1 + math.prod(self.head.param_shape))  # a logit, then the Gaussian
        if context_features:
            self.net = Mlp((), raw_shape, context_features)
        else:
            self.raw = nn.Parameter(_START * torch.randn(raw_shape))

    def forward(self, given: None = None, context: Tensor | None = None) -> Distribution:
        """Returns the mixture, in the batch shape of the context; of one component, a Gaussian, whose KL is closed."""
        raw = self.raw if context is None else self.net(None, context)
        if self.num_components == 1:
            raw = raw.squeeze(-2)
        components: Distribution = self.head(raw[..., 1:].unflatten(-1, self.head.param_shape))
        if self.num_components == 1:
            return components
        return DiagonalGaussianMixture(raw[..., 0].to(components.mean.dtype), components)


def check_num_components(num_components: int) -> None:
    """Raises ValueError for a mixture without components."""
    if num_components < 1:
        raise ValueError(f"num_components={num_components}: must be at least 1")
