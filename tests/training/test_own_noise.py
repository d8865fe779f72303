"""A model that draws random numbers past the lab's own would draw the same in every process: it is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace

from vae_lab.distributions import Bernoulli, Gaussian
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.training.own_noise import draws_own_noise, warn_of_own_noise
from vae_lab.types import DataSpec

SPEC = DataSpec((1, 3, 3), support="binary")


class Own(Gaussian):
    """A posterior of one's own, whose distribution draws by torch."""

    def forward(self, params: Tensor) -> Distribution:
        normal = super().forward(params).base_dist
        return Independent(Laplace(normal.loc, normal.scale), 1)


def vae(**options: object) -> VAE:
    return VAE(SPEC, 2, MlpArchitecture([4]), Bernoulli, **options)


def test_only_a_model_with_its_own_noise_is_named() -> None:
    own, usual = vae(posterior=Own), vae()
    hierarchy = MHVAE(SPEC, [3, 2], MlpArchitecture([4]), MlpArchitecture([4]), Bernoulli)
    before = torch.get_rng_state()
    assert draws_own_noise(own)
    assert not draws_own_noise(usual)
    assert not draws_own_noise(hierarchy)
    assert torch.equal(torch.get_rng_state(), before)
    warn_of_own_noise(own, 1)
    warn_of_own_noise(usual, 2)
    with pytest.warns(
        UserWarning, match=r"^VAE: draws random numbers by torch itself, which are the same in all 2 proc"
    ):
        warn_of_own_noise(own, 2)
