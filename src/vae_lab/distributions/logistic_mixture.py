"""A mixture of discretized logistics for each pixel, whose channels depend on one another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import log_softmax

from vae_lab import noise
from vae_lab.distributions.conditional import LevelsHead
from vae_lab.distributions.discretized_logistic import LevelsLogistic


class _PixelMixture(Distribution):
    """p(pixel) = sum_m w_m prod_c P(x_c | x_1, ..., x_{c-1}), independent over places (Salimans et al. 2017).

    P is a `LevelsLogistic` with the location loc_c + sum_{d<c} coefficient_{cd} (x_d - 1/2): the second and third
    channel of a colour follow the ones before.

    Args:
        logits: (*batch, M, height, width).
        loc, scale: (*batch, M, channels, height, width), in the units of the data, [0, 1].
        coefficients: (*batch, M, channels, channels, height, width); only entries with d < c count.
        levels: number of values of a pixel.
    """

    arg_constraints = {}

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, coefficients: Tensor, levels: int) -> None:
        self.logits, self.loc, self.scale, self.coefficients = logits, loc, scale, coefficients
        self.levels = levels
        super().__init__(loc.shape[:-4], loc.shape[-3:], validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        given = value.unsqueeze(-4)
        terms = [self._channel(c, given).log_prob(given[..., c, :, :]) for c in range(self.loc.shape[-3])]
        pixels = torch.logsumexp(log_softmax(self.logits, -3) + torch.stack(terms).sum(0), -3)
        return pixels.sum((-2, -1))

    @property
    def mean(self) -> Tensor:
        """Mean of each channel, given the means of the channels before it."""
        shown = torch.zeros_like(self.loc)
        for c in range(self.loc.shape[-3]):
            shown[..., c, :, :] = self._channel(c, shown).mean
        return (self.logits.softmax(-3).unsqueeze(-3) * shown).sum(-4)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        below = self.logits.softmax(-3).cumsum(-3)[..., :-1, :, :]
        u = noise.uniform((*shape, 1, *self.event_shape[1:]), like=self.logits)
        chosen = (u >= below).sum(-3, keepdim=True).unsqueeze(-3)  # (*shape, 1, 1, height, width)
        picked = [
            each.expand(*shape, *each.shape[len(self.batch_shape) :]).gather(
                -4, chosen.expand(*shape, 1, *each.shape[-3:])
            )
            for each in (self.loc, self.scale)
        ]
        coefficients = self.coefficients.expand(*shape, *self.coefficients.shape[len(self.batch_shape) :])
        picked.append(coefficients.gather(-5, chosen.unsqueeze(-3).expand(*shape, 1, *coefficients.shape[-4:])))
        loc, scale, pairs = picked
        one = _PixelMixture(torch.zeros_like(loc[..., 0, :, :]), loc, scale, pairs, self.levels)
        value = torch.zeros(*shape, 1, *self.event_shape, dtype=self.loc.dtype, device=self.loc.device)
        for c in range(self.event_shape[0]):
            value[..., c, :, :] = one._channel(c, value).sample()
        return value.squeeze(-4)

    def _channel(self, c: int, given: Tensor) -> LevelsLogistic:
        """Returns the distribution of channel c given the channels before it, (..., M, channels, height, width)."""
        loc = self.loc[..., c, :, :]
        for d in range(c):
            loc = loc + self.coefficients[..., c, d, :, :] * (given[..., d, :, :] - 0.5)
        return LevelsLogistic(loc, self.scale[..., c, :, :], self.levels)


class LogisticMixture(LevelsHead):
    """Mixture of discretized logistics for each pixel (Salimans et al. 2017, arXiv:1701.05517).

    Raw output of each place: the M weights, M locations (0 is mid-grey) and M log-scales of each channel, and M
    coefficients of each pair of channels. With one component and coefficients of 0 it is `DiscretizedLogistic`.

    Args:
        event_shape: (channels, height, width).
        num_components: number of components, M.
        levels: number of values of a pixel; 256 for 8-bit pictures.

    Raises:
        ValueError: for data that are not pictures, fewer than one component, or fewer than two levels.
    """

    def __init__(self, event_shape: Sequence[int], num_components: int = 10, levels: int = 256) -> None:
        super().__init__(event_shape, levels)
        if len(self.event_shape) != 3:
            raise ValueError(f"LogisticMixture: needs pictures, not examples of shape {self.event_shape}")
        if num_components < 1:
            raise ValueError(f"num_components={num_components}: must be at least 1")
        self.num_components = num_components
        channels = self.event_shape[0]
        self.params_per_dim = num_components * (1 + 2 * channels + channels * (channels - 1) // 2)

    @property
    def param_shape(self) -> tuple[int, ...]:
        """Shape that the network must output for one event: (parameters of a place, 1, height, width)."""
        return (self.params_per_dim, 1, *self.event_shape[1:])

    def raw_of_mean(self, mean: Tensor) -> Tensor:
        raw = mean.new_zeros(self.param_shape)
        first = self.num_components
        raw[first : first + first * len(mean), 0] = (mean - 0.5).repeat(first, 1, 1)
        return raw

    def build(self, params: Sequence[Tensor]) -> Distribution:
        num, (channels, height, width) = self.num_components, self.event_shape
        raw = torch.cat(list(params), dim=-3)  # (..., parameters, height, width)
        of_component = (*raw.shape[:-3], num, -1, height, width)
        first, second, third = num, num + num * channels, num + 2 * num * channels
        loc = raw[..., first:second, :, :].reshape(of_component)
        log_scale = raw[..., second:third, :, :].reshape(of_component)
        coefficients = raw.new_zeros(*raw.shape[:-3], num, channels, channels, height, width)
        if channels > 1:
            row, column = torch.tril_indices(channels, channels, -1)
            coefficients[..., row, column, :, :] = raw[..., third:, :, :].reshape(of_component).tanh()
        scale = 0.1 * log_scale.clamp(-7.0, 5.0).exp()  # as `DiscretizedLogistic`
        return _PixelMixture(raw[..., :first, :, :], loc + 0.5, scale, coefficients, self.levels)
