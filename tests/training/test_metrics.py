"""Averages over a data set, and active units."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Distribution, ExpTransform, TransformedDistribution

from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.distributions import MixtureOfGaussians
from vae_lab.distributions.gaussian import diagonal_gaussian
from vae_lab.training.metrics import ActiveUnitsMetric, BoundMetric, UnitCounts, unit_counts


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
    metric = BoundMetric()
    for batch in values.split((3, 3, 1), dim=1):
        update(metric, terms(batch))
    assert metric.compute()["log_likelihood"] == pytest.approx(float(values.mean()), abs=1e-12)


def test_large_sums_keep_their_decimals() -> None:
    metric = BoundMetric()
    for _ in range(1000):
        update(metric, terms(torch.full((1, 1000), -1000.1)))
    assert metric.compute()["log_likelihood"] == pytest.approx(float(torch.tensor(-1000.1)), abs=1e-6)


def test_the_bound_is_the_likelihood_less_the_divergence() -> None:
    mean = torch.ones(1, 5, 3)
    metric = BoundMetric(importance_weighted=True)
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
    assert metric.compute().active_units == 1


def test_two_samples_take_the_sampling_noise_off() -> None:
    # The conditional mean is pure noise, the same law for every x: nothing is active, though it varies from x to x.
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 100_000, 4, generator=generator) * 0.2
    level = LatentLevel(mean, gaussian(mean), gaussian(torch.zeros(4)), analytic_kl=False)
    metric = ActiveUnitsMetric()
    metric.update(level)
    assert metric.compute().active_units == 0
    one = LatentLevel(mean[:1], gaussian(mean[:1]), gaussian(torch.zeros(4)), analytic_kl=False)
    metric.reset()
    metric.update(one)
    assert metric.compute().active_units is None, "one sample cannot tell; so the default draws two"


def test_one_sample_of_a_mean_that_does_not_depend_on_it_is_enough() -> None:
    mean = torch.linspace(-1, 1, 100)[:, None].expand(-1, 3)
    metric = ActiveUnitsMetric()
    metric.update(LatentLevel(mean[None], gaussian(mean), gaussian(torch.zeros(3)), analytic_kl=True))
    assert metric.compute().active_units == 3


def test_no_more_than_the_sampling_noise_is_taken_off() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(1, 10_000, 4, generator=generator) + 2 * torch.randn(2, 10_000, 4, generator=generator)
    metric = ActiveUnitsMetric()
    metric.update(LatentLevel(mean, gaussian(mean), gaussian(torch.zeros(4)), analytic_kl=False))
    assert metric.compute().active_units == 4, "the variance 1 + 4 / 2 of the mean of two is that of the data and noise"


def test_a_mean_that_follows_the_prior_has_no_kl() -> None:
    # As on the lower level of a collapsed ladder: q is p, and both follow the level above.
    mean = torch.randn(1, 100, 3, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1)
    metric = ActiveUnitsMetric()
    metric.update(LatentLevel(mean, gaussian(mean), gaussian(mean.clone()), analytic_kl=True))
    assert metric.compute() == UnitCounts(units_with_kl=0, active_units=3)


@pytest.mark.parametrize("analytic_kl", [True, False])
def test_units_with_kl_are_counted_over_the_whole_data_set(analytic_kl: bool) -> None:
    # KL by dimension: half the squared mean, so 0.5, 0.02 and 0.005 nats, constant over the data.
    mean = torch.tensor([1.0, 0.2, 0.1]).expand(2, 40_000, 3)
    q, p = gaussian(mean), gaussian(torch.zeros(3))
    z = mean + torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    parts, whole = ActiveUnitsMetric(), ActiveUnitsMetric()
    whole.update(LatentLevel(z, q, p, analytic_kl))
    for rows in (slice(0, 39_999), slice(39_999, None)):
        parts.update(LatentLevel(z[:, rows], gaussian(mean[:, rows]), p, analytic_kl))
    assert whole.compute() == parts.compute() == UnitCounts(units_with_kl=2, active_units=0)


def test_a_posterior_that_reads_no_data_counts_as_one_that_is_the_same_for_all() -> None:
    mean = torch.tensor([1.0, 0.12, 0.0])  # 0.5, 0.0072 and 0 nats
    found = []
    for of_q in (mean, mean.expand(7, -1)):
        metric = ActiveUnitsMetric()
        metric.update(LatentLevel(mean.expand(2, 7, -1), gaussian(of_q), gaussian(torch.zeros(3)), analytic_kl=True))
        found.append(metric.compute())
    assert found == [UnitCounts(units_with_kl=1, active_units=0)] * 2


def test_a_level_whose_prior_does_not_factorise_has_no_count_by_kl() -> None:
    mixture = MixtureOfGaussians((3,), num_components=2)(None, None)
    mean = torch.zeros(2, 5, 3)
    metric = ActiveUnitsMetric()
    metric.update(LatentLevel(mean, gaussian(mean), mixture, analytic_kl=False))
    assert metric.compute().units_with_kl is None
    assert unit_counts([metric.compute()], ["level_1"]) == {"active_units": 0}
    assert unit_counts([UnitCounts(4, 5), UnitCounts(None, 2)], ["level_1", "level_2"]) == {
        "units_with_kl_level_1": 4, "active_units": 7, "active_units_level_1": 5, "active_units_level_2": 2,
    }  # fmt: skip


def test_the_levels_of_a_group_are_added() -> None:
    metric = BoundMetric(["grid", "grid", "top"])
    metric.update(torch.zeros(1, 4), torch.tensor([1.0, 2.0, 4.0]).expand(1, 4, 3))
    assert metric.compute() == {"elbo": -7.0, "kl": 7.0, "log_likelihood": 0.0, "kl_grid": 3.0, "kl_top": 4.0}
    assert metric.term_names == ["log_likelihood", "kl_grid", "kl_grid", "kl_top"]
    counts = unit_counts([UnitCounts(1, 2), UnitCounts(3, 4), UnitCounts(None, 6)], ["grid", "grid", "top"])
    assert counts == {"units_with_kl_grid": 4, "active_units": 12, "active_units_grid": 6, "active_units_top": 6}


def test_a_posterior_without_a_mean_in_closed_form_is_counted_by_its_samples() -> None:
    """Dimension 0 of E[log-normal | x] varies over the data, dimension 1 does not, though its samples do."""
    torch.manual_seed(0)
    loc = torch.stack((torch.randn(20_000), torch.zeros(20_000)), -1)
    q = TransformedDistribution(gaussian(loc), ExpTransform())
    level = LatentLevel(q.rsample((2,)), q, gaussian(torch.zeros(2)), analytic_kl=True)
    metric = ActiveUnitsMetric()
    metric.THRESHOLD = 0.5
    metric.update(level)
    assert metric.compute() == UnitCounts(units_with_kl=None, active_units=1)
