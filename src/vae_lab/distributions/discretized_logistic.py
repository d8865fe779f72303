"""Discretized logistic pixels: a bell over the grey levels, with two numbers per pixel instead of 256."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.nn.functional import logsigmoid

from vae_lab import noise
from vae_lab.distributions.conditional import LevelsHead

_LEVELS_AT_ONCE = 16
"""Levels of which a mean is summed up at once."""


class LevelsLogistic(Distribution):
    """A logistic variable rounded to the values {0, 1/(n-1), ..., 1}; the outermost values take the tails.

    P(k) = sigmoid(b_k) - sigmoid(a_k) with a, b = (v_k -+ half a spacing - loc) / scale
    (Kingma et al. 2016, arXiv:1606.04934, appendix; Salimans et al. 2017, arXiv:1701.05517).

    Args:
        loc, scale: (*batch_shape), in the units of the data, [0, 1].
        levels: number of values, n.
    """

    arg_constraints = {}

    def __init__(self, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.loc, self.scale, self.levels = loc, scale, levels
        super().__init__(loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        # E[v] = sum_k P(v >= v_k) / (n - 1), some levels at once: each of all would need the memory of n images.
        top = self.levels - 1
        bounds = (torch.arange(1, self.levels, dtype=self.loc.dtype, device=self.loc.device) - 0.5) / top
        bounds = bounds.reshape(-1, *(1 for _ in self.loc.shape))
        total = torch.zeros_like(self.loc)
        for some in torch.split(bounds, _LEVELS_AT_ONCE):
            total = total + torch.sigmoid((self.loc - some) / self.scale).sum(0)
        return total / top

    def log_prob(self, value: Tensor) -> Tensor:
        half = 0.5 / (self.levels - 1)
        upper = (value - self.loc + half) / self.scale
        lower = (value - self.loc - half) / self.scale
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)): exact in the far tails, where the
        # difference of two sigmoids would be 0.
        below = torch.where(value > 1 - half, 0.0, logsigmoid(upper))
        above = torch.where(value < half, 0.0, logsigmoid(-lower))
        inside = torch.log(-torch.expm1(-2 * half / self.scale))
        return below + above + torch.where((value < half) | (value > 1 - half), 0.0, inside)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        u = noise.uniform(shape, like=self.loc).clamp(1e-6, 1 - 1e-6)
        top = self.levels - 1
        return ((self.loc + self.scale * torch.logit(u)) * top).round().clamp(0, top) / top


class DiscretizedLogistic(LevelsHead):
    """Independent discretized logistic pixels. Raw output: location (0 is mid-grey) and log-scale.

    Args:
        event_shape: shape of one example.
        levels: number of values of a pixel; 256 for 8-bit images.

    Raises:
        ValueError: for fewer than two levels.
    """

    params_per_dim = 2

    def __init__(self, event_shape: Sequence[int], levels: int = 256) -> None:
        super().__init__(event_shape, levels)

    def raw_of_mean(self, mean: Tensor) -> Tensor:
        return torch.stack([mean - 0.5, torch.zeros_like(mean)])

    def build(self, params: Sequence[Tensor]) -> Distribution:
        loc, log_scale = params
        # A raw log-scale of 0 means a tenth of the range, a sensible start; at exp(-7) one level holds all the mass.
        scale = 0.1 * log_scale.clamp(-7.0, 5.0).exp()
        return Independent(LevelsLogistic(loc + 0.5, scale, self.levels), len(self.event_shape), validate_args=False)
