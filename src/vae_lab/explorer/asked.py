"""Values of a question of the page, checked one by one before a model reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab.explorer.guard import RefusedError
from vae_lab.pictures.decoded import codes_of
from vae_lab.types import DataSpec

_MAX_LATENT = 1e6
"""Largest absolute value of a latent that is decoded."""
_LARGEST = 1e30
"""Larger numbers would be infinite in float32; integers may have hundreds of digits in JSON."""


def whole(body: Mapping[str, Any], key: str, least: int, most: int, default: int | None = None) -> int:
    """Returns an integer of the request; raises `RefusedError` for anything else."""
    value = body.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedError(400, f"{key}: must be an integer from {least} to {most}")
    return value


def temperatures(body: Mapping[str, Any], num_levels: int) -> list[float]:
    """Returns the temperature of each level, nearest the data first; 1 if the request has none."""
    found = body.get("temperature", [1.0] * num_levels)
    values = found if isinstance(found, list) else [found] * num_levels
    if len(values) != num_levels or not all(_is_number(value) and 0 <= value <= 100 for value in values):
        raise RefusedError(400, f"temperature: must be {num_levels} numbers from 0 to 100, one for each level")
    return [float(value) for value in values]


def codes(z: Any, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Returns the codes of the top levels, (1, *event) each, nearest the data first.

    Args:
        z: lists of numbers, one for each of the top levels, the last one the top level's.
        shapes: shape of the latents of each level, nearest the data first.
    """
    if not isinstance(z, list):
        raise RefusedError(400, "z: must be lists of numbers, one for each of the top levels")
    try:
        return codes_of(z, shapes, _MAX_LATENT)
    except ValueError as error:
        raise RefusedError(400, str(error)) from error


def condition(y: Any, spec: DataSpec, conditional: bool) -> Tensor | None:
    """Returns a condition, a class (1,) or a row of floats (1, C); None for an unconditional model."""
    if not conditional:
        return None
    if spec.vector_condition:
        size = spec.context_features
        if not isinstance(y, list) or len(y) != size or not all(map(_is_number, y)):
            raise RefusedError(400, f"y: must be {size} numbers: {', '.join(spec.context_names[:20])}")
        return torch.tensor([y], dtype=torch.get_default_dtype())
    if not isinstance(y, int) or isinstance(y, bool) or not 0 <= y < spec.num_classes:
        raise RefusedError(400, f"y: must be a class from 0 to {spec.num_classes - 1}")
    return torch.tensor([y])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST
