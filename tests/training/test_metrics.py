"""Averages over a data set, and active units."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Distribution

from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.distributions.gaussian import diagonal_gaussian
from vae_lab.training.metrics import ActiveUnitsMetric, BoundMetric


def gaussian(mean: torch.Tensor) -> Distribution:
    return diagonal_gaussian(mean, torch.ones_like(mean), 1)


def terms(log_likelihood: torch.Tensor, mean: torch.Tensor | None = None) -> ElboTerms:
    mean = torch.zeros(*log_likelihood.shape, 1) if mean is None else mean
    level = LatentLevel(mean, gaussian(mean), gaussian(torch.zeros_like(mean)), analytic_kl=True)
    return ElboTerms(log_likelihood, (level,))


def update(metric: BoundMetric, terms: ElboTerms) -> None:
    bound = terms.importance_weighted_bound if "iw_bound" in metric.names else None
    metric.update(terms.log_likelihood, terms.kl, bound)


def test_a_short_last_batch_weighs_what_it_should() -> None:
    values = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metric = BoundMetric(1)
    for batch in values.split((3, 3, 1), dim=1):
        update(metric, terms(batch))
    assert metric.compute()["log_likelihood"] == pytest.approx(float(values.mean()), abs=1e-12)


def test_large_sums_keep_their_decimals() -> None:
    metric = BoundMetric(1)
    for _ in range(1000):
        update(metric, terms(torch.full((1, 1000), -1000.1)))
    assert metric.compute()["log_likelihood"] == pytest.approx(float(torch.tensor(-1000.1)), abs=1e-6)


def test_the_bound_is_the_likelihood_less_the_divergence() -> None:
    mean = torch.ones(1, 5, 3)
    metric = BoundMetric(1, importance_weighted=True)
    update(metric, terms(torch.full((1, 5), -2.0), mean))
    means = metric.compute()
    assert means["kl"] == pytest.approx(1.5)
    assert means["elbo"] == pytest.approx(-3.5)
    assert "iw_bound" in means


def test_active_units_see_which_dimensions_vary_over_the_data() -> None:
    mean = torch.stack((torch.linspace(-1, 1, 100), torch.full((100,), 3.0)), dim=-1)
    level = LatentLevel(mean.expand(2, -1, -1), gaussian(mean), gaussian(torch.zeros(2)), analytic_kl=True)
    metric = ActiveUnitsMetric()
    metric.update(level)
    assert metric.compute() == 1


def test_two_samples_take_the_sampling_noise_off() -> None:
    # The conditional mean is pure noise, the same law for every x: nothing is active, though it varies from x to x.
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 100_000, 4, generator=generator) * 0.2
    level = LatentLevel(mean, gaussian(mean), gaussian(torch.zeros(4)), analytic_kl=False)
    metric = ActiveUnitsMetric()
    metric.update(level)
    assert metric.compute() == 0
    one = LatentLevel(mean[:1], gaussian(mean[:1]), gaussian(torch.zeros(4)), analytic_kl=False)
    metric.reset()
    metric.update(one)
    assert metric.compute() == 4, "one sample cannot tell; so the default draws two"
