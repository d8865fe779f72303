"""Tests the identities of every model against exact solutions, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from linear_gaussian import LinearGaussian, random_model, within
from torch import Tensor
from torch.distributions import kl_divergence

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentVariableModel

SAMPLES = 20_000


def per_sample_elbo(terms: ElboTerms) -> Tensor:
    return terms.log_likelihood - terms.kl.sum(-1)


def with_analytic_kl(terms: ElboTerms, analytic: bool) -> ElboTerms:
    return replace(terms, levels=tuple(replace(level, analytic_kl=analytic) for level in terms.levels))


# The zero-variance identity: under the exact posterior every log-weight equals log p(x).

SHAPES = {
    "vae": (1, 0, None, "bottom_up"),
    "cvae": (1, 3, None, "bottom_up"),
    "cvae-standard-prior": (1, 3, True, "bottom_up"),
    "mhvae-2": (2, 0, None, "bottom_up"),
    "mhvae-3": (3, 0, None, "bottom_up"),
    "mhvae-5": (5, 0, None, "bottom_up"),
    "conditional-mhvae-3": (3, 3, None, "bottom_up"),
    "ladder-1": (1, 0, None, "ladder"),
    "ladder-2": (2, 0, None, "ladder"),
    "ladder-3": (3, 0, None, "ladder"),
    "conditional-ladder-3": (3, 3, None, "ladder"),
    "conditional-ladder-2-standard-prior": (2, 3, True, "ladder"),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_weight_under_the_exact_posterior_is_the_evidence(shape: str, num_samples: int, seed: int) -> None:
    levels, classes, standard_prior, kind = SHAPES[shape]
    numbers = random_model(seed, levels, classes, standard_prior)
    x, y = numbers.data(7)
    terms = numbers.model(kind)(x, y, num_samples)
    exact = numbers.log_prob(x, y)
    assert terms.log_weight.shape == (num_samples, 7)
    assert (terms.log_weight - exact).abs().max() < 1e-10
    assert (terms.importance_weighted_bound - exact).abs().max() < 1e-10


def test_the_identity_is_not_vacuous() -> None:
    """A posterior with 1 % more variance is told from the exact one."""
    numbers = random_model(0)
    x, y = numbers.data(7)
    error = numbers.model(widen=[1.01])(x, y, 3).log_weight - numbers.log_prob(x, y)
    assert error.abs().max() > 1e-3


# A closed-form KL is valid only at the top of a bottom-up posterior, and at every level of a top-down one.


def wrong_posterior(levels: int, kind: str, seed: int = 1) -> tuple[LinearGaussian, LatentVariableModel, dict]:
    numbers = random_model(seed, levels, classes=2)
    spoiled = {"widen": [3.0, 0.7, 2.0][:levels]}
    if kind == "bottom_up":
        spoiled["shift"] = 0.3
    return numbers, numbers.model(kind, **spoiled), spoiled


@pytest.mark.parametrize(
    ("kind", "levels"), [("bottom_up", 1), ("bottom_up", 2), ("bottom_up", 3), ("ladder", 2), ("ladder", 3)]
)
def test_expected_elbo_of_a_wrong_posterior_is_the_evidence_minus_its_kl(kind: str, levels: int) -> None:
    """ELBO = log p(x) - KL(q(z_1..z_L|x) || p(z_1..z_L|x)), whichever of its terms are in closed form."""
    numbers, model, spoiled = wrong_posterior(levels, kind)
    x, y = numbers.data(3)
    gap = kl_divergence(numbers.joint(kind, x, y, **spoiled), numbers.joint(kind, x, y)).sum(-1)
    torch.manual_seed(10 + levels)
    with torch.no_grad():
        terms = model(x, y, SAMPLES)
    assert (gap > 15 * terms.log_weight.std(0) / SAMPLES**0.5).all()  # large enough to be seen
    assert within(per_sample_elbo(terms), numbers.log_prob(x, y) - gap)
    assert within(terms.log_weight, numbers.log_prob(x, y) - gap)
    assert torch.allclose(terms.elbo, per_sample_elbo(terms).mean(0))


@pytest.mark.parametrize("levels", [2, 3])
def test_closed_forms_at_inner_levels_of_a_bottom_up_posterior_are_biased(levels: int) -> None:
    """A common mistake, and the reason why `analytic_kl` is not an option: the test above would detect it."""
    numbers, model, _ = wrong_posterior(levels, "bottom_up")
    x, y = numbers.data(3)
    torch.manual_seed(10 + levels)
    with torch.no_grad():
        terms = model(x, y, SAMPLES)
    truth, biased = per_sample_elbo(terms), per_sample_elbo(with_analytic_kl(terms, True))
    error = (truth.var(0) + biased.var(0)).sqrt() / SAMPLES**0.5
    assert ((truth.mean(0) - biased.mean(0)).abs() > 20 * error).all()


@pytest.mark.parametrize(("kind", "levels"), [("bottom_up", 1), ("ladder", 2), ("ladder", 3)])
def test_closed_forms_lower_the_variance_and_keep_the_mean(kind: str, levels: int) -> None:
    numbers, model, _ = wrong_posterior(levels, kind)
    x, y = numbers.data(3)
    torch.manual_seed(3)
    with torch.no_grad():
        terms = model(x, y, SAMPLES)
    closed, sampled = terms.kl, with_analytic_kl(terms, False).kl
    assert within((closed - sampled).sum(-1), torch.zeros(3).double())
    assert (closed.var(0) < sampled.var(0)).all()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_posteriors_state_where_the_closed_form_holds(levels: int) -> None:
    numbers = random_model(0, levels)
    x, y = numbers.data(2)
    expected = {"bottom_up": [False] * (levels - 1) + [True], "ladder": [True] * levels}
    for kind, flags in expected.items():
        assert [level.analytic_kl for level in numbers.model(kind)(x, y).levels] == flags


# Importance weights never use closed-form KLs.


@pytest.mark.parametrize("kind", ["bottom_up", "ladder"])
@pytest.mark.parametrize("levels", [1, 3])
def test_weights_are_densities_at_the_sample(kind: str, levels: int) -> None:
    numbers, model, _ = wrong_posterior(levels, kind)
    x, y = numbers.data(4)
    terms = model(x, y, 3)
    expected = terms.log_likelihood
    for level in terms.levels:
        expected = expected + level.p.log_prob(level.z) - level.q.log_prob(level.z)
    for analytic in (True, False):
        switched = with_analytic_kl(terms, analytic)
        assert torch.equal(switched.log_weight, terms.log_weight)
        assert torch.allclose(switched.log_weight, expected, atol=1e-12)
    assert not torch.allclose(terms.log_weight, per_sample_elbo(terms))


# ELBO <= importance-weighted bound, which rises with K, <= log p(x).


@pytest.mark.parametrize("kind", ["bottom_up", "ladder"])
def test_bounds_rise_with_the_number_of_samples_and_stay_below_the_evidence(kind: str) -> None:
    numbers, model, _ = wrong_posterior(2, kind)
    x, y = numbers.data(1)
    repeats = 4000
    torch.manual_seed(4)
    exact = numbers.log_prob(x, y)
    with torch.no_grad():
        passes = [model(x.expand(repeats, -1), y.expand(repeats), K) for K in (1, 3, 10)]
    bounds = [passes[0].elbo] + [terms.importance_weighted_bound for terms in passes]
    means = [float(bound.mean()) for bound in bounds]
    errors = [float(bound.std()) / repeats**0.5 for bound in bounds]
    assert abs(means[0] - means[1]) < 4.5 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5  # IWAE_1 is the ELBO
    for i in (1, 2):
        assert means[i + 1] - means[i] > 4.5 * (errors[i] ** 2 + errors[i + 1] ** 2) ** 0.5
    assert means[-1] < exact + 4.5 * errors[-1]


@pytest.mark.parametrize("seed", range(3))
def test_mean_weight_is_the_likelihood(seed: int) -> None:
    """E[w] = p(x): what importance sampling rests on."""
    numbers = random_model(seed, levels=2)
    x, y = numbers.data(3)
    torch.manual_seed(seed)
    with torch.no_grad():
        terms = numbers.model(widen=[1.5, 1.5], shift=0.2)(x, y, SAMPLES)
    assert within((terms.log_weight - numbers.log_prob(x, y)).exp(), torch.ones(3).double())


# log_marginal: what evaluation reports.


@pytest.mark.parametrize(("num_samples", "chunk"), [(1, 1), (10, 1), (10, 3), (10, 10), (10, 64), (7, None)])
@pytest.mark.parametrize("kind", ["bottom_up", "ladder"])
def test_log_marginal_is_exact_under_the_exact_posterior(kind: str, num_samples: int, chunk: int | None) -> None:
    """Whatever the chunk: a sum divided by anything but the number of samples summed would be off by log of it."""
    numbers = random_model(5, levels=2, classes=2)
    x, y = numbers.data(4)
    estimate = numbers.model(kind).log_marginal(x, y, num_samples, chunk)
    assert (estimate - numbers.log_prob(x, y)).abs().max() < 1e-10
    assert not estimate.requires_grad


@pytest.mark.parametrize("chunk", [None, 1000])
def test_log_marginal_of_a_wrong_posterior_converges_to_the_evidence(chunk: int | None) -> None:
    numbers = random_model(1, levels=2, classes=2)
    model = numbers.model(widen=[1.5, 2.0], shift=0.2)  # wider than the truth, so that the weights have a variance
    x, y = numbers.data(3)
    torch.manual_seed(6)
    exact = numbers.log_prob(x, y)
    with torch.no_grad():
        ratio = (model(x, y, SAMPLES).log_weight - exact).exp()
    error = ratio.std(0) / SAMPLES**0.5
    assert error.max() < 0.02
    assert ((model.log_marginal(x, y, SAMPLES, chunk) - exact).abs() < 4.5 * error).all()


@pytest.mark.parametrize("kind", ["bottom_up", "ladder"])
def test_log_marginal_is_the_same_for_any_chunk(kind: str) -> None:
    numbers, model, _ = wrong_posterior(2, kind)
    x, y = numbers.data(3)
    estimates = []
    for chunk in (1, 3, 4, 10, 64):
        torch.manual_seed(7)
        estimates.append(model.log_marginal(x, y, num_samples=10, chunk=chunk))
        assert torch.allclose(estimates[-1], estimates[0], rtol=0, atol=1e-12)
    assert not torch.equal(estimates[0], model.log_marginal(x, y, num_samples=10)), "other seeds, other samples"
    with noise.by_sample(seed=5, first=0), torch.no_grad():
        weights = model(x, y, 10).log_weight
    assert weights.exp().std(0).min() > 0, "every sample has noise of its own"


# The KL of independent dimensions is the sum of theirs.


@pytest.mark.parametrize("kind", ["bottom_up", "ladder"])
@pytest.mark.parametrize("classes", [0, 2])
def test_kl_per_dimension_sums_to_the_kl(kind: str, classes: int) -> None:
    numbers = random_model(8, levels=3, classes=classes)
    x, y = numbers.data(4)
    for level in numbers.model(kind, widen=[2.0, 2.0, 2.0])(x, y, 3).levels:
        assert level.kl_per_dimension.shape == level.z.shape
        assert torch.allclose(level.kl_per_dimension.sum(-1), level.kl, atol=1e-12)
