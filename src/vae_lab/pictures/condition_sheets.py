"""Pictures of the effect of each part of a condition on fixed latents: each class, each attribute, each number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.classes import class_label
from vae_lab.pictures.samples import generate, samples_by_class
from vae_lab.pictures.sheet import Sheet

_STEPS = 7
"""Values of each number."""
_QUANTILES = (0.05, 0.95)
"""Quantiles of the examples between which a number moves."""


def condition_sheets(
    model: LatentVariableModel,
    y: Tensor,
    examples: Tensor | None = None,
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    max_classes: int | None = None,
    max_rows: int | None = None,
) -> dict[str, Sheet]:
    """Draws N latents under changed conditions: of each sheet only one part of the condition changes.

    Latent i has the same noise at every level wherever it is drawn, and the condition ``y[i]`` but for that part.

    Args:
        model: conditional model with the spec of its data.
        y: conditions to start from, one for each latent, class indices (N,) or rows (N, C).
        examples: conditions of examples, (B, C), whose 5 % and 95 % quantiles each number moves between.
        temperature: temperature of the prior; see `LatentVariableModel.generate`.
        seed: seed of the noise.
        max_classes, max_rows: number of classes, and of rows of the other sheets, that are drawn at most; None: all.

    Returns:
        Of the parts that the condition has: ``classes``, a row for each latent and a column for each class;
        ``attributes``, a row for each attribute and of each latent two columns, without and with it; ``numbers``, for
        each number a row for each latent, from low to high. Each with the arrays of `samples`, row by row.
    """
    spec = model.spec
    assert spec is not None, "every model of vae_lab.models has it"
    if not spec.vector_condition:
        return {"classes": samples_by_class(model, range(spec.num_classes), len(y), temperature, seed)}
    classes, first = spec.num_classes, spec.context_features - len(spec.numbers)
    sheets = {}
    if classes:
        shown = range(classes)[:max_classes]
        columns = [_with_class(y, number, classes) for number in shown]
        names = [class_label(spec, number) for number in shown]
        sheets["classes"] = _sheet(model, [columns], names, [], temperature, seed)
    if spec.attributes:
        rows = [[_with(y, column, value) for value in (0.0, 1.0)] for column in range(classes, first)[:max_rows]]
        names = list(spec.attributes[: len(rows)])
        sheets["attributes"] = _sheet(model, rows, ["without", "with"] * len(y), names, temperature, seed)
    if spec.numbers:
        assert examples is not None, "numbers move between quantiles of examples"
        limits = torch.quantile(examples[:, first:].double(), torch.tensor(_QUANTILES).double(), dim=0).T.tolist()
        rows = [[_with(y, first + i, value) for value in _steps(*both)] for i, both in enumerate(limits)]
        labels = []
        rows = rows if max_rows is None else rows[: max(1, max_rows // len(y))]
        for name, (low, high) in list(zip(spec.numbers, limits, strict=True))[: len(rows)]:
            labels += [f"{name}: {low:.3g} to {high:.3g}", *[""] * (len(y) - 1)]
        sheets["numbers"] = _sheet(model, rows, ["low", *[""] * (_STEPS - 2), "high"], labels, temperature, seed)
    return sheets


def _sheet(
    model: LatentVariableModel,
    rows: Sequence[Sequence[Tensor]],
    column_labels: Sequence[str],
    row_labels: Sequence[str],
    temperature: float | Sequence[float],
    seed: int,
) -> Sheet:
    """Draws each row's conditions (N, C) side by side, latent after latent."""
    parts = []
    for conditions in rows:
        # The same seed for each condition gives the same noise at every level, whatever the prior.
        made = [generate(model, len(y), y, temperature, seed, "mean") for y in conditions]
        parts.append({name: torch.stack([each[name] for each in made], dim=1).flatten(0, 1) for name in made[0]})
    arrays = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Sheet(arrays["images"], len(column_labels), arrays, row_labels, column_labels, spec=model.spec)


def _with(y: Tensor, column: int, value: float) -> Tensor:
    changed = y.clone()
    changed[:, column] = value
    return changed


def _with_class(y: Tensor, number: int, classes: int) -> Tensor:
    changed = y.clone()
    changed[:, :classes] = 0
    changed[:, number] = 1
    return changed


def _steps(low: float, high: float) -> list[float]:
    return [low + (high - low) * step / (_STEPS - 1) for step in range(_STEPS)]
