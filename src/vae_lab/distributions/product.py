"""Likelihoods of tables whose columns are of several kinds: numbers and categories."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, OneHotCategorical

from vae_lab.distributions.conditional import Head
from vae_lab.types import Support


class Product(Distribution):
    """Independent parts of one vector, side by side: log p(x) = sum_i log p_i(x_i).

    Args:
        parts: distributions over vectors, of the same batch shape.
    """

    arg_constraints = {}

    def __init__(self, parts: Sequence[Distribution]) -> None:
        self.parts = tuple(parts)
        self.sizes = [part.event_shape[-1] for part in parts]
        super().__init__(parts[0].batch_shape, torch.Size([sum(self.sizes)]), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.cat([part.mean for part in self.parts], dim=-1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([part.variance for part in self.parts], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        log_probs = [
            part.log_prob(x) for part, x in zip(self.parts, torch.split(value, self.sizes, dim=-1), strict=True)
        ]
        return torch.stack(log_probs).sum(0)

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        return torch.cat([part.sample(torch.Size(sample_shape)) for part in self.parts], dim=-1)


class ByColumn(Head):
    """Numbers under a head of their own, then categories as one-hot rows of one categorical distribution each.

    Raw output of a category: its logits.

    Args:
        numbers: head over the first columns; None: there are categories alone.
        categories: number of values of each categorical column, which has as many columns of an event.
    """

    def __init__(self, numbers: Head | None, categories: Sequence[int]) -> None:
        self.sizes = [0 if numbers is None else numbers.event_shape[0], *categories]
        super().__init__((sum(self.sizes),))
        self.numbers = numbers
        self.params_per_dim = 1 if numbers is None else numbers.params_per_dim

    def build(self, params: Sequence[Tensor]) -> Distribution:
        of_numbers, *logits = torch.split(params[0], self.sizes, dim=-1)
        parts: list[Distribution] = [OneHotCategorical(logits=each, validate_args=False) for each in logits]
        if self.numbers is not None:
            rest = [param[..., : self.sizes[0]] for param in params[1:]]
            parts.insert(0, self.numbers.build([of_numbers, *rest]))
        return Product(parts)

    def raw_of_mean(self, mean: Tensor) -> Tensor:
        of_numbers, shares = mean[: self.sizes[0]], mean[self.sizes[0] :]
        raw = mean.new_zeros(self.param_shape)
        raw[0, self.sizes[0] :] = shares.clamp(min=1e-6).log()
        if self.numbers is not None:
            raw[:, : self.sizes[0]] = self.numbers.raw_of_mean(of_numbers)
        return raw

    def check_support(self, support: Support) -> None:
        if self.numbers is not None:
            self.numbers.check_support(support)

    def bits_per_dim(self, nats: float, support: Support) -> float | None:
        """Returns None, because the sum of a density and a mass has no unit."""
        return None
