"""Normalizing flows by zuko: a learned prior of any shape, and posteriors that are not Gaussian.

zuko is an extra (pip install 'vae-lab[flows]'): it is imported when the first flow is built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.distributions.conditional import Head
from vae_lab.distributions.gaussian import Gaussian, loc_and_scale, rsample
from vae_lab.distributions.priors import StandardNormal

FlowKind = Literal["spline", "affine"]

_MOMENT_DRAWS = 2**14
"""Draws, shared by a batch, from which the mean and the variance of a flow are estimated."""
_MIN_MOMENT_DRAWS = 2**5
"""Draws for each example at least."""
_MAX_MOMENT_NUMBERS = 2**21
"""Numbers in the draws shared by a batch: fewer draws of codes with many dimensions."""
_NUMBERS_AT_ONCE = 2**19
"""Numbers that are pushed through a flow at once, each of which takes a spline of its own, of some 700 bytes."""


class FlowDistribution(Distribution):
    """The distribution of z with u = f(z) ~ base: log p(z) = log base(f(z)) + log |det f'(z)|.

    It has neither a mean nor a variance in closed form: both are estimates from the same fixed draws every time.

    Args:
        base: diagonal Gaussian of batch shape (*batch_shape).
        transform: f on flattened events, (..., D) -> (..., D), with ``inv`` and ``call_and_ladj``.
    """

    arg_constraints = {}
    has_rsample = True

    def __init__(self, base: Distribution, transform: Any) -> None:
        self.base, self.transform = base, transform
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        with _in_full_precision(value):
            u, log_det = self.transform.call_and_ladj(value.flatten(-len(self.event_shape)))
            log_prob: Tensor = self.base.log_prob(u.reshape(value.shape)) + log_det
        return log_prob

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.tempered_rsample(sample_shape, 1.0)

    def tempered_rsample(self, sample_shape: Sequence[int], temperature: float) -> Tensor:
        """Draws reparametrised samples; ``temperature`` scales the standard deviation of the base."""
        return self._pushed(rsample(self.base, sample_shape, temperature))

    @property
    def mean(self) -> Tensor:
        return self._fixed_draws().mean(0)

    @property
    def variance(self) -> Tensor:
        return self._fixed_draws().var(0)

    def _fixed_draws(self) -> Tensor:
        loc, scale = loc_and_scale(self.base)
        batch, dims = max(1, self.batch_shape.numel()), max(1, self.event_shape.numel())
        num = max(_MIN_MOMENT_DRAWS, min(_MOMENT_DRAWS, _MAX_MOMENT_NUMBERS // dims) // batch)
        generator = torch.Generator(loc.device).manual_seed(0)
        one = (num, *(1 for _ in self.batch_shape), *self.event_shape)
        eps = torch.randn(one, generator=generator, dtype=loc.dtype, device=loc.device)
        draws = loc + scale * eps
        at_once = max(1, _NUMBERS_AT_ONCE // (batch * dims))
        return torch.cat([self._pushed(some) for some in torch.split(draws, at_once)])

    def _pushed(self, u: Tensor) -> Tensor:
        with _in_full_precision(u):
            z: Tensor = self.transform.inv(u.flatten(-len(self.event_shape)))
        return z.reshape(u.shape)


def _in_full_precision(value: Tensor) -> torch.autocast:
    """Context manager in which the networks of a flow, on which densities depend, ignore autocast."""
    return torch.autocast(value.device.type, enabled=False)


class Flow(nn.Module):
    """f(z; c), coupling layers of zuko: the density and a sample cost one pass each.

    Args:
        features: D, the size of a flattened event.
        context_features: C, the width of c; 0 for none.
        transforms: number of layers; each changes the half that the layer before leaves unchanged.
        widths: hidden layers of the network in each of them.
        kind: "spline", monotonic rational-quadratic splines on [-5, 5] (Durkan et al. 2019, arXiv:1906.04032), or
            "affine", as RealNVP has them (Dinh et al. 2017, arXiv:1605.08803).

    Raises:
        ImportError: if zuko is not installed.
        ValueError: for no transform, a width below 1, or another kind.
    """

    compile_pays = False
    """Compiling takes 50 s and was not seen to make up for them."""

    def __init__(
        self,
        features: int,
        context_features: int = 0,
        transforms: int = 4,
        widths: Sequence[int] = (64, 64),
        kind: FlowKind = "spline",
    ) -> None:
        super().__init__()
        if transforms < 1:
            raise ValueError(f"transforms={transforms}: must be at least 1")
        if not all(width > 0 for width in widths):
            raise ValueError(f"widths={list(widths)}: every width must be at least 1")
        if kind not in ("spline", "affine"):
            raise ValueError(f"kind={kind}: choose spline or affine")
        flows = _zuko_flows()
        build = flows.NSF if kind == "spline" else flows.MAF
        flow = build(features, context_features, transforms=transforms, passes=2, hidden_features=tuple(widths))
        self.transform = flow.transform

    def forward(self, context: Tensor | None) -> Any:
        """Returns f for contexts (*batch_shape, C), a transform of zuko."""
        return self.transform(context)


def _zuko_flows() -> Any:
    """Imports zuko, which switches off torch's validation of distributions for the whole process, and undoes that."""
    validates = Distribution._validate_args
    try:
        from zuko import flows  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("a flow needs zuko; pip install 'vae-lab[flows]'") from error
    finally:
        Distribution.set_default_validate_args(validates)
    return flows


class FlowPrior(nn.Module):
    """p(z|c), a normalizing flow over N(0, I) (Rezende and Mohamed 2015, arXiv:1505.05770).

    Args:
        event_shape: shape of z.
        context_features: C, the width of the context; 0 for none.
        transforms, widths, kind: layers of the flow; see `Flow`.

    Raises:
        ImportError, ValueError: for the reasons of `Flow`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        context_features: int = 0,
        transforms: int = 4,
        widths: Sequence[int] = (64, 64),
        kind: FlowKind = "spline",
    ) -> None:
        super().__init__()
        self.base = StandardNormal(event_shape)
        self.flow = Flow(math.prod(event_shape), context_features, transforms, widths, kind)

    def forward(self, given: None = None, context: Tensor | None = None) -> Distribution:
        """Returns the distribution in the batch shape of the context."""
        return FlowDistribution(self.base(None, context), self.flow(context))


class FlowGaussian(Head):
    """A Gaussian bent by a flow: u ~ N(m, diag(s^2)), z = f^-1(u; h); m, s and h come from the network.

    As a posterior it is that of Kingma et al. 2016 (arXiv:1606.04934) with coupling layers, so that log q(z|x) is
    exact for any z.

    Args:
        event_shape: shape of z.
        transforms, widths, kind: layers of the flow; see `Flow`.
        features_per_dim: width of h, divided by the size of z.

    Raises:
        ImportError, ValueError: for the reasons of `Flow`.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        transforms: int = 2,
        widths: Sequence[int] = (64, 64),
        kind: FlowKind = "spline",
        features_per_dim: int = 2,
    ) -> None:
        super().__init__(event_shape)
        if features_per_dim < 1:
            raise ValueError(f"features_per_dim={features_per_dim}: must be at least 1")
        self.params_per_dim = 2 + features_per_dim
        size = math.prod(event_shape)
        self.gaussian = Gaussian(event_shape)
        self.flow = Flow(size, features_per_dim * size, transforms, widths, kind)

    def build(self, params: Sequence[Tensor]) -> Distribution:
        loc, log_variance, *features = params
        context = torch.stack(features, -1).flatten(-1 - len(self.event_shape))
        return FlowDistribution(self.gaussian.build((loc, log_variance)), self.flow(context))
