"""Diagonal Gaussians: latents, and real-valued or grey data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MixtureSameFamily, Normal

from vae_lab import noise
from vae_lab.distributions.conditional import Head

LOG_SCALE_LIMIT = 10.0
"""Learned standard deviations stay within exp(+-10): far outside what training reaches, far inside float32."""


class DiagonalGaussian(Independent):  # type: ignore[type-arg]
    """N(loc, diag(scale^2)) over the last ``event_dims`` dimensions."""

    def __init__(self, loc: Tensor, scale: Tensor, event_dims: int) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), event_dims, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Computes torch's density in half the passes over ``value``, which may hold thousands of samples."""
        loc, scale = self.base_dist.loc, self.base_dist.scale
        standard = ((value - loc) / scale).flatten(-self.reinterpreted_batch_ndims)
        log_scale = scale.log().flatten(-self.reinterpreted_batch_ndims)
        constant = math.log(2 * math.pi) * standard.shape[-1]
        log_prob: Tensor = -0.5 * (standard.square().sum(-1) + constant) - log_scale.sum(-1)
        return log_prob


def diagonal_gaussian(loc: Tensor, scale: Tensor, event_dims: int) -> Distribution:
    """Returns N(loc, diag(scale^2)) over the last ``event_dims`` dimensions."""
    return DiagonalGaussian(loc, scale, event_dims)


def is_diagonal_gaussian(distribution: Distribution) -> bool:
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)


def loc_and_scale(gaussian: Distribution) -> tuple[Tensor, Tensor]:
    """Returns the mean and the standard deviation of a diagonal Gaussian, (*batch_shape, *event_shape) each."""
    base: Normal = gaussian.base_dist  # type: ignore[attr-defined]
    return base.loc, base.scale


def rsample(distribution: Distribution, sample_shape: Sequence[int] = (), temperature: float = 1.0) -> Tensor:
    """Draws a reparametrised sample z = loc + temperature * scale * eps, eps ~ N(0, I).

    For a mixture of Gaussians a component is drawn for each sample; this draw has no derivative. Another distribution
    may define ``tempered_rsample(sample_shape, temperature)``, as a flow does. The noise comes from `vae_lab.noise`, so
    that the sample of an example does not depend on the number of processes. A distribution of another kind draws its
    own noise: it does depend on it, but no two processes draw the same.

    Returns:
        (*sample_shape, *batch_shape, *event_shape).

    Raises:
        ValueError: for a temperature other than 1 and a distribution without temperatures.
    """
    if isinstance(distribution, MixtureSameFamily) and is_diagonal_gaussian(distribution.component_distribution):
        distribution, sample_shape = _drawn_components(distribution, sample_shape), ()
    if not is_diagonal_gaussian(distribution):
        tempered = getattr(distribution, "tempered_rsample", None)
        if tempered is not None:
            return tempered(sample_shape, temperature)  # type: ignore[no-any-return]
        if temperature != 1.0:
            raise ValueError(f"temperature={temperature}: only Gaussian latents can be tempered")
        with noise.of_process():
            return distribution.rsample(torch.Size(sample_shape))
    shape = distribution._extended_shape(torch.Size(sample_shape))
    loc, scale = loc_and_scale(distribution)
    last_batch_dim = max(0, len(shape) - len(distribution.event_shape) - 1)
    eps = noise.normal(shape, like=loc, batch_dim=last_batch_dim)
    return torch.addcmul(loc, scale, eps, value=temperature)


def rsample_rows(distribution: Distribution, shape: Sequence[int], temperature: float = 1.0) -> Tensor:
    """Draws samples (*shape, *event_shape) by `rsample`: independent ones also along what the batch shape lacks.

    Args:
        distribution: distribution of batch shape (), or of the last of the dimensions in ``shape``.
        shape: leading dimensions of the result, such as (K, B).
        temperature: factor of the standard deviation.
    """
    missing = max(0, len(shape) - len(distribution.batch_shape))
    return rsample(distribution, shape[:missing], temperature)


def _drawn_components(mixture: MixtureSameFamily, sample_shape: Sequence[int]) -> Distribution:
    """Draws a component for each sample; returns Gaussians of batch shape (*sample_shape, *batch_shape)."""
    batch_shape, parameters = mixture.batch_shape, loc_and_scale(mixture.component_distribution)
    shape = (*sample_shape, *batch_shape)
    below = mixture.mixture_distribution.probs.cumsum(-1)[..., :-1]
    u = noise.uniform((*shape, 1), like=below, batch_dim=max(0, len(shape) - 1))
    chosen = (u >= below).sum(-1)
    # Number of the first component of each element of the batch, with all components in one row.
    first = torch.arange(math.prod(batch_shape), device=below.device).reshape(batch_shape) * (below.shape[-1] + 1)
    loc, scale = (each.flatten(0, len(batch_shape))[first + chosen] for each in parameters)
    return diagonal_gaussian(loc, scale, len(mixture.event_shape))


def gaussian_kl(q: Distribution, p: Distribution) -> Tensor:
    """Returns KL(q || p) of two diagonal Gaussians per dimension, (*batch_shape, *event_shape), in nats.

    The formula is that of `torch.distributions.kl_divergence`, whose dispatch `torch.compile` cannot trace.
    """
    (q_loc, q_scale), (p_loc, p_scale) = loc_and_scale(q), loc_and_scale(p)
    ratio = q_scale / p_scale
    distance = (q_loc - p_loc) / p_scale
    kl: Tensor = 0.5 * (ratio.square() + distance.square() - 1) - ratio.log()
    return kl


def precision_merge(a: Distribution, b: Distribution) -> Distribution:
    """Returns the normalised product of two diagonal Gaussians (Soenderby et al. 2016, arXiv:1602.02282, eq. 17-18).

    1/v = 1/v_a + 1/v_b and m = v (m_a/v_a + m_b/v_b).
    """
    (mean_a, scale_a), (mean_b, scale_b) = loc_and_scale(a), loc_and_scale(b)
    precision_a, precision_b = scale_a**-2, scale_b**-2
    variance = 1 / (precision_a + precision_b)
    mean = variance * (mean_a * precision_a + mean_b * precision_b)
    return diagonal_gaussian(mean, variance.sqrt(), len(a.event_shape))


def relative_gaussian(p: Distribution, raw: Tensor) -> Distribution:
    """Returns N(m_p + s_p dm, (s_p e^ds)^2) for p = N(m_p, s_p^2) (Vahdat and Kautz 2020, arXiv:2007.03898).

    Args:
        p: diagonal Gaussian prior, of event shape (*event_shape).
        raw: dm and ds, (..., 2, *event_shape); zeros give p itself.
    """
    loc, scale = loc_and_scale(p)
    move, log_factor = raw.to(loc.dtype).unbind(-1 - len(p.event_shape))
    factor = log_factor.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT).exp()
    return diagonal_gaussian(torch.addcmul(loc, scale, move), scale * factor, len(p.event_shape))


def _keep_the_scale(head: Gaussian, _: object) -> None:
    """Leaves a fixed scale as it was given: weights of a run with another one do not bring it along."""
    head.log_scale.copy_(torch.tensor(head.fixed_log_scale))


class Gaussian(Head):
    """A diagonal Gaussian. Raw output: the mean and, with ``scale="per_dimension"``, the log-variance.

    Args:
        event_shape: shape of one event.
        scale: the standard deviation: a fixed number; "shared", one learned number for all dimensions (the
            sigma-VAE of Rybkin, Daniilidis and Levine 2021, arXiv:2006.13202); or "per_dimension", from the network.

    Raises:
        ValueError: for a fixed scale that is not a positive number.
    """

    def __init__(
        self, event_shape: Sequence[int], scale: float | Literal["shared", "per_dimension"] = "per_dimension"
    ) -> None:
        super().__init__(event_shape)
        self.params_per_dim = 2 if scale == "per_dimension" else 1
        self.fixed_log_scale: float | None = None
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale != "per_dimension":
            if isinstance(scale, str) or not (scale > 0 and math.isfinite(scale)):
                raise ValueError(f"scale={scale}: must be a positive number, 'shared' or 'per_dimension'")
            self.fixed_log_scale = math.log(scale)
            self.register_buffer("log_scale", torch.tensor(self.fixed_log_scale))
            self.register_load_state_dict_post_hook(_keep_the_scale)  # type: ignore[no-untyped-call]

    def raw_of_mean(self, mean: Tensor) -> Tensor:
        rest = torch.zeros_like(mean)
        return torch.stack([mean, rest][: self.params_per_dim])

    def build(self, params: Sequence[Tensor]) -> Distribution:
        log_scale = params[1] / 2 if len(params) == 2 else self.log_scale.to(params[0].dtype)
        if self.fixed_log_scale is None:
            log_scale = log_scale.clamp(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
        return diagonal_gaussian(params[0], log_scale.exp().expand_as(params[0]), len(self.event_shape))
