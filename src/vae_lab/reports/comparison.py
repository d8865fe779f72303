"""Compares runs: the source of the tables and the pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vae_lab.nested import leaves, shown, value_at
from vae_lab.reports.varied import (
    Setting,
    as_number,
    is_published,
    label_of,
    order,
    settings_of,
    telling_apart,
    varied_keys,
)
from vae_lab.runs.reading import RunRecord

_MAX_KEYS = 3
"""Keys that each have a column of their own; if more vary, a setting is named by its unusual values."""
_MASSES = ("categorical", "discretized_logistic", "logistic_mixture")
"""Likelihoods that are probabilities of the same grey levels, not densities: only the number of levels counts."""

_DIGITS = 8
"""Digits of the digest of a test set that a name shows, where no setting tells data apart."""


@dataclass(frozen=True)
class Comparison:
    """Runs, and the settings in which they differ.

    Attributes:
        runs: all runs, whatever their state.
        keys: keys of the settings that vary.
        settings: finished runs, grouped if they differ only by their seed.
    """

    runs: Sequence[RunRecord]
    keys: Sequence[str]
    settings: Sequence[Setting]

    @property
    def finished(self) -> list[RunRecord]:
        """Runs with numbers."""
        return [run for run in self.runs if run.state == "finished"]

    @property
    def shared(self) -> list[str]:
        """Overrides that all runs have."""
        known = [run.overrides for run in self.runs if run.overrides is not None]
        return [word for word in known[0] if all(word in other for other in known)] if len(known) > 1 else []

    @cached_property
    def axis(self) -> str | None:
        """Key on the axis: latent_dim, or else a setting that is a number, or else any that varies."""
        varied = [key for key in self.keys if len({setting.values[key] for setting in self.settings}) > 1]
        numeric = [key for key in varied if self.is_numeric(key)]
        return "latent_dim" if "latent_dim" in varied else next(iter([*numeric, *varied]), None)

    @property
    def likelihood(self) -> str:
        """Metric by which to compare: the NLL if every run was evaluated, else the test ELBO."""
        return "nll" if self.finished and all("nll" in run.metrics for run in self.finished) else "elbo"

    def is_numeric(self, key: str) -> bool:
        """True if every setting has a number there."""
        return all(as_number(setting.values[key]) is not None for setting in self.settings)

    def values(self, key: str) -> list[str]:
        """Returns the values of a key, each once: numbers by size, then strings."""
        return sorted({setting.values[key] for setting in self.settings}, key=order)

    def lines(self) -> dict[str, list[Setting]]:
        """Returns the settings that share all values but that of the `axis`, by their common label."""
        found: dict[str, list[Setting]] = {}
        for member in self.settings:
            others = {key: value for key, value in member.values.items() if key != self.axis}
            found.setdefault(self.label(others), []).append(member)
        varied = len(found) > 1
        return found if varied else {"": list(self.settings)}

    @cached_property
    def usual(self) -> dict[str, str]:
        """Most frequent value of each key, if so many keys vary that only unusual values can be shown."""
        if len(self.keys) <= _MAX_KEYS:
            return {}
        columns = {key: [setting.values[key] for setting in self.settings] for key in self.keys}
        return {key: max(dict.fromkeys(values), key=values.count) for key, values in columns.items() if values}

    def label(self, values: Mapping[str, str]) -> str:
        """Returns a label such as ``latent_dim=2, model=vae``, without the values that are `usual`."""
        usual = self.usual
        unusual = {key: value or "-" if usual else value for key, value in values.items() if usual.get(key) != value}
        return label_of(unusual) or ("the usual" if usual else "")

    @cached_property
    def groups(self) -> dict[str, Comparison]:
        """Comparisons of runs whose nats mean the same, by name: of the same test set and kind of likelihood."""
        digests: dict[tuple[str, ...], set[str]] = {}
        for run in self.finished:
            digests.setdefault(_place(run), set()).update(filter(None, [run.fingerprint]))
        found: dict[tuple[str, ...], list[RunRecord]] = {}
        for run in self.finished:
            # A run of an older version has no digest: the only one of its data set is taken to be its own.
            known = {run.fingerprint} if run.fingerprint else digests[_place(run)]
            test_set = min(known)[:_DIGITS] if len(known) == 1 else " in ".join(filter(None, _place(run)))
            found.setdefault((test_set, *_kind(run).values()), []).append(run)
        if len(found) < 2:
            return {"": self}
        rows = [[_words(run) for run in runs] for runs in found.values()]
        varied = {key for each in rows for key in set().union(*each) if len({row.get(key) for row in each}) > 1}
        words = [{key: value for key, value in of_group[0].items() if key not in varied} for of_group in rows]
        keys = telling_apart(words)
        words = [each | {"test set": measure[0]} for each, measure in zip(words, found, strict=True)]
        keys = telling_apart(words, keys)  # the digest only where no setting tells them apart
        names = [label_of({key: each.get(key, "") for key in keys}) for each in words]
        named = dict(zip(names, map(compare, found.values()), strict=True))
        return {name: named[name] for name in sorted(named)}


def compare(runs: Sequence[RunRecord]) -> Comparison:
    """Sorts runs by their settings."""
    keys = varied_keys(runs)
    return Comparison(runs, keys, settings_of(runs, keys))


def _place(run: RunRecord) -> tuple[str, ...]:
    """Returns the data set of a run, and its folder unless it is the same everywhere."""
    return run.setting("data"), "" if is_published(run) else run.setting("data.root")


def _kind(run: RunRecord) -> dict[str, str]:
    """Returns what decides the meaning of a nat, besides the test set."""
    likelihood = run.setting("likelihood")
    if likelihood in _MASSES:
        likelihood = f"{run.setting('likelihood.levels') or 256} levels"
    treated = {key: run.setting(key) for key in ("data.binarization", "data.image_size")}
    return {"likelihood": likelihood, **treated, "data.support": run.setting("data.support") or "auto"}


def _words(run: RunRecord) -> dict[str, str]:
    """Returns what may tell runs on the same data from others."""
    data, root = _place(run)
    options = leaves(value_at(run.config, "data.images", {}), "data.images")
    return {"data": data, **_kind(run), **{key: shown(value) for key, value in options}, "data.root": root}
