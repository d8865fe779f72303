"""Bernoulli pixels: the exact likelihood of binarized images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent

from vae_lab.distributions.conditional import Head
from vae_lab.types import Support


class Bernoulli(Head):
    """Independent Bernoulli pixels. Raw output: the logits.

    log p(x) = sum_i x_i l_i - softplus(l_i). Grey values in [0, 1] are accepted as the classical tutorials do; the
    result is then no density (Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845).
    """

    discrete: ClassVar[bool] = True
    exact_on: ClassVar[frozenset[Support]] = frozenset({"binary"})
    tolerates: ClassVar[frozenset[Support]] = frozenset({"unit", "uint8"})

    def build(self, params: Sequence[Tensor]) -> Distribution:
        bernoulli = TorchBernoulli(logits=params[0], validate_args=False)
        return Independent(bernoulli, len(self.event_shape), validate_args=False)
