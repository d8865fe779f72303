"""Bernoulli data: black-and-white pixels, or grey ones as the classical tutorials treat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent

from vae_lab.distributions.conditional import Head
from vae_lab.types import Support


class _LogProb(torch.autograd.Function):
    """x l - log(1 + e^l) as (x - 1/2) l - |l| / 2 + log sigmoid(|l|), computed in place unless it is compiled.

    PyTorch's softplus and binary cross-entropy would take half of the time of decoding: they use log1p, which is not
    vectorised on CPUs and three times as slow. The rounding error is the same. `torch.compile` joins the operations
    itself; PyTorch 2.11 would give a compiled function with operations in place the gradient 0.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        size = logits.abs()
        if torch.compiler.is_compiling():
            return (x - 0.5) * logits - 0.5 * size + size.sigmoid().log()
        return ((x - 0.5) * logits).sub_(size, alpha=0.5).add_(size.sigmoid_().log_())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        logits, x = ctx.saved_tensors
        to_x = (grads[0] * logits).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None
        return (grads[0] * (x - logits.sigmoid())).sum_to_size(logits.shape), to_x


class _Logits(TorchBernoulli):
    """Bernoulli variables given by their logits, with a faster density over [0, 1]."""

    def log_prob(self, value: Tensor) -> Tensor:
        log_prob: Tensor = _LogProb.apply(self.logits, value.to(self.logits.dtype))
        return log_prob


class Bernoulli(Head):
    """Independent Bernoulli pixels. Raw output: the logits.

    log p(x) = sum_i x_i l_i - softplus(l_i). Grey values in [0, 1] are accepted, as in the classical tutorials; the
    result is then not a density (Loaiza-Ganem and Cunningham 2019, arXiv:1907.06845).
    """

    discrete: ClassVar[bool] = True
    exact_on: frozenset[Support] = frozenset({"binary"})
    tolerates: ClassVar[frozenset[Support]] = frozenset({"unit", "uint8"})

    def raw_of_mean(self, mean: Tensor) -> Tensor:
        """Returns the log-odds of the mean, clamped to [0.001, 0.999] as in Burda et al. (2016), (1, *event_shape)."""
        return torch.logit(mean.clamp(0.001, 0.999))[None]

    def build(self, params: Sequence[Tensor]) -> Distribution:
        bernoulli = _Logits(logits=params[0], validate_args=False)
        return Independent(bernoulli, len(self.event_shape), validate_args=False)
