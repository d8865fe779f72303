"""Keeps the values that a resumed run has found for options that ``auto`` or null leaves to the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vae_lab.nested import value_at

_FOUND = ("data.images.max_value", "data.images.kind", "data.images.columns", "data.images.image")
"""Keys that a run records with the value that the data gave."""


def keep_found(cfg: DictConfig, saved: Mapping[str, Any]) -> None:
    """Sets each key of `_FOUND` that is auto or null to the value in the saved config of the run."""
    for key in _FOUND:
        value = value_at(saved, key)
        left = OmegaConf.select(cfg, key, default="") in ("auto", None)
        if left and (_is_name(value) or _is_numbers(value)):
            OmegaConf.update(cfg, key, _literal(value))


def _is_name(value: Any) -> bool:
    """True for the name of a choice or of a column, and for several of them."""
    return bool(value) and all(isinstance(name, str) for name in (value if isinstance(value, list) else [value]))


def _is_numbers(value: Any) -> bool:
    """True for one number, or several by name."""
    values = list(value.values()) if isinstance(value, Mapping) else [value]
    return all(type(number) in (int, float) for number in values)


def _literal(value: Any) -> Any:
    """Returns a value in which an interpolation, which no run has found, stays as it is written."""
    if isinstance(value, list):
        return [_literal(name) for name in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value
