"""Categorical pixels: a free probability for each of the grey levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Distribution, Independent

from vae_lab.distributions.conditional import LevelsHead
from vae_lab.types import Support


class LevelsCategorical(Distribution):
    """A categorical distribution over the values {0, 1/(n-1), ..., 1}, n being the last dimension of ``logits``.

    Args:
        logits: (*batch_shape, n), unnormalised.
    """

    arg_constraints = {}

    def __init__(self, logits: Tensor) -> None:
        self.indices = TorchCategorical(logits=logits, validate_args=False)
        self.top = logits.shape[-1] - 1
        super().__init__(self.indices.batch_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        levels = torch.linspace(0, 1, self.top + 1, dtype=self.indices.probs.dtype, device=self.indices.probs.device)
        return self.indices.probs @ levels

    def log_prob(self, value: Tensor) -> Tensor:
        log_prob: Tensor = self.indices.log_prob((value * self.top).round().long())  # type: ignore[no-untyped-call]
        return log_prob

    def sample(self, sample_shape: torch.Size | Sequence[int] = ()) -> Tensor:
        indices: Tensor = self.indices.sample(torch.Size(sample_shape))  # type: ignore[no-untyped-call]
        return indices.to(self.indices.probs.dtype) / self.top


class Categorical(LevelsHead):
    """Independent categorical pixels over ``levels`` grey levels. Raw output: the logits of each level.

    Args:
        event_shape: shape of one example.
        levels: number of values of a pixel; 256 for 8-bit images.

    Raises:
        ValueError: for fewer than two levels.
    """

    exact_on: frozenset[Support] = frozenset({"uint8", "binary"})

    def __init__(self, event_shape: Sequence[int], levels: int = 256) -> None:
        super().__init__(event_shape, levels)
        self.params_per_dim = levels

    def build(self, params: Sequence[Tensor]) -> Distribution:
        categorical = LevelsCategorical(torch.stack(tuple(params), dim=-1))
        return Independent(categorical, len(self.event_shape), validate_args=False)
