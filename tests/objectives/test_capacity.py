from __future__ import annotations

import math

import pytest
import torch
from linear_gaussian import random_model

from vae_lab.core import ElboTerms
from vae_lab.objectives import Capacity


def terms_of(levels: int = 3) -> ElboTerms:
    numbers = random_model(3, levels=levels)
    return numbers.model(widen=[2.0] * levels)(*numbers.data(5), 3)


def test_the_capacity_rises_linearly_and_stays() -> None:
    objective = Capacity(capacity=20.0, steps=100)
    assert [objective.scheduled(step)["capacity"] for step in (0, 25, 50, 100, 101, 10_000)] == [0, 5, 10, 20, 20, 20]


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("step", [0, 5, 10])
def test_the_loss_is_the_distance_of_the_whole_kl_from_the_capacity(levels: int, step: int) -> None:
    terms = terms_of(levels)
    kl, log_likelihood = terms.kl.sum(-1).mean(), terms.log_likelihood.mean()
    end = 1.5 * kl.item()  # above the KL at the last step, below it at the others
    loss = Capacity(gamma=7.0, capacity=end, steps=10)(terms, step)
    assert torch.allclose(loss.value, 7 * (kl - end * step / 10).abs() - log_likelihood, atol=1e-12)
    assert loss.logs == {"capacity": pytest.approx(end * step / 10)}


@pytest.mark.parametrize(("capacity", "sign"), [(1.0, 1.0), (5.0, -1.0)])
def test_a_kl_below_the_capacity_is_pushed_up_and_one_above_it_down(capacity: float, sign: float) -> None:
    terms = terms_of(levels=1)
    kl = torch.full((3, 5, 1), 3.0, dtype=torch.float64, requires_grad=True)
    terms.__dict__["kl"] = kl
    Capacity(gamma=30.0, capacity=capacity, steps=1)(terms, 1).value.backward()
    assert torch.allclose(kl.grad, torch.full_like(kl, sign * 30 / 15))


@pytest.mark.parametrize("option", ["gamma", "capacity"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_refuses_weights_that_make_no_sense(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{option}={value}"):
        Capacity(**{option: value})


def test_refuses_no_steps() -> None:
    with pytest.raises(ValueError, match=r"^steps=0"):
        Capacity(steps=0)
