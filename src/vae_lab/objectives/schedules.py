"""Schedules of a weight: functions of the global step, and of the number of steps that a run plans when it starts.

A resumed run keeps the plan it started with, so that the schedule continues even if the run now trains longer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """Factor in [0, 1] for every global step (number of optimizer steps so far)."""

    @abstractmethod
    def __call__(self, step: int) -> float: ...

    def plan(self, steps: float) -> float | None:
        """Records the number of steps that a run plans (infinity: no end); returns it if it matters, else None."""
        return None


class Constant(Schedule):
    """Always 1."""

    def __call__(self, step: int) -> float:
        return 1.0


class Linear(Schedule):
    """Rises from 0 to 1 over ``steps`` (Bowman et al. 2016, arXiv:1511.06349; Soenderby et al. 2016).

    Raises:
        ValueError: for fewer than 1 step.
    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"steps={steps}: must be at least 1")
        self.steps = steps

    def __call__(self, step: int) -> float:
        return min(1.0, step / self.steps)


class LinearOfRun(Schedule):
    """Rises from 0 to 1 over a part of the run: min(``fraction`` x planned steps, ``max_steps``) steps.

    Raises:
        ValueError: for a fraction outside (0, 1] or fewer than 1 step.
    """

    def __init__(self, fraction: float = 0.4, max_steps: int = 5000) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction={fraction}: must be above 0 and at most 1")
        if max_steps < 1:
            raise ValueError(f"max_steps={max_steps}: must be at least 1")
        self.fraction = fraction
        self.max_steps = max_steps
        self._rise = Linear(max_steps)

    def plan(self, steps: float) -> float | None:
        self._rise = Linear(max(1, math.ceil(min(self.fraction * steps, self.max_steps))))
        return steps

    def __call__(self, step: int) -> float:
        return self._rise(step)


class Cyclic(Schedule):
    """Rises linearly from 0 to 1 in the first ``ramp`` of each period, then stays (Fu et al. 2019, arXiv:1903.10145).

    Raises:
        ValueError: for a period below 2 steps or a ramp outside (0, 1].
    """

    def __init__(self, period: int, ramp: float = 0.5) -> None:
        if period < 2:
            raise ValueError(f"period={period}: must be at least 2")
        if not 0 < ramp <= 1:
            raise ValueError(f"ramp={ramp}: must be above 0 and at most 1")
        self.period = period
        self.ramp = ramp

    def __call__(self, step: int) -> float:
        return min(1.0, (step % self.period) / (self.ramp * self.period))
