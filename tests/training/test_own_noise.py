"""No two processes draw the same noise, even if a distribution draws by torch; a network that does so is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace

from tests.training.own_posterior import LaplacePosterior
from vae_lab import noise
from vae_lab.distributions import Bernoulli
from vae_lab.distributions.gaussian import rsample
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.training.own_noise import draws_own_noise, warn_of_own_noise
from vae_lab.types import DataSpec, Shard

SPEC = DataSpec((1, 3, 3), support="binary")


class Noisy(nn.Module):
    """A network whose output is random."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> Tensor:
        out: Tensor = self.network(*given)
        return out + torch.randn_like(out)


def vae(**options: object) -> VAE:
    return VAE(SPEC, 2, MlpArchitecture([4]), Bernoulli, **options)


def test_only_a_network_with_noise_of_its_own_is_named() -> None:
    usual, own, noisy = vae(), vae(posterior=LaplacePosterior), vae()
    hierarchy = MHVAE(SPEC, [3, 2], MlpArchitecture([4]), MlpArchitecture([4]), Bernoulli)
    encoder = noisy.posterior.chain.links[0]
    encoder.net = Noisy(encoder.net)
    before = torch.get_rng_state()
    assert [draws_own_noise(model) for model in (usual, hierarchy, own, noisy)] == [False, False, False, True]
    assert torch.equal(torch.get_rng_state(), before)
    warn_of_own_noise(noisy, 1)
    warn_of_own_noise(own, 2)
    with pytest.warns(
        UserWarning, match=r"^VAE: draws random numbers by torch itself, which are the same in all 2 proc"
    ):
        warn_of_own_noise(noisy, 2)


def draws(rank: int, world: int) -> tuple[Tensor, Tensor]:
    """Noise of a Laplace distribution in a process, and the lab's next noise for the whole batch."""
    torch.manual_seed(0)
    laplace = Independent(Laplace(torch.zeros(3, 2), torch.ones(3, 2)), 1)
    with noise.sharded(Shard(rank, world, 3 * world) if world > 1 else None):
        own = rsample(laplace, (4,))
    return own, noise.normal((6, 2), like=own)


def test_each_process_draws_its_own_and_goes_on_as_the_others() -> None:
    (first, after_first), (second, after_second) = draws(0, 2), draws(1, 2)
    assert not torch.isclose(first, second).any()
    assert torch.equal(after_first, after_second)
    assert all(torch.equal(one, other) for one, other in zip(draws(1, 2), (second, after_second), strict=True))


def test_one_process_draws_as_torch_does() -> None:
    own, _ = draws(0, 1)
    torch.manual_seed(0)
    assert torch.equal(own, Laplace(torch.zeros(3, 2), torch.ones(3, 2)).rsample(torch.Size([4])))
