"""Tests learning-rate schedules against their formulas."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, PolynomialLR, ReduceLROnPlateau, StepLR

from vae_lab.training.optimization import schedule
from vae_lab.training.schedulers import cosine, warmup_cosine

STEPS = 8


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.2)


def rates(make: object, **options: float) -> list[float]:
    """The rates of every step of a run, and of one step after it."""
    own = optimizer()
    schedule = make(own, STEPS, **options)  # type: ignore[operator]
    found = []
    for _ in range(STEPS + 2):
        found.append(own.param_groups[0]["lr"])
        own.step()
        schedule.step()
    return found


def test_half_a_cosine_goes_from_the_rate_to_the_final_one() -> None:
    expected = [0.05 + 0.15 * (math.cos(math.pi * step / STEPS) / 2 + 0.5) for step in range(STEPS + 1)]
    assert rates(cosine, final_lr=0.05) == pytest.approx([*expected, 0.05])


def test_a_warm_up_multiplies_the_cosine() -> None:
    plain, warm = rates(cosine), rates(warmup_cosine, warmup_steps=4)
    assert warm == pytest.approx([rate * min(1, (step + 1) / 4) for step, rate in enumerate(plain)])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (partial(StepLR, step_size=2), [1.0, 1.0, 0.1, 0.1]),
        (partial(ExponentialLR, gamma=0.5), [1.0, 0.5, 0.25, 0.125]),
        (CosineAnnealingLR, [1.0, 0.854, 0.5, 0.146]),
        (partial(CosineAnnealingLR, T_max=2), [1.0, 0.5, 0.0, 0.5]),
        (PolynomialLR, [1.0, 0.75, 0.5, 0.25]),
        (lambda optimizer, steps: StepLR(optimizer, steps // 2), [1.0, 1.0, 0.1, 0.1]),
    ],
)
def test_schedules_of_torch_have_the_length_of_the_run_alone(make: Any, expected: list[float]) -> None:
    found = rates(lambda own, _: schedule(make, own, 4))[:4]
    assert [rate / 0.2 for rate in found] == pytest.approx(expected, abs=1e-3)


def test_a_schedule_of_torch_never_takes_the_length_for_something_else() -> None:
    with pytest.raises(TypeError, match="step_size"):
        schedule(partial(StepLR, gamma=0.5), optimizer(), 4)
    with pytest.raises(ValueError, match="follows a metric"):
        schedule(ReduceLROnPlateau, optimizer(), 4)  # type: ignore[arg-type]
