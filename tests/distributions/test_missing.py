"""Missing values: the density of what was observed, against the exact marginal of a linear-Gaussian model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, MultivariateNormal

from vae_lab.core import BottomUpPosterior, LatentVariableModel, MarkovChain
from vae_lab.distributions import Bernoulli, ConditionalDistribution, Gaussian, LogisticMixture, StandardNormal
from vae_lab.distributions.missing import Observed, check_independent, filled
from vae_lab.distributions.product import ByColumn
from vae_lab.distributions.rescaled import Rescaled
from vae_lab.models import MHVAE, VAE, Ladder
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec, Scaling

D, M, B, NOISE = 5, 2, 6, 0.6
SCALING = Scaling((3.0, -1.0, 0.0, 10.0, 5.0), (2.0, 0.5, 1.0, 4.0, 0.1))
SPEC = DataSpec((D,), 0, "real", scaling=SCALING, missing=True)
NET = MlpArchitecture([8])


def numbers() -> tuple[Tensor, Tensor]:
    """W (D, M) and mu (D,) of u = W z + mu + NOISE e, where u is standardised x."""
    torch.manual_seed(0)
    return torch.randn(D, M).double(), torch.randn(D).double()


class Decoder(nn.Module):
    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        weight, offset = numbers()
        mean = z @ weight.T + offset
        return torch.stack((mean, torch.full_like(mean, NOISE).log() * 2), dim=-2)


class ExactPosterior(nn.Module):
    """q(z | what was observed of u), which has one covariance matrix for each pattern of what is missing."""

    def forward(self, given: Tensor, context: Tensor | None = None) -> MultivariateNormal:
        weight, offset = numbers()
        u, known = given.split(D, dim=-1)
        precision = torch.eye(M).double() + (weight.T[None] * known[:, None]) @ weight / NOISE**2
        mean = torch.linalg.solve(precision, ((u - offset) * known / NOISE**2) @ weight)
        return MultivariateNormal(mean, precision_matrix=precision)


def examples(share: float = 0.4) -> Tensor:
    torch.manual_seed(1)
    mean, scale = (torch.tensor(part, dtype=torch.float64) for part in SCALING)
    x = mean + scale * torch.randn(B, D).double()
    return x.masked_fill(torch.rand(B, D) < share, torch.nan)


def exact(x: Tensor) -> Tensor:
    """log p(x_observed), example by example, in the units of the data."""
    weight, offset = numbers()
    mean, scale = (torch.tensor(part, dtype=torch.float64) for part in SCALING)
    covariance = scale[:, None] * (weight @ weight.T + NOISE**2 * torch.eye(D).double()) * scale
    found = []
    for row in x:
        known = ~row.isnan()
        p = MultivariateNormal((mean + scale * offset)[known], covariance[known][:, known])
        found.append(p.log_prob(row[known]))
    return torch.stack(found)


def model(encoder: nn.Module) -> LatentVariableModel:
    torch.set_default_dtype(torch.float64)
    try:
        posterior = BottomUpPosterior(MarkovChain([encoder]))
        likelihood = ConditionalDistribution(Decoder(), Gaussian((D,)))
        return LatentVariableModel(MarkovChain([StandardNormal((M,))]), posterior, likelihood, spec=SPEC).double()
    finally:
        torch.set_default_dtype(torch.float32)


def test_with_the_exact_posterior_every_weight_is_the_marginal_of_what_was_observed() -> None:
    x = examples()
    assert 5 < x.isnan().sum() < 25
    exactly = model(ExactPosterior())
    assert exactly.standardise is not None
    q = ExactPosterior()(filled(exactly.standardise(x)))
    z = q.sample((50,))
    prior = MultivariateNormal(torch.zeros(M).double(), torch.eye(M).double())
    log_weight = exactly.observed(z, None).log_prob(x) + prior.log_prob(z) - q.log_prob(z)
    torch.testing.assert_close(log_weight, exact(x).expand(50, -1), atol=1e-10, rtol=0)


def test_any_encoder_gives_a_lower_bound_of_the_marginal_of_what_was_observed() -> None:
    torch.manual_seed(2)
    encoder = ConditionalDistribution(NET.encoder(SPEC.seen_shape, (2, M)), Gaussian((M,))).double()
    vae, x = model(encoder), examples()
    terms = vae(x, num_samples=4000)
    assert (terms.elbo < exact(x)).all()
    estimate = vae.log_marginal(x, num_samples=200_000)
    torch.testing.assert_close(estimate, exact(x), atol=0.05, rtol=0)


def test_what_is_missing_has_no_influence() -> None:
    vae, x = VAE(SPEC, 2, NET, Gaussian), examples().float()
    x[:, 0] = torch.nan
    torch.manual_seed(0)
    elbo = vae(x).elbo
    elbo.sum().backward()
    gradients = [p.grad for p in vae.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    last = vae.likelihood.net.layers[-1].bias.grad.reshape(2, D)
    assert (last[:, 0] == 0).all(), "a column that is missing everywhere is not learned from"
    assert (last[:, 1:] != 0).any()


def test_without_missing_values_the_density_is_the_whole_one() -> None:
    torch.manual_seed(0)
    scaling = torch.rand(2, D) + 0.5
    head = Gaussian((D,))
    whole = Rescaled(head(torch.randn(4, B, 2, D)), *scaling)
    x = torch.randn(B, D)
    torch.testing.assert_close(Observed(whole).log_prob(x), whole.log_prob(x))
    assert torch.equal(Observed(whole).mean, whole.mean)
    mixed = ByColumn(Gaussian((2,)), [3])(torch.randn(4, B, 2, 5))
    x = torch.cat((torch.randn(B, 2), torch.eye(3)[torch.arange(B) % 3]), 1)
    torch.testing.assert_close(Observed(mixed).log_prob(x), mixed.log_prob(x))


def test_a_missing_category_counts_nothing() -> None:
    torch.manual_seed(0)
    p = ByColumn(Gaussian((2,)), [3])(torch.randn(B, 2, 5))
    x = torch.cat((torch.randn(B, 2), torch.eye(3)[torch.arange(B) % 3]), 1)
    x[:, 2:] = torch.nan
    torch.testing.assert_close(Observed(p).log_prob(x), p.parts[0].log_prob(x[:, :2]))
    of_bits = Independent(TorchBernoulli(logits=torch.randn(B, 2)), 1)
    assert (Observed(of_bits).log_prob(torch.full((B, 2), torch.nan)) == 0).all()


def test_a_network_reads_zeros_and_what_was_observed() -> None:
    x = torch.tensor([[1.0, torch.nan], [torch.nan, -2.0]])
    assert filled(x).tolist() == [[1, 0, 1, 0], [0, -2, 0, 1]]
    assert SPEC.seen_shape == (2 * D,)
    assert DataSpec((D,), 0, "real").seen_shape == (D,)


@pytest.mark.parametrize("build", [VAE, MHVAE, Ladder], ids=lambda build: build.__name__)
def test_models_read_examples_with_missing_values(build: type) -> None:
    sizes = {VAE: [2], MHVAE: [[3, 2], NET], Ladder: [[3, 2], [8, 8], NET]}[build]
    first, *rest = sizes
    made = build(SPEC, first, *rest[:-1], NET, *rest[-1:], Gaussian) if rest else build(SPEC, first, NET, Gaussian)
    x = examples().float()
    assert made(x).elbo.isfinite().all()
    assert made.reconstruct(x).mean.isfinite().all(), "missing values are filled in"
    with pytest.raises(ValueError, match="not finite"):
        made(x.masked_fill(x.isnan(), torch.inf))
    complete = VAE(DataSpec((D,), 0, "real"), 2, NET, Gaussian)
    with pytest.raises(ValueError, match="not finite"):
        complete(x)


def test_a_likelihood_that_joins_values_is_refused() -> None:
    check_independent(Gaussian((3,)))
    check_independent(Bernoulli((1, 4, 4)))
    check_independent(ByColumn(None, [2, 3]))
    with pytest.raises(ValueError, match="likelihood LogisticMixture joins the values"):
        check_independent(LogisticMixture((3, 4, 4)))
