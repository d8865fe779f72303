from __future__ import annotations

import math

import pytest
import torch
from linear_gaussian import random_model
from torch import Tensor

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.distributions import Bernoulli
from vae_lab.distributions.gaussian import diagonal_gaussian
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import Elbo, FactorVae
from vae_lab.objectives.factor_vae import shuffled
from vae_lab.types import DataSpec, Shard


def terms_at(z: Tensor) -> ElboTerms:
    """Terms of a posterior that is the prior, at given samples (K, B, D)."""
    p = diagonal_gaussian(torch.zeros_like(z[0]), torch.ones_like(z[0]), 1)
    return ElboTerms(torch.zeros(z.shape[:2], dtype=z.dtype), (LatentLevel(z, p, p, analytic_kl=True),))


def correlated(num: int, correlation: float) -> Tensor:
    """Draws of a Gaussian in three dimensions, two of them correlated, (1, num, 3)."""
    z = torch.randn(1, num, 3)
    z[..., 1] = correlation * z[..., 0] + math.sqrt(1 - correlation**2) * z[..., 1]
    return z


def test_a_trained_discriminator_measures_the_total_correlation_of_a_gaussian() -> None:
    torch.manual_seed(0)
    objective = FactorVae(3, widths=(64, 64))
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        objective(terms_at(correlated(512, 0.8)), 0).value.backward()
        optimizer.step()
    with torch.no_grad():
        logs = objective(terms_at(correlated(20_000, 0.8)), 0).logs
    assert logs["tc"].item() == pytest.approx(-math.log(1 - 0.8**2) / 2, abs=0.06)  # 0.511 nats
    assert 0.55 < logs["discriminator_accuracy"].item() < 0.9


def test_the_loss_is_the_elbo_plus_gamma_tc_and_the_two_gradients_stay_apart() -> None:
    numbers = random_model(seed=0)
    model, batch = numbers.model(), numbers.data(8)
    size = model(*batch).levels[0].z.shape[-1]
    for gamma in (0.0, 7.0):
        objective = FactorVae(size, gamma, widths=(5,)).double()
        torch.manual_seed(1)
        terms = model(*batch, 2)
        value, logs = objective(terms, 0)
        expected = Elbo()(terms, 0).value + gamma * logs["tc"] + logs["discriminator_loss"]
        assert torch.allclose(value, expected, atol=1e-12)
        parameters = list(objective.parameters())
        of_all = torch.autograd.grad(value, parameters, retain_graph=True)
        of_encoder = torch.autograd.grad(value, terms.levels[0].z, retain_graph=True)[0]
        bound = Elbo()(terms, 0).value
        of_bound = torch.autograd.grad(bound, terms.levels[0].z, retain_graph=True)[0]
        logits = objective.discriminator(terms.levels[0].z)
        of_tc = torch.autograd.grad(logits.mean(), terms.levels[0].z, retain_graph=True)[0]
        assert torch.allclose(of_encoder, of_bound + gamma * of_tc, atol=1e-12)
        torch.manual_seed(1)
        model(*batch, 2)  # the same random numbers as above
        z = terms.levels[0].z.detach()
        joint, product = objective.discriminator(z), objective.discriminator(shuffled(z))
        cross_entropy = (-joint.sigmoid().log() - (1 - product.sigmoid()).log()).mean() / 2
        for got, wanted in zip(of_all, torch.autograd.grad(cross_entropy, parameters), strict=True):
            assert torch.allclose(got, wanted, atol=1e-12)


def test_shuffling_keeps_each_dimension_and_breaks_the_pairs() -> None:
    torch.manual_seed(0)
    z = correlated(2_000, 0.9)
    mixed = shuffled(z)
    assert torch.equal(mixed.sort(1).values, z.sort(1).values)
    assert abs(torch.corrcoef(mixed[0].T)[0, 1].item()) < 0.1


def test_two_processes_shuffle_as_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    z = correlated(10, 0.9)
    noise.seed(1)
    alone = shuffled(z)
    noise.seed(1)
    drawn = noise.uniform(z.shape, z, 1)
    rows = []
    for rank in range(2):
        shard = Shard(rank, 2, 10)
        whole = iter((drawn, z))  # what the two processes would gather
        monkeypatch.setattr("vae_lab.objectives.factor_vae.whole_batch", lambda own, dim, whole=whole: next(whole))
        noise.seed(1)
        with noise.sharded(shard):
            rows.append(shuffled(z[:, shard.rows]))
    assert torch.equal(torch.stack(rows, 2).flatten(1, 2), alone)


def test_its_parameters_are_a_group_of_their_own() -> None:
    model = VAE(DataSpec((1, 4, 4), support="binary"), 3, MlpArchitecture([8]), Bernoulli)
    groups = FactorVae(3, widths=(5,)).parameter_groups(model)
    assert [len(group["params"]) for group in groups] == [len(list(model.parameters())), 4]
    assert (groups[1]["lr"], groups[1]["betas"]) == (1e-4, (0.5, 0.9))
    assert "betas" not in FactorVae(3, betas=None).parameter_groups(model)[1]


def test_models_and_numbers_that_do_not_fit_are_refused_before_training() -> None:
    spec, net = DataSpec((1, 4, 4), support="binary"), MlpArchitecture([8])
    with pytest.raises(ValueError, match="latent_dim=4: the codes of this model have 3 dimensions"):
        FactorVae(4).check(VAE(spec, 3, net, Bernoulli))
    with pytest.raises(ValueError, match="needs a model of one level"):
        FactorVae(3).check(MHVAE(spec, [4, 3], net, net, Bernoulli))
    for options in (
        {"gamma": -1.0},
        {"gamma": math.inf},
        {"lr": 0.0},
        {"widths": (0,)},
        {"betas": [0.5]},
        {"betas": [0.5, 1.0]},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            FactorVae(3, **options)


def test_the_check_uses_up_no_random_numbers() -> None:
    model = VAE(DataSpec((1, 4, 4), support="binary"), 3, MlpArchitecture([8], batch_norm=True), Bernoulli)
    objective, before = FactorVae(3, widths=(5,)), torch.get_rng_state()
    averages = [buffer.clone() for buffer in model.buffers()]
    objective.check(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(map(torch.equal, model.buffers(), averages))


def test_the_total_correlation_is_a_number_of_float32_under_autocast() -> None:
    """In 16 bits the loss, of which it is 35 times a part, would move in steps of tenths of a nat."""
    torch.manual_seed(0)
    terms, objective = terms_at(correlated(64, 0.8)), FactorVae(3, widths=(32,))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(terms, 0)
    assert all(torch.as_tensor(number).dtype == torch.float32 for number in (loss.value, *loss.logs.values()))
    assert any(number.bfloat16() != number for number in (loss.logs["tc"], loss.logs["discriminator_loss"]))
