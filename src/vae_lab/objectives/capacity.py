"""A KL that is held at a rising capacity."""

from __future__ import annotations

import math

from vae_lab.core import ElboTerms
from vae_lab.objectives.base import Loss, Objective, Scheduled
from vae_lab.objectives.schedules import Linear
from vae_lab.objectives.whole_batch import whole_batch


class Capacity(Objective):
    """-E[log p(x|z)] + gamma |KL - C(step)| (Burgess et al. 2018, arXiv:1804.03599, eq. 8).

    The KL is summed over levels and averaged over the batch; C rises linearly from 0.

    Args:
        gamma: weight of the distance.
        capacity: final value of C, in nats per example.
        steps: optimizer steps until C has its final value; the paper uses 100,000, for dSprites.
        num_samples: K, samples that are averaged.

    Raises:
        ValueError: for a negative or non-finite gamma or capacity, or fewer than 1 step.
    """

    log_names = ("capacity",)

    def __init__(
        self, gamma: float = 1000.0, capacity: float = 25.0, steps: int = 10_000, num_samples: int = 1
    ) -> None:
        super().__init__(num_samples)
        for name, number in (("gamma", gamma), ("capacity", capacity)):
            if not 0 <= number < math.inf:
                raise ValueError(f"{name}={number}: must be a finite number, 0 or more")
        self.gamma = gamma
        self.capacity = capacity
        self.rise = Linear(steps)

    def scheduled(self, step: int) -> dict[str, float]:
        """Returns C(step), in nats."""
        return {"capacity": self.capacity * self.rise(step)}

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        kl = whole_batch(terms.kl, 1).mean((0, 1)).sum()
        capacity = scheduled["capacity"]
        return Loss(self.gamma * (kl - capacity).abs() - terms.log_likelihood.mean(), {"capacity": capacity})
