"""The evidence lower bound, with the usual weights of its KL term."""

from __future__ import annotations

import math

from vae_lab.core import ElboTerms
from vae_lab.objectives.base import Loss, Objective, Scheduled
from vae_lab.objectives.schedules import Constant, Schedule
from vae_lab.objectives.whole_batch import whole_batch


class Elbo(Objective):
    """-E[log p(x|z)] + beta * warmup(step) * sum_l max(free_bits, KL_l).

    With the defaults this is the negative ELBO. KL_l is the level's KL averaged over the batch; the floor is taken
    before beta scales it.

    Args:
        beta: weight of the KL (Higgins et al. 2017, beta-VAE).
        warmup: factor of beta by global step (Soenderby et al. 2016, arXiv:1602.02282).
        free_bits: nats of each level that are not penalised (Kingma et al. 2016, arXiv:1606.04934, eq. 14); 0 for none.
        num_samples: K, samples that are averaged.

    Raises:
        ValueError: for a negative or non-finite beta or free_bits.
    """

    log_names = ("beta",)

    def __init__(
        self, beta: float = 1.0, warmup: Schedule | None = None, free_bits: float = 0.0, num_samples: int = 1
    ) -> None:
        super().__init__(num_samples)
        for name, number in (("beta", beta), ("free_bits", free_bits)):
            if not 0 <= number < math.inf:
                raise ValueError(f"{name}={number}: must be a finite number, 0 or more")
        self.beta = beta
        self.warmup = warmup or Constant()
        self.free_bits = free_bits

    def plan(self, steps: float) -> float | None:
        return self.warmup.plan(steps)

    def scheduled(self, step: int) -> dict[str, float]:
        return {"beta": self.beta * self.warmup(step)}

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        if self.free_bits:
            kl = whole_batch(terms.kl, 1).mean((0, 1)).clamp(min=self.free_bits)  # (L,)
        else:
            kl = terms.kl.mean((0, 1))  # (L,)
        beta = scheduled["beta"]
        return Loss(beta * kl.sum() - terms.log_likelihood.mean(), {"beta": beta})
