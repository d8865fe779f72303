"""Finds the settings that differ between runs, and the runs that differ only by their seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vae_lab.nested import key_around, leaves, shown
from vae_lab.runs.folder import UNTRAINED, relative_to_run
from vae_lab.runs.reading import RunRecord

_PUBLISHED = ("mnist", "fashion_mnist", "kmnist", "cifar10", "svhn", "celeba", "sprites")


@dataclass(frozen=True)
class Setting:
    """Runs that differ only by their seed.

    Attributes:
        values: values of the keys that vary between settings, as strings.
        runs: finished runs of this setting, one per seed, in the order of the seeds.
        copies: further runs of the same seeds, which no mean counts.
    """

    values: Mapping[str, str]
    runs: tuple[RunRecord, ...]
    copies: tuple[RunRecord, ...] = ()

    def numbers(self, metric: str) -> list[float]:
        """Returns the finite values of a metric, one per run."""
        found = (run.metrics.get(metric, math.nan) for run in self.runs)
        return [value for value in found if math.isfinite(value)]

    def mean(self, metric: str) -> float:
        """Returns the mean over the seeds; NaN without any."""
        return statistics.fmean(self.numbers(metric) or [math.nan])

    def spread(self, metric: str) -> float | None:
        """Returns the sample standard deviation over the seeds (n - 1); None for fewer than two."""
        numbers = self.numbers(metric)
        return statistics.stdev(numbers) if len(numbers) > 1 else None


def settings_of(runs: Iterable[RunRecord], keys: Sequence[str]) -> list[Setting]:
    """Returns finished runs by the values of ``keys``, in the order of these values: numbers by size, then strings."""
    groups: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in sorted(runs, key=lambda run: (run.seed.zfill(10), str(run.folder))):
        if run.state == "finished":
            groups.setdefault(tuple(value_of(run, key) for key in keys), []).append(run)
    ordered = sorted(groups.items(), key=lambda item: [order(value) for value in item[0]])
    return [Setting(dict(zip(keys, values, strict=True)), *_one_per_seed(members)) for values, members in ordered]


def _one_per_seed(runs: Sequence[RunRecord]) -> tuple[tuple[RunRecord, ...], tuple[RunRecord, ...]]:
    """Returns one run of each seed, an evaluated one if there is one, and the others; runs without a seed all count."""
    chosen: dict[str, RunRecord] = {}
    for number, run in enumerate(runs):
        known = chosen.setdefault(run.seed or f"unknown {number}", run)
        if "nll" in run.metrics and "nll" not in known.metrics:
            chosen[run.seed] = run
    counted = [id(run) for run in chosen.values()]
    return tuple(run for run in runs if id(run) in counted), tuple(run for run in runs if id(run) not in counted)


def varied_keys(runs: Sequence[RunRecord]) -> list[str]:
    """Returns the keys that distinguish settings: those of the command line and, if these do not, of the configs.

    Runs with the same values of all of them have the same config, but for the seed and their folder: only such runs may
    be averaged.
    """
    overridden = dict.fromkeys(key for run in runs for key in run.overridden if _is_setting(key))
    keys = [key for key in overridden if len({value_of(run, key) for run in runs} - {""}) > 1]
    finished = [run for run in runs if run.state == "finished"]
    return telling_apart([dict(_settings(run)) | {key: value_of(run, key) for key in keys} for run in finished], keys)


def telling_apart(rows: Sequence[Mapping[str, str]], keys: Sequence[str] = ()) -> list[str]:
    """Returns ``keys``, and each further key that differs between rows whose values of the keys before it are equal."""
    found = list(keys)
    for key in dict.fromkeys(key for row in rows for key in row if key not in keys):
        seen: dict[tuple[str, ...], str] = {}
        if any(
            seen.setdefault(tuple(row.get(each, "") for each in found), row.get(key, "")) != row.get(key, "")
            for row in rows
        ):
            found.append(key)
    return found


def label_of(values: Mapping[str, str]) -> str:
    """Returns ``key=value`` of each key that has a value."""
    return ", ".join(f"{key}={value}" for key, value in values.items() if value)


def order(value: str) -> tuple[int, float, str]:
    """Returns a sort key: numbers by size, then strings."""
    number = as_number(value)
    return (1, 0.0, value) if number is None else (0, number, value)


def as_number(value: str) -> float | None:
    """Returns the finite number that a string stands for; None for any other string."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def value_of(run: RunRecord, key: str) -> str:
    """Returns the value of a setting; '' for a seed that is not set and equals that of the run, such as data.seed."""
    value = run.setting(key)
    follows = key.endswith(".seed") and value == run.seed and key not in run.overridden
    return "" if follows else value


def is_published(run: RunRecord) -> bool:
    """True if the data set is the same wherever it lies."""
    return run.setting("data") in _PUBLISHED


def _is_setting(key: str) -> bool:
    return key != "seed" and key_around(key, UNTRAINED) is None


def _settings(run: RunRecord) -> Iterator[tuple[str, str]]:
    """Yields each value of the config that is a setting."""
    published = is_published(run)
    for key, value in leaves(relative_to_run(run.config)):
        if value != {} and _is_setting(key) and not (published and key == "data.root"):
            yield key, value_of(run, key) if key.endswith(".seed") else shown(value)
