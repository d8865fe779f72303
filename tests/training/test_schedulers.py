"""Tests learning-rate schedules against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import SGD

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
