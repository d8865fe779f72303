"""The jobs of a sweep over a grid: one for each combination of the values of all keys."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from vae_lab.cli.compose import NO_SETTINGS
from vae_lab.cli.overrides import without_keys
from vae_lab.errors import RunError

_GRID_SWEEPER = "hydra_plugins.vae_lab_sweepers.GridSweeper"


def parsed_overrides(params: Mapping[str, str] | None, words: Sequence[str]) -> list[Override]:
    """Returns the overrides of a sweep, the last one of each key.

    Args:
        params: hydra.sweeper.params, which a group such as sweep=latent_dim sets.
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*(f"{key}={values}" for key, values in (params or {}).items()), *words])
    return list({override.get_key_element(): override for override in overrides}.values())


def grid_jobs(overrides: Sequence[Override]) -> list[list[str]]:
    """Returns the overrides of each job.

    Raises:
        RunError: for a key without a value, or with an interval of numbers.
    """
    return [list(job) for job in itertools.product(*map(_words, overrides))]


def planned_jobs(config: DictConfig) -> list[list[str]] | None:
    """Returns the settings of each job of a sweep; None for a sweeper that chooses them while it runs."""
    if config.hydra.sweeper._target_ != _GRID_SWEEPER:
        return None
    jobs = grid_jobs(parsed_overrides(config.hydra.sweeper.params, list(config.hydra.overrides.task)))
    return [without_keys(job, NO_SETTINGS) for job in jobs]


def shared_words(config: DictConfig) -> list[str]:
    """Returns the words that all jobs of a sweep have, if they differ in others."""
    parsed = parsed_overrides(config.hydra.sweeper.params, list(config.hydra.overrides.task))
    single = [override for override in parsed if not override.is_sweep_override()]
    shared = [f"{override.get_key_element()}={override.get_value_element_as_str()}" for override in single]
    return sorted(shared) if len(single) < len(parsed) else []


def _words(override: Override) -> list[str]:
    """Returns ``key=value`` for each value of an override."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise RunError(f"{override.input_line}: only search=optuna searches an interval; list the values of a grid")
    words = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not words:
        raise RunError(f"{override.input_line}: has no value, so that there is no job to run")
    return words
