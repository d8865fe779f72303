from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_gaussian import random_model
from torch import Tensor

from vae_lab.core import ElboTerms
from vae_lab.objectives import BetaTcvae, Capacity, Elbo, InfoVae, Iwae, IwaeDreg, Objective
from vae_lab.objectives.schedules import Constant, Cyclic, Linear, Schedule


def terms_of(kind: str = "bottom_up", num_samples: int = 3, size: int = 5) -> ElboTerms:
    numbers = random_model(3, levels=3)
    x, y = numbers.data(size)
    return numbers.model(kind, widen=[2.0, 1.5, 3.0])(x, y, num_samples)


def fake_terms(kl: Tensor) -> SimpleNamespace:
    """Terms with a chosen KL (K, B, L) and a log-likelihood of 0."""
    return SimpleNamespace(kl=kl, log_likelihood=torch.zeros(kl.shape[:2], dtype=kl.dtype))


@pytest.mark.parametrize("kind", ["bottom_up", "ladder"])
@pytest.mark.parametrize("step", [0, 1, 10_000])
def test_the_default_objective_is_the_negative_elbo(kind: str, step: int) -> None:
    terms = terms_of(kind)
    value = Elbo()(terms, step).value
    assert value.shape == ()
    assert torch.allclose(value, -terms.elbo.mean(), atol=1e-12)


@pytest.mark.parametrize("kind", [Elbo, Iwae, IwaeDreg, BetaTcvae, Capacity, InfoVae])
def test_every_number_that_an_objective_logs_is_declared(kind: type[Objective]) -> None:
    numbers = random_model(3, levels=1)
    assert tuple(kind()(numbers.model()(*numbers.data(5), 2), 0).logs) == kind.log_names


@pytest.mark.parametrize("beta", [0.0, 0.5, 4.0])
def test_beta_weighs_the_kl_alone(beta: float) -> None:
    terms = terms_of()
    loss = Elbo(beta=beta)(terms, 0)
    assert torch.allclose(loss.value, beta * terms.kl.sum(-1).mean() - terms.log_likelihood.mean(), atol=1e-12)
    assert loss.logs["beta"] == beta


def test_warmup_scales_beta_by_the_step() -> None:
    terms = terms_of()
    objective = Elbo(beta=2.0, warmup=Linear(10))
    kl, log_likelihood = terms.kl.sum(-1).mean(), terms.log_likelihood.mean()
    for step, beta in ((0, 0.0), (5, 1.0), (10, 2.0), (1000, 2.0)):
        loss = objective(terms, step)
        assert torch.allclose(loss.value, beta * kl - log_likelihood, atol=1e-12)
        assert loss.logs["beta"] == pytest.approx(beta)


def test_free_bits_are_a_floor_for_each_level_of_the_batch_before_beta() -> None:
    kl = torch.tensor([[[0.0, 5.0], [2.0, 1.0]], [[0.0, 5.0], [0.0, 1.0]]])  # (K, B, L); level means 0.5 and 3
    assert float(Elbo()(fake_terms(kl), 0).value) == pytest.approx(3.5)
    assert float(Elbo(free_bits=2.0)(fake_terms(kl), 0).value) == pytest.approx(2 + 3)
    assert float(Elbo(beta=0.5, free_bits=2.0)(fake_terms(kl), 0).value) == pytest.approx(0.5 * (2 + 3))
    assert float(Elbo(free_bits=0.1)(fake_terms(kl), 0).value) == pytest.approx(3.5)


def test_a_level_below_the_floor_is_not_pulled_at() -> None:
    kl = torch.tensor([[[0.5, 3.0]]], requires_grad=True)
    Elbo(free_bits=1.0)(fake_terms(kl), 0).value.backward()
    assert kl.grad.flatten().tolist() == [0.0, 1.0]


@pytest.mark.parametrize("option", ["beta", "free_bits"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_refuses_weights_that_make_no_sense(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{option}={value}"):
        Elbo(**{option: value})


@pytest.mark.parametrize("objective", [Elbo, Iwae])
def test_refuses_no_samples(objective: type) -> None:
    assert objective(num_samples=3).num_samples == 3
    with pytest.raises(ValueError, match="num_samples=0"):
        objective(num_samples=0)


# IWAE.


@pytest.mark.parametrize("num_samples", [1, 4])
def test_iwae_is_the_log_of_the_mean_weight(num_samples: int) -> None:
    terms = terms_of(num_samples=num_samples)
    expected = -terms.log_weight.exp().mean(0).log().mean()
    assert torch.allclose(Iwae(num_samples)(terms, 0).value, expected, atol=1e-10)


def test_iwae_gradient_is_the_self_normalised_weighted_gradient() -> None:
    """grad log (1/K) sum w_k = sum_k w~_k grad log w_k (Burda et al. 2016, eq. 13)."""
    numbers = random_model(4, levels=2)
    x, y = numbers.data(5)
    model = numbers.model(widen=[2.0, 2.0])
    parameters = [p for p in model.parameters() if p.requires_grad]
    torch.manual_seed(0)
    terms = model(x, y, 4)
    gradient = torch.autograd.grad(Iwae(4)(terms, 0).value, parameters, retain_graph=True)
    normalised = terms.log_weight.softmax(0).detach()
    assert normalised.std() > 0.01
    weighted = -(normalised * terms.log_weight).sum(0).mean()
    for mine, expected in zip(gradient, torch.autograd.grad(weighted, parameters), strict=True):
        assert torch.allclose(mine, expected, atol=1e-10)


def test_iwae_of_one_sample_is_the_elbo_in_expectation() -> None:
    numbers = random_model(5, levels=2)
    x, y = numbers.data(1)
    torch.manual_seed(1)
    repeats = 20_000
    with torch.no_grad():
        terms = numbers.model(widen=[2.0, 2.0])(x.expand(repeats, -1), y, 1)
    difference = terms.importance_weighted_bound - terms.elbo
    assert difference.abs().max() > 0.01  # one has a closed-form KL, the other none
    assert abs(float(difference.mean())) < 4.5 * float(difference.std()) / repeats**0.5
    assert torch.allclose(Iwae(1)(terms, 0).value, -terms.log_weight.mean(), atol=1e-12)


def test_iwae_is_never_below_the_mean_log_weight() -> None:
    """Jensen's inequality, sample by sample."""
    terms = terms_of(num_samples=8)
    assert (terms.importance_weighted_bound >= terms.log_weight.mean(0)).all()


# Schedules: pure functions of the step.

SCHEDULES = st.one_of(
    st.builds(Constant),
    st.builds(Linear, st.integers(1, 1000)),
    st.builds(Cyclic, st.integers(2, 1000), st.floats(0.01, 1)),
)


@given(schedule=SCHEDULES, steps=st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
def test_schedules_depend_on_the_step_alone_and_stay_in_the_unit_interval(schedule: Schedule, steps: list[int]) -> None:
    once = [schedule(step) for step in steps]
    assert [schedule(step) for step in reversed(steps)] == once[::-1]
    assert all(0 <= value <= 1 for value in once)


@given(steps=st.integers(1, 1000))
def test_linear_rises_evenly_to_exactly_one(steps: int) -> None:
    schedule = Linear(steps)
    values = [schedule(step) for step in range(steps + 3)]
    assert values[0] == 0
    assert values[steps:] == [1.0] * 3
    assert all(v < 1 for v in values[:steps])
    rises = [b - a for a, b in pairwise(values[: steps + 1])]
    assert rises == pytest.approx([1 / steps] * steps)


@given(period=st.integers(2, 200), ramp=st.floats(0.05, 1), cycle=st.integers(0, 50))
def test_cyclic_repeats_and_ramps_once_a_period(period: int, ramp: float, cycle: int) -> None:
    schedule = Cyclic(period, ramp)
    first = [schedule(step) for step in range(period)]
    assert [schedule(cycle * period + step) for step in range(period)] == first
    assert first[0] == 0
    assert first == sorted(first)
    assert first == pytest.approx([min(1, step / (ramp * period)) for step in range(period)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Linear(0), "^steps=0"),
        (lambda: Cyclic(1), "^period=1"),
        (lambda: Cyclic(10, 0.0), "^ramp=0"),
        (lambda: Cyclic(10, 1.5), "^ramp=1.5"),
    ],
)
def test_schedules_refuse_what_makes_no_sense(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
