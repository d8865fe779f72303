"""Distributions over the entries of a codebook: one number k in 0, ..., K-1 at each place of a grid.

Numbers of entries are floats, like the codes of any other level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab import noise


class UniformCodes(Distribution):
    """p(k) = 1/K at each place, independently: log p = -places log K for all codes.

    Args:
        num_codes: K.
        like: float tensor of shape (*batch_shape, *event_shape), for shape, dtype and device.
        event_dims: number of dimensions of an event.
    """

    arg_constraints = {}
    has_rsample = True

    def __init__(self, num_codes: int, like: Tensor, event_dims: int) -> None:
        self.num_codes, self.like = num_codes, like
        batch_dims = like.dim() - event_dims
        super().__init__(like.shape[:batch_dims], like.shape[batch_dims:], validate_args=False)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws codes; a draw has no derivative."""
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        uniform = noise.uniform(shape, self.like, max(0, len(shape) - len(self.event_shape) - 1))
        return (uniform * self.num_codes).floor().clamp(max=self.num_codes - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        places = self.event_shape.numel()
        return value.new_full(value.shape[: value.dim() - len(self.event_shape)], -places * math.log(self.num_codes))


class CertainCodes(Distribution):
    """All mass on one code at each place, the result of a quantiser.

    Args:
        codes: numbers of entries, (*batch_shape, *event_shape).
        encoded: vectors before they were quantised, (*batch_shape, D, *event_shape).
        entries: entries of the codebook that stand for them, of the same shape.
        event_dims: number of dimensions of an event.
    """

    arg_constraints = {}

    def __init__(self, codes: Tensor, encoded: Tensor, entries: Tensor, event_dims: int) -> None:
        self.codes, self.encoded, self.entries = codes, encoded, entries
        batch_dims = codes.dim() - event_dims
        super().__init__(codes.shape[:batch_dims], codes.shape[batch_dims:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.codes

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns 0 for the codes themselves, minus infinity for any others."""
        same = (value == self.codes).flatten(value.dim() - len(self.event_shape)).all(-1)
        return torch.where(same, 0.0, -math.inf).to(value.dtype)


class CodePrior(nn.Module):
    """p(k) = 1/K at each place, independent of the context: the prior of a VQ-VAE while it trains.

    Args:
        num_codes: K.
        event_shape: shape of the grid of codes.
    """

    def __init__(self, num_codes: int, event_shape: Sequence[int]) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(tuple(event_shape)), persistent=False)

    def forward(self, given: None = None, context: Tensor | None = None) -> Distribution:
        """Returns the distribution in the batch shape of the context."""
        batch_shape = () if context is None else context.shape[:-1]
        like = self.zero.float().expand(*batch_shape, *self.zero.shape)
        return UniformCodes(self.num_codes, like, self.zero.dim())
