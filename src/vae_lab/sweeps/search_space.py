"""The search space of Optuna, written as Hydra's own overrides.

latent_dim=range(2,64)                      an integer from 2 to 63, as in Python
optimizer.lr=tag(log,interval(1e-4,1e-2))   a number in the interval, uniform in its logarithm
data.batch_size=int(interval(16,512))       an integer from 16 to 512
model=vae,cvae                              one of the listed values
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from vae_lab.errors import RunError

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


def search_space(overrides: Sequence[Override]) -> dict[str, Distribution]:
    """Returns the distribution of each key that is searched.

    Raises:
        RunError: for an empty space, an empty range, or a logarithm of numbers that are not positive.
    """
    space: dict[str, Distribution] = {}
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


def _distribution(override: Override) -> Distribution:
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


def extremes(distribution: Distribution) -> Sequence[Any]:
    """Returns the choices of a distribution, or its bounds."""
    from optuna.distributions import CategoricalDistribution  # noqa: PLC0415

    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return distribution.low, distribution.high


def describe(distribution: Distribution) -> Any:
    """Returns a distribution as plain data, to compare it with that of another search."""
    from optuna.distributions import distribution_to_json  # noqa: PLC0415

    return json.loads(distribution_to_json(distribution))


def suggest(trial: Trial, space: dict[str, Distribution]) -> list[str]:
    """Returns the overrides of a trial: drawn now, or as they were drawn when the trial was new."""
    return [f"{key}={_suggestion(trial, key, distribution)}" for key, distribution in space.items()]


def _suggestion(trial: Trial, key: str, distribution: Distribution) -> object:
    from optuna.distributions import CategoricalDistribution, IntDistribution  # noqa: PLC0415

    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    return trial.suggest_float(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
