"""Defines learning-rate schedules over a whole run, stepped with the optimizer: f(optimizer, total_steps).

Each is a pure function of the step, so that a resumed run with a later end follows the schedule of that end.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

_MAX_STAGES = 30
"""3^29 steps are more than any run takes."""


def cosine(optimizer: Optimizer, total_steps: int, final_lr: float = 0.0) -> LRScheduler:
    """Falls from the rate to ``final_lr`` along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Raises:
        ValueError: for a negative final rate, or an optimizer whose rate is 0.
    """
    _check_final(final_lr, rate := optimizer.param_groups[0]["lr"])
    return LambdaLR(optimizer, lambda step: _half_cosine(step, total_steps, final_lr / rate))


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, warmup_steps: int = 200, final_lr: float = 0.0
) -> LRScheduler:
    """Rises linearly to the optimizer's rate over ``warmup_steps``, then falls to ``final_lr`` along half a cosine.

    Raises:
        ValueError: for fewer than 1 step of warm-up, or as `cosine`.
    """
    if warmup_steps < 1:
        raise ValueError(f"scheduler.warmup_steps={warmup_steps}: must be at least 1; scheduler=cosine has none")
    _check_final(final_lr, rate := optimizer.param_groups[0]["lr"])

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup_steps)
        return rise * _half_cosine(step, total_steps, final_lr / rate)

    return LambdaLR(optimizer, factor)


def _half_cosine(step: int, total_steps: int, final: float) -> float:
    """Falls from 1 to ``final`` within ``total_steps``."""
    part = (1 + math.cos(math.pi * min(1.0, step / max(1, total_steps)))) / 2
    return float(part + (1 - part) * final)


def _check_final(final_lr: float, rate: float) -> None:
    if final_lr < 0 or rate == 0:
        raise ValueError(f"scheduler.final_lr={final_lr}: must be 0 or more, and optimizer.lr={rate} above 0")


def multistep(
    optimizer: Optimizer, total_steps: int, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1
) -> LRScheduler:
    """Multiplies the rate by ``gamma`` at each milestone, a fraction of the run.

    Raises:
        ValueError: for milestones that do not rise within (0, 1), or a gamma that is not positive.
    """
    if gamma <= 0:
        raise ValueError(f"scheduler.gamma={gamma}: must be above 0")
    if list(milestones) != sorted(milestones) or not all(0 < fraction < 1 for fraction in milestones):
        raise ValueError(f"scheduler.milestones={list(milestones)}: must be rising fractions of the run, within (0, 1)")
    return _steps_at([round(fraction * total_steps) for fraction in milestones], optimizer, gamma)


def burda(optimizer: Optimizer, total_steps: int, stages: int = 8) -> LRScheduler:
    """Takes 3^i parts of the run at 10^(-i/7) of the rate, i = 0, 1, ... (Burda et al. 2016, arXiv:1509.00519).

    Their run has 8 stages, 1 + 3 + ... + 3^7 = 3280 epochs.

    Raises:
        ValueError: for fewer than one stage, or so many that the first would have no step.
    """
    if not 1 <= stages <= _MAX_STAGES:
        raise ValueError(f"scheduler.stages={stages}: must lie in 1..{_MAX_STAGES}")
    ends = [(3**i - 1) // 2 for i in range(1, stages + 1)]  # 1, 1 + 3, 1 + 3 + 9, ... parts
    return _steps_at([round(total_steps * end / ends[-1]) for end in ends[:-1]], optimizer, 10 ** (-1 / 7))


def _steps_at(steps: Sequence[int], optimizer: Optimizer, gamma: float) -> LRScheduler:
    return LambdaLR(optimizer, lambda step: gamma ** bisect_right(steps, step))
