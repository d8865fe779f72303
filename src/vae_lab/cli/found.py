"""Keeps the values that a resumed run has found for options that ``auto`` leaves to the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vae_lab.nested import value_at

_FOUND = ("data.images.max_value", "data.images.kind")
"""Keys that a run records with the value that the data gave."""


def keep_found(cfg: DictConfig, saved: Mapping[str, Any]) -> None:
    """Sets each key of `_FOUND` that is auto to the value in the saved config of the run."""
    for key in _FOUND:
        value = value_at(saved, key)
        if OmegaConf.select(cfg, key) == "auto" and (_is_name(value) or _is_number_or_numbers(value)):
            OmegaConf.update(cfg, key, value)


def _is_name(value: Any) -> bool:
    """True for the name of a choice, such as signals."""
    return isinstance(value, str) and value.isidentifier()


def _is_number_or_numbers(value: Any) -> bool:
    """True for what a run may have found; anything else, such as an interpolation, is not from the lab."""
    values = list(value.values()) if isinstance(value, Mapping) else [value]
    return all(type(number) in (int, float) for number in values)
