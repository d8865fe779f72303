"""Conditions of a model as named inputs of its graphs: ``classes``, ``attributes`` and ``numbers``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import embedding

from vae_lab.core import LatentVariableModel


def condition_of(model: LatentVariableModel, inputs: Mapping[str, Tensor]) -> Tensor | None:
    """Returns the labels or rows that a model reads as y; None for an unconditional model.

    Args:
        model: model with the ``spec`` of its data.
        inputs: ``classes``, (B,) in int64; ``attributes``, (B, A), 0 or 1; ``numbers``, (B, N), in the user's units.
    """
    spec = model.spec
    if not model.conditional or spec is None:
        return None
    if spec.num_classes:
        # ONNX counts negative places from the end; no format has a place behind the last.
        classes = torch.where(inputs["classes"] < 0, spec.num_classes, inputs["classes"])
    if not spec.vector_condition:
        return classes
    parts = [inputs[name] for name in ("attributes", "numbers") if name in inputs]
    if spec.num_classes:
        eye = torch.eye(spec.num_classes, dtype=parts[0].dtype, device=classes.device)
        parts.insert(0, embedding(classes, eye))
    return torch.cat(parts, dim=1)


def example_conditions(model: LatentVariableModel, num: int) -> dict[str, Tensor]:
    """Returns conditions of ``num`` examples: the classes in turn, attributes and numbers at random."""
    spec = model.spec
    if not model.conditional or spec is None:
        return {}
    dtype = next(model.parameters()).dtype
    found: dict[str, Tensor] = {}
    if spec.num_classes:
        found["classes"] = torch.arange(num) % spec.num_classes
    if spec.attributes:
        found["attributes"] = torch.rand(num, len(spec.attributes), dtype=dtype).round()
    if spec.numbers:
        mean, scale = spec.numbers_scaling or ([0.0] * len(spec.numbers), [1.0] * len(spec.numbers))
        steps = torch.randn(num, len(spec.numbers), dtype=dtype)
        found["numbers"] = torch.tensor(mean, dtype=dtype) + torch.tensor(scale, dtype=dtype) * steps
    return found
