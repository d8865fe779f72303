"""The bound of a VQ-VAE, with the terms that train its codebook."""

from __future__ import annotations

import math

from vae_lab.core import ElboTerms, LatentVariableModel
from vae_lab.distributions.codes import CertainCodes
from vae_lab.objectives.base import Loss, Objective, Scheduled, example_terms


class VectorQuantisation(Objective):
    """-ELBO + |sg(e) - z|^2 beta + |e - sg(z)|^2 (van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937, eq. 3).

    z is the output of the encoder, e the entry of the codebook nearest to it, sg a stopped gradient; the squares are
    summed over places and dimensions. The KL is constant, so that the bound itself trains only the autoencoder.

    Args:
        commitment: beta, the weight of the distance that trains the encoder.

    Raises:
        ValueError: for a commitment that is negative or not finite; in `check`, for a model without a codebook.
    """

    trains_codebook = True
    log_names = ("codebook_distance",)

    def __init__(self, commitment: float = 0.25, num_samples: int = 1) -> None:
        super().__init__(num_samples)
        if not 0 <= commitment < math.inf:
            raise ValueError(f"commitment={commitment}: must be a finite number, 0 or more")
        self.commitment = commitment

    def check(self, model: LatentVariableModel) -> None:
        super().check(model)
        terms = example_terms(model)
        if terms is not None and not isinstance(terms.levels[0].q, CertainCodes):
            raise ValueError("objective VectorQuantisation needs a model with a codebook, VqVae")

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        q = terms.levels[0].q
        assert isinstance(q, CertainCodes)
        to_entries = (q.entries - q.encoded.detach()).square().flatten(1).sum(1).mean()
        to_encoder = (q.encoded - q.entries.detach()).square().flatten(1).sum(1).mean()
        value = -terms.elbo.mean() + to_entries + self.commitment * to_encoder
        return Loss(value, {"codebook_distance": to_entries.detach()})
