from __future__ import annotations

import math

import pytest
import torch
from linear_gaussian import random_model
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.distributions.gaussian import diagonal_gaussian
from vae_lab.objectives import BetaTcvae, Elbo
from vae_lab.objectives.beta_tcvae import aggregated_log_prob


def terms_of(loc: Tensor, scale: Tensor, num_samples: int = 1) -> ElboTerms:
    """Terms of posteriors N(loc, scale^2), (B, D), against N(0, I), with a log-likelihood of 0."""
    q = diagonal_gaussian(loc, scale, 1)
    p = diagonal_gaussian(torch.zeros_like(loc[0]), torch.ones_like(loc[0]), 1)
    z = q.rsample((num_samples,))
    return ElboTerms(torch.zeros(z.shape[:2], dtype=z.dtype), (LatentLevel(z, q, p, analytic_kl=True),))


def random_terms(num_samples: int = 3) -> ElboTerms:
    torch.manual_seed(0)
    return terms_of(torch.randn(6, 4).double(), 0.2 + torch.rand(6, 4).double(), num_samples)


def test_the_parts_sum_to_the_log_ratio_at_the_samples() -> None:
    numbers = random_model(1, classes=3)
    terms = numbers.model(widen=[2.0])(*numbers.data(6), 4)
    logs = BetaTcvae()(terms, 0).logs
    assert set(logs) == {"mutual_information", "tc", "dimensionwise_kl"}
    assert torch.allclose(sum(logs.values()), terms.levels[0].log_ratio.mean(), atol=1e-12)


def test_the_aggregated_posterior_is_the_mixture_of_the_batch() -> None:
    (level,) = random_terms().levels
    joint, product = aggregated_log_prob(level)
    loc, scale = level.q.base_dist.loc, level.q.base_dist.scale
    uniform = Categorical(torch.ones(6).double())
    assert torch.allclose(joint, MixtureSameFamily(uniform, Independent(Normal(loc, scale), 1)).log_prob(level.z))
    uniform = Categorical(torch.ones(4, 6).double())
    assert torch.allclose(product, MixtureSameFamily(uniform, Normal(loc.T, scale.T)).log_prob(level.z).sum(-1))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_two_distant_components_that_move_all_dimensions_together(dim: int) -> None:
    """Each dimension tells which of the two it is, log 2 nats, and all tell the same: TC = (D - 1) log 2."""
    torch.manual_seed(0)
    loc = torch.tensor([[50.0], [-50.0]]).double().expand(2, dim)
    logs = BetaTcvae()(terms_of(loc, torch.ones_like(loc)), 0).logs
    assert logs["tc"].item() == pytest.approx((dim - 1) * math.log(2), abs=1e-12)
    assert logs["mutual_information"].item() == pytest.approx(math.log(2), abs=1e-12)


def test_posteriors_that_are_all_the_same_have_no_correlation_and_no_information() -> None:
    torch.manual_seed(0)
    loc, scale = torch.randn(4).double().expand(7, 4), (0.1 + torch.rand(4).double()).expand(7, 4)
    logs = BetaTcvae()(terms_of(loc, scale), 0).logs
    assert logs["tc"].item() == pytest.approx(0, abs=1e-12)
    assert logs["mutual_information"].item() == pytest.approx(0, abs=1e-12)


def test_correlated_gaussian_codes_have_the_total_correlation_of_their_covariance() -> None:
    """TC of N(0, C) is -1/2 log det of its correlations; here q(z) is N(0, C) as the batch grows."""
    torch.manual_seed(0)
    mixing = torch.tensor([[1.0, 0.0], [0.8, 0.6]]).double()
    num, noise = 3000, 0.7
    loc = torch.randn(num, 2).double() @ mixing.T
    (level,) = terms_of(loc, torch.full_like(loc, noise)).levels
    joint, product = aggregated_log_prob(level)
    covariance = mixing @ mixing.T + noise**2 * torch.eye(2).double()
    expected = 0.5 * (covariance.diagonal().log().sum() - covariance.logdet())
    estimates = (joint - product).flatten()
    assert expected > 0.15
    assert abs(estimates.mean() - expected) < 4.5 * estimates.std() / num**0.5


def test_information_is_at_most_the_logarithm_of_the_batch() -> None:
    loc = 1000 * torch.arange(8).double()[:, None].expand(8, 2)
    logs = BetaTcvae()(terms_of(loc, torch.ones_like(loc)), 0).logs
    assert logs["mutual_information"].item() == pytest.approx(math.log(8), abs=1e-12)


def test_beta_one_is_the_elbo_with_its_gradient() -> None:
    numbers = random_model(2)
    x, y = numbers.data(6)
    model = numbers.model(widen=[2.0])
    results = []
    for objective in (Elbo(num_samples=3), BetaTcvae(1.0, num_samples=3)):
        torch.manual_seed(0)
        value = objective(model(x, y, 3), 0).value
        results.append([value, *torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad])])
    for elbo, tcvae in zip(*results, strict=True):
        assert torch.equal(elbo, tcvae)


@pytest.mark.parametrize("beta", [0.0, 4.0])
def test_beta_weighs_the_total_correlation_beside_the_exact_kl(beta: float) -> None:
    terms = random_terms()
    loss = BetaTcvae(beta)(terms, 0)
    assert loss.logs["tc"] > 0.1
    assert torch.allclose(loss.value, Elbo()(terms, 0).value + (beta - 1) * loss.logs["tc"], atol=1e-12)


def test_a_step_against_the_gradient_makes_the_codes_less_correlated() -> None:
    torch.manual_seed(0)
    loc = (torch.randn(50, 1) + 0.3 * torch.randn(50, 2)).double().requires_grad_()
    scale = torch.full((50, 2), 0.3).double()

    def tc(at: Tensor) -> Tensor:
        torch.manual_seed(1)
        terms = terms_of(at, scale)
        return BetaTcvae(beta=2.0)(terms, 0).value - Elbo()(terms, 0).value

    (gradient,) = torch.autograd.grad(tc(loc), loc)
    assert tc(loc - 0.1 * gradient) < tc(loc)


@pytest.mark.parametrize("beta", [-0.1, math.inf, math.nan])
def test_refuses_weights_that_make_no_sense(beta: float) -> None:
    with pytest.raises(ValueError, match=f"^beta={beta}"):
        BetaTcvae(beta)
