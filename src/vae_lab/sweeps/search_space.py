"""The search space of Optuna, written as Hydra's own overrides.

latent_dim=range(2,64)                      an integer from 2 to 63, as in Python
optimizer.lr=tag(log,interval(1e-4,1e-2))   a number between, by its logarithm
data.batch_size=int(interval(16,512))       an integer from 16 to 512
model=vae,cvae                              one of a few
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from vae_lab.errors import RunError

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution


def search_space(overrides: Sequence[Override]) -> dict[str, BaseDistribution]:
    """The distribution of each key that is to be searched.

    Raises:
        RunError: for a space with nothing in it, or a range that is empty or not made for a logarithm.
    """
    space = {}
    for override in overrides:
        if override.is_sweep_override():
            try:
                space[override.get_key_element()] = _distribution(override)
            except ValueError as error:
                raise RunError(f"{override.input_line}: {' '.join(str(error).split())}") from error
    if all(distribution.single() for distribution in space.values()):
        raise RunError(
            "search=optuna: nothing to search; give a key several values, such as "
            "'latent_dim=range(2,64)', 'optimizer.lr=tag(log,interval(1e-4,1e-2))' or model=vae,cvae"
        )
    return space


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    value = override.value()
    if isinstance(value, IntervalSweep):
        log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(float(value.start or 0), float(value.end or 0), log=log)
    if isinstance(value, RangeSweep):
        numbers = sorted(value.range())
        if not numbers:
            raise ValueError("an empty range")
        log = "log" in value.tags
        step = abs(value.step)
        if all(isinstance(number, int) for number in numbers):
            return IntDistribution(int(numbers[0]), int(numbers[-1]), log=log, step=int(step))
        return FloatDistribution(numbers[0], numbers[-1], log=log, step=float(step))
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def suggest(trial: Trial, space: dict[str, BaseDistribution]) -> list[str]:
    """The overrides of a trial: drawn now, or as they were when it was drawn first."""
    return [f"{key}={_suggestion(trial, key, distribution)}" for key, distribution in space.items()]


def _suggestion(trial: Trial, key: str, distribution: BaseDistribution) -> object:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
