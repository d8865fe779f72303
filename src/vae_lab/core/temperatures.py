"""Reads the factors of the standard deviations that samples are drawn with, one for each level."""

from __future__ import annotations

import math
from typing import Any

import torch


def temperatures_of(temperature: Any, num_levels: int) -> list[float]:
    """Returns the temperature of each level, nearest the data first.

    Args:
        temperature: one number for all levels, or one for each.
        num_levels: L.

    Raises:
        TypeError, ValueError: for a temperature that cannot scale a standard deviation, or another number of them.
    """
    if not isinstance(temperature, list | tuple):
        return [_one_temperature(temperature)] * num_levels
    temperatures = list(temperature)
    if len(temperatures) != num_levels:
        levels = f"{num_levels} level{'s' if num_levels > 1 else ''}"
        raise ValueError(f"temperature={temperatures}: {len(temperatures)} numbers for a model of {levels}")
    return [_one_temperature(each) for each in temperatures]


def _one_temperature(temperature: Any) -> float:
    if torch.compiler.is_compiling():
        return temperature  # type: ignore[no-any-return]
    if not hasattr(temperature, "__float__"):
        raise TypeError(f"temperature={temperature}: a {type(temperature).__name__}, must be a number of 0 or more")
    try:
        number = float(temperature.item() if hasattr(temperature, "item") else temperature)
    except (TypeError, ValueError, RuntimeError):
        kind = type(temperature).__name__
        raise TypeError(
            f"temperature: a {kind} of several numbers, must be one number, or a list of one for each level"
        ) from None
    if not 0 <= number < math.inf:
        raise ValueError(f"temperature={temperature}: must be a finite number of 0 or more")
    return number
