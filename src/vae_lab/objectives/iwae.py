"""The importance-weighted bound."""

from __future__ import annotations

from vae_lab.core import ElboTerms
from vae_lab.objectives.base import Loss, Objective, Scheduled


class Iwae(Objective):
    """-log (1/K) sum_k w_k (Burda, Grosse and Salakhutdinov 2016, arXiv:1509.00519), tighter with every sample.

    Args:
        num_samples: K, number of importance samples.
    """

    def __init__(self, num_samples: int = 5) -> None:
        super().__init__(num_samples)

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        return Loss(-terms.importance_weighted_bound.mean())
