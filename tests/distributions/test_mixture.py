"""Mixtures of Gaussians against torch's, scipy's and the exact evidence of linear-Gaussian models, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from linear_gaussian import LinearGaussian, random_model, within
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor, nn
from torch.distributions import MixtureSameFamily, MultivariateNormal

from vae_lab import noise
from vae_lab.core import BottomUpPosterior, LatentVariableModel, MarkovChain
from vae_lab.distributions import (
    Bernoulli,
    ConditionalDistribution,
    DiagonalGaussianMixture,
    Gaussian,
    LabelConditional,
    MixtureOfGaussians,
)
from vae_lab.distributions.gaussian import diagonal_gaussian, rsample
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture, OneHot
from vae_lab.types import DataSpec, Shard

M, D = 4, 3
BATCHES = [(), (5,), (2, 5)]


def random_mixture(*batch: int, event: tuple[int, ...] = (D,), dtype: torch.dtype = torch.float64):
    loc = 2 * torch.randn(*batch, M, *event, dtype=dtype)
    components = diagonal_gaussian(loc, 0.3 + torch.rand_like(loc), len(event))
    return DiagonalGaussianMixture(torch.randn(*batch, M, dtype=dtype), components)


# Density.


@pytest.mark.parametrize("event", [(D,), (2, D)])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("leading", [(), (7,), (6, 7)])
def test_log_prob_is_torchs(leading: tuple, batch: tuple, event: tuple) -> None:
    torch.manual_seed(0)
    mixture = random_mixture(*batch, event=event)
    z = torch.randn(*leading, *batch, *event).double()
    log_prob = mixture.log_prob(z)
    assert log_prob.shape == (*leading, *batch)
    expected = MixtureSameFamily(mixture.mixture_distribution, mixture.component_distribution).log_prob(z)
    assert torch.allclose(log_prob, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("place", [10.0, -1000.0])
def test_digits_survive_far_from_the_origin(batch: tuple, place: float) -> None:
    """Float32 at loc 10 and scale 0.03, where a sum of large terms that cancel would be off by 0.2 nats."""
    torch.manual_seed(0)
    noise = 0.03 * torch.randn(*batch, M, D)
    logits, loc = torch.randn(*batch, M), place + noise
    z = (place + 0.03 * torch.randn(100, *batch, D)).requires_grad_()
    mixtures = [
        DiagonalGaussianMixture(
            logits.to(dtype), diagonal_gaussian(loc.to(dtype), torch.full_like(loc, 0.03, dtype=dtype), 1)
        )
        for dtype in (torch.float32, torch.float64)
    ]
    single, double = mixtures[0].log_prob(z), mixtures[1].log_prob(z.double())
    assert (single - double).abs().max() < 1e-4
    slopes = [torch.autograd.grad(log_prob.sum(), z, retain_graph=True)[0] for log_prob in (single, double)]
    assert torch.allclose(slopes[0], slopes[1], rtol=1e-4, atol=1e-2)


def test_one_mixture_serves_samples_of_a_batch_and_a_batch_of_mixtures_one_value() -> None:
    torch.manual_seed(1)
    mixture, z = random_mixture(), torch.randn(3, 5, D).double()
    assert mixture.log_prob(z).shape == (3, 5)
    batch, value = random_mixture(5), torch.randn(D).double()
    assert torch.allclose(batch.log_prob(value), batch.log_prob(value.expand(5, D)), atol=1e-12)


def test_log_prob_is_scipys() -> None:
    torch.manual_seed(2)
    mixture, z = random_mixture(), torch.randn(20, D).double()
    weights, components = mixture.mixture_distribution.probs, mixture.component_distribution
    each = [
        weight.log().item() + multivariate_normal(loc.numpy(), scale.square().diag().numpy()).logpdf(z.numpy())
        for weight, loc, scale in zip(weights, components.mean, components.stddev, strict=True)
    ]
    assert torch.allclose(mixture.log_prob(z), torch.from_numpy(logsumexp(each, axis=0)), rtol=0, atol=1e-12)


def test_far_from_every_component_the_logarithm_is_finite() -> None:
    mixture = random_mixture()
    assert mixture.log_prob(torch.full((D,), 1e4).double()).isfinite()


def test_float32_is_as_exact_as_it_says_also_under_autocast() -> None:
    """An error of 1e-7 (z / scale)^2: a thousandth of a nat in 40 dimensions at a tenth of the prior's scale."""
    torch.manual_seed(3)
    loc, scale = torch.randn(500, 40), torch.full((500, 40), 0.1)
    z = loc[:50] + scale[:50] * torch.randn(50, 40)
    single = DiagonalGaussianMixture(torch.zeros(500), diagonal_gaussian(loc, scale, 1))
    exact = DiagonalGaussianMixture(torch.zeros(500).double(), diagonal_gaussian(loc.double(), scale.double(), 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_prob = single.log_prob(z)
    assert log_prob.dtype == torch.float32
    assert (log_prob - exact.log_prob(z.double())).abs().max() < 4e-3


def test_no_array_holds_samples_times_components_times_dimensions() -> None:
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            largest = max(largest, out.numel() if isinstance(out, Tensor) else 0)
            return out

    components = diagonal_gaussian(torch.randn(20, 30), torch.ones(20, 30), 1)
    mixture, z = DiagonalGaussianMixture(torch.zeros(20), components), torch.randn(50, 7, 30)
    with Watch():
        mixture.log_prob(z)
    assert largest == 50 * 7 * 60  # z and its square


# Samples.


@pytest.mark.parametrize("batch", [(), (2,)])
def test_samples_have_the_moments_and_the_density(batch: tuple) -> None:
    torch.manual_seed(4)
    mixture = random_mixture(*batch)
    z = rsample(mixture, (40_000,))
    assert z.shape == (40_000, *batch, D)
    assert within(z, mixture.mean)
    assert within((z - mixture.mean).square(), mixture.variance)
    weights, mean = mixture.mixture_distribution.probs, mixture.component_distribution.mean
    cross = (weights[..., None] * mean[..., :1] * mean[..., 1:]).sum(-2)
    assert within(z[..., :1] * z[..., 1:], cross)
    assert within(z[1:] * z[:-1], mixture.mean.square())  # draws are independent
    other = random_mixture(*batch)
    assert within((other.log_prob(z) - mixture.log_prob(z)).exp(), torch.ones(batch).double(), bound=6)


def test_components_are_drawn_with_their_weights() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, -1e4, 2.0]]).double()
    loc = torch.arange(6).double().reshape(2, 3, 1)
    mixture = DiagonalGaussianMixture(logits, diagonal_gaussian(loc, torch.full_like(loc, 1e-9), 1))
    torch.manual_seed(5)
    z = rsample(mixture, (30_000,)).round()[..., 0]
    for row in (0, 1):
        drawn = torch.stack([z[:, row] == 3 * row + m for m in range(3)], dim=-1).double()
        assert torch.equal(drawn.sum(-1), torch.ones(30_000).double())
        assert within(drawn, logits[row].softmax(-1), bound=5)


def test_temperature_scales_the_components_and_not_their_distance() -> None:
    torch.manual_seed(6)
    mixture = random_mixture(2)
    drawn = []
    for temperature in (0.0, 0.5, 1.0):
        torch.manual_seed(6)
        drawn.append(rsample(mixture, (1000,), temperature))
    cold, warm, hot = drawn
    assert torch.allclose(warm - cold, (hot - cold) / 2, atol=1e-12)
    assert (hot - cold).abs().min() > 0
    means = mixture.component_distribution.mean
    assert ((cold[:, :, None] - means).abs().amax(-1) < 1e-12).any(-1).all()
    for row in (0, 1):
        assert len(cold[:, row].unique(dim=0)) == M, "every component is drawn"


def test_one_draw_without_a_batch() -> None:
    assert rsample(random_mixture()).shape == (D,)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("world", [2, 3])
def test_samples_over_shards_are_those_of_the_whole(world: int, conditional: bool) -> None:
    prior = MixtureOfGaussians((D,), 3 if conditional else 0, M).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(10)
    size = 7
    context = OneHot(3).double()(torch.arange(size) % 3) if conditional else None

    def draw(rows: slice = slice(None)) -> Tensor:
        torch.manual_seed(7)
        if context is not None:
            return rsample(prior(None, context[rows]), (3,))
        return rsample(prior(), (3, len(range(size)[rows])))

    whole = draw()
    for rank in range(world):
        shard = Shard(rank, world, size)
        with noise.sharded(shard):
            assert torch.allclose(draw(shard.rows), whole[:, shard.rows], atol=1e-12)


# The prior.


def test_the_prior_has_the_batch_shape_of_its_context_and_depends_on_it() -> None:
    torch.manual_seed(8)
    prior, embed = MixtureOfGaussians((D,), 3, M), OneHot(3)
    d = prior(None, embed(torch.tensor([0, 1, 2, 0])))
    assert (d.batch_shape, d.event_shape) == ((4,), (D,))
    z = torch.randn(D)
    log_prob = d.log_prob(z)
    assert log_prob[0] == log_prob[3]
    assert torch.pdist(log_prob[:3, None]).min() > 0
    assert MixtureOfGaussians((D,))().batch_shape == ()


def test_each_component_has_a_weight_a_mean_and_a_scale_of_its_own() -> None:
    torch.manual_seed(8)
    prior = MixtureOfGaussians((D,), num_components=M).double()
    logits, loc, log_variance = prior.raw.split((1, D, D), dim=-1)
    expected = DiagonalGaussianMixture(logits[:, 0], diagonal_gaussian(loc, (log_variance / 2).exp(), 1))
    z = torch.randn(5, D).double()
    assert torch.allclose(prior().log_prob(z), expected.log_prob(z), atol=1e-12)


def test_the_prior_starts_near_a_standard_normal_with_components_apart() -> None:
    torch.manual_seed(9)
    d = MixtureOfGaussians((30,), num_components=10)()
    assert d.mean.abs().max() < 0.2
    assert (d.stddev - 1).abs().max() < 0.2
    assert torch.pdist(d.component_distribution.mean).min() > 0.1


def test_a_mixture_needs_a_component() -> None:
    with pytest.raises(ValueError, match=r"^num_components=0: must be at least 1"):
        MixtureOfGaussians((D,), num_components=0)


@pytest.mark.parametrize("conditional", [False, True])
def test_one_component_is_a_gaussian_prior_in_every_number(conditional: bool) -> None:
    """The bound with its KL in closed form, the weights, log_marginal and what is generated."""
    spec, classes = DataSpec((1, 3, 3), 3, "binary"), 3 if conditional else 0
    torch.manual_seed(10)
    model = VAE(spec, D, MlpArchitecture([8]), Bernoulli, partial(MixtureOfGaussians, num_components=1), conditional)
    mixture = model.double().prior.links[0]
    gaussian = LabelConditional((D,), 3).double() if conditional else ConditionalDistribution(Free(D), Gaussian((D,)))
    with torch.no_grad():
        if conditional:
            for mine, other in zip(gaussian.parameters(), mixture.parameters(), strict=True):
                mine.copy_(other[1:])  # the first row is the logit of the only component
        else:
            gaussian.net.raw.copy_(mixture.raw[0, 1:].reshape(2, D))
    plain = LatentVariableModel(MarkovChain([gaussian]), model.posterior, model.likelihood, model.embed)
    x, y = torch.rand(6, 1, 3, 3).round().double(), torch.arange(6) % 3 if classes else None
    numbers = []
    for each in (model, plain):
        torch.manual_seed(11)
        terms = each(x, y, 4)
        assert terms.levels[0].analytic_kl
        torch.manual_seed(12)
        marginal = each.log_marginal(x, y, 50)
        noise_free = each.generate(6, y, temperature=0.0).mean
        numbers.append((terms.elbo, terms.kl, terms.log_weight, terms.importance_weighted_bound, marginal, noise_free))
    for mine, other in zip(*numbers, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-10)


class Free(nn.Module):
    """Raw output of a Gaussian that depends on nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(2, dim).double())

    def forward(self, given: None, context: Tensor | None = None) -> Tensor:
        return self.raw


# With a linear-Gaussian likelihood the evidence is a mixture as well, and so is the posterior.


class Constant(nn.Module):
    def __init__(self, mixture: DiagonalGaussianMixture) -> None:
        super().__init__()
        self.mixture = mixture

    def forward(self, given: None, context: Tensor | None = None) -> DiagonalGaussianMixture:
        return self.mixture


class Exact(nn.Module):
    """The posterior of x: the components' posteriors, with weights pi_m p(x|m) / p(x)."""

    def __init__(self, numbers: LinearGaussian, prior: DiagonalGaussianMixture) -> None:
        super().__init__()
        self.numbers, self.prior = numbers, prior

    def joint(self, x: Tensor) -> Tensor:
        """log pi_m p(x|m), (B, M)."""
        n, components = self.numbers, self.prior.component_distribution
        spread = (n.weight * components.variance[:, None]) @ n.weight.T + n.noise * torch.eye(len(n.weight)).double()
        marginals = MultivariateNormal(components.mean @ n.weight.T + n.offset[0], spread)
        return self.prior.mixture_distribution.logits + marginals.log_prob(x[:, None])

    def forward(self, x: Tensor, context: Tensor | None = None) -> DiagonalGaussianMixture:
        n, components = self.numbers, self.prior.component_distribution
        variance = 1 / (1 / components.variance + n.squared_norms / n.noise)
        seen = ((x - n.offset[0]) @ n.weight / n.noise)[:, None]
        mean = variance * (components.mean / components.variance + seen)
        return DiagonalGaussianMixture(self.joint(x), diagonal_gaussian(mean, variance.sqrt().expand_as(mean), 1))


def linear_mixture(seed: int) -> tuple[LatentVariableModel, Exact, Tensor]:
    """A linear model under a mixture prior, its exact posterior and data."""
    numbers = random_model(seed)
    prior = random_mixture(event=(2,))
    exact = Exact(numbers, prior)
    chain = MarkovChain([exact])
    model = LatentVariableModel(MarkovChain([Constant(prior)]), BottomUpPosterior(chain), numbers.likelihood())
    return model, exact, numbers.data(6)[0]


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_every_weight_under_the_exact_mixture_posterior_is_the_evidence(seed: int, num_samples: int) -> None:
    """The zero-variance identity, with mixtures on both sides."""
    model, exact, x = linear_mixture(seed)
    terms, evidence = model(x, None, num_samples), exact.joint(x).logsumexp(-1)
    assert terms.log_weight.shape == (num_samples, 6)
    assert (terms.log_weight - evidence).abs().max() < 1e-10
    assert (terms.elbo - evidence).abs().max() < 1e-10
    assert terms.log_likelihood.unique().numel() == terms.log_likelihood.numel(), "samples differ"


@pytest.mark.parametrize("seed", range(2))
def test_importance_sampling_converges_to_the_evidence_under_a_mixture_prior(seed: int) -> None:
    model, exact, x = linear_mixture(seed)
    with torch.no_grad():
        posterior = exact(x)

    class Wide(nn.Module):
        """One Gaussian with the moments of the posterior, and more spread."""

        def forward(self, given: Tensor, context: Tensor | None = None) -> torch.distributions.Distribution:
            return diagonal_gaussian(posterior.mean, 1.5 * posterior.stddev, 1)

    model.posterior = BottomUpPosterior(MarkovChain([Wide()]))
    evidence, size = exact.joint(x).logsumexp(-1), 20_000
    torch.manual_seed(13)
    with torch.no_grad():
        ratio = (model(x, None, size).log_weight - evidence).exp()
    error = ratio.std(0) / size**0.5
    assert within(ratio, torch.ones(6).double())
    assert error.max() < 0.05
    assert ((model.log_marginal(x, None, size) - evidence).abs() < 4.5 * error).all()
    with torch.no_grad():
        terms = model(x, None, 1000)
    assert torch.equal(terms.kl[..., 0], terms.levels[0].log_ratio)
    assert (terms.elbo < evidence).all()
