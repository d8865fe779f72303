"""Runs side by side: what the tables and the pictures of a report are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vae_lab.reports.reading import Run
from vae_lab.reports.settings import Setting, as_number, label_of, order, settings_of, varied_keys


@dataclass(frozen=True)
class Comparison:
    """Runs, and the settings in which they differ.

    Attributes:
        runs: all of them, whatever their state.
        keys: the settings that vary.
        settings: the finished runs, those that differ by their seed alone together.
    """

    runs: Sequence[Run]
    keys: Sequence[str]
    settings: Sequence[Setting]

    @property
    def finished(self) -> list[Run]:
        """The runs with numbers."""
        return [run for run in self.runs if run.state == "finished"]

    @property
    def shared(self) -> list[str]:
        """The overrides that all runs have."""
        known = [run.overrides for run in self.runs if run.overrides is not None]
        return [word for word in known[0] if all(word in other for other in known)] if len(known) > 1 else []

    @property
    def axis(self) -> str | None:
        """What to draw against: latent_dim, or else a setting that is a number, or else any that varies."""
        varied = [key for key in self.keys if len({setting.values[key] for setting in self.settings}) > 1]
        numeric = [key for key in varied if self.is_numeric(key)]
        return "latent_dim" if "latent_dim" in varied else next(iter([*numeric, *varied]), None)

    @property
    def likelihood(self) -> str:
        """The metric by which to compare: the NLL where every run was evaluated, else the test ELBO."""
        return "nll" if self.finished and all("nll" in run.metrics for run in self.finished) else "elbo"

    def is_numeric(self, key: str) -> bool:
        """Whether every setting has a number there."""
        return all(as_number(setting.values[key]) is not None for setting in self.settings)

    def values(self, key: str) -> list[str]:
        """The values of a key, each once: numbers by size, then texts."""
        return sorted({setting.values[key] for setting in self.settings}, key=order)

    def lines(self) -> dict[str, list[Setting]]:
        """The settings that share all values but that of the `axis`, by their common label."""
        found: dict[str, list[Setting]] = {}
        for setting in self.settings:
            others = {key: value for key, value in setting.values.items() if key != self.axis}
            found.setdefault(label_of(others), []).append(setting)
        varied = len(found) > 1
        return found if varied else {"": list(self.settings)}


def compare(runs: Sequence[Run]) -> Comparison:
    """Sorts runs by their settings."""
    keys = varied_keys(runs)
    return Comparison(runs, keys, settings_of(runs, keys))
