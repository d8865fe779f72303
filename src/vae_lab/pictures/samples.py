"""Pictures of samples from a model, and of the effect of each part of a condition on fixed latents."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.core.inputs import on_model
from vae_lab.pictures.classes import class_label
from vae_lab.pictures.conditions import row_label
from vae_lab.pictures.latents import by_level, decode, evaluation_mode
from vae_lab.pictures.sheet import MAX_ROWS, Sheet
from vae_lab.settings import Draw

_STEPS = 7
"""Values of each number."""
_QUANTILES = (0.05, 0.95)
"""Quantiles of the examples between which a number moves."""


def samples(
    model: LatentVariableModel,
    num: int = 64,
    y: Tensor | None = None,
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    columns: int | None = None,
    draw: Draw = "mean",
) -> Sheet:
    """Draws means of p(x|z) for z ~ p(z|y).

    Args:
        y: class indices (num,) or rows of a condition (num, C) for a conditional model; a row of images that all have
            the same one is labelled with it.
        temperature: temperature of the prior; see `LatentVariableModel.generate`.
        columns: number of columns; None: as many as make the picture square.
        draw: mean or sample of p(x|z).

    Returns:
        With the arrays ``images``, ``z_1``, ... of every level, (num, *event), and ``y`` as given, if any.
    """
    columns = columns or min(ceil(sqrt(num)), MAX_ROWS)
    arrays = generate(model, num, y, temperature, seed, draw)
    labels = _class_labels(model, y, columns)
    compared = {"samples": arrays["images"]}
    return Sheet(arrays["images"], columns, arrays, row_labels=labels, spec=model.spec, compared=compared)


def samples_by_class(
    model: LatentVariableModel,
    classes: Sequence[int] | Tensor,
    num: int = 8,
    temperature: float | Sequence[float] = 1.0,
    seed: int = 0,
    draw: Draw = "mean",
) -> Sheet:
    """Draws each of ``num`` latents under every label: a row for each latent, a column for each class.

    The noise at every level is the same along a row. Only the label differs.

    Args:
        classes: classes, or rows of conditions (N, C), one for each column.
        num, temperature, seed, draw: see `samples`.

    Returns:
        With the arrays of `samples`, row by row.
    """
    each = torch.as_tensor(classes)
    columns = [torch.stack([y] * num) for y in each]
    return _under_conditions(model, [columns], [row_label(model.spec, y) for y in each], [], temperature, seed, draw)


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
    classes, first = spec.num_classes, spec.first_number
    sheets = {}
    if classes:
        shown = range(classes)[:max_classes]
        under_each = [_with_class(y, number, classes) for number in shown]
        names = [class_label(spec, number) for number in shown]
        sheets["classes"] = _under_conditions(model, [under_each], names, [], temperature, seed)
    if spec.attributes:
        rows = [[_with(y, column, value) for value in (0.0, 1.0)] for column in range(classes, first)[:max_rows]]
        names = list(spec.attributes[: len(rows)])
        sheets["attributes"] = _under_conditions(model, rows, ["without", "with"] * len(y), names, temperature, seed)
    if spec.numbers:
        assert examples is not None, "numbers move between quantiles of examples"
        limits = torch.quantile(examples[:, first:].double(), torch.tensor(_QUANTILES).double(), dim=0).T.tolist()
        most = None if max_rows is None else max(1, max_rows // len(y))
        rows, names, columns = [], [], ["low", *[""] * (_STEPS - 2), "high"]
        for column, (low, high) in list(enumerate(limits, first))[:most]:
            rows.append([_with(y, column, low + (high - low) * step / (_STEPS - 1)) for step in range(_STEPS)])
            names += [f"{spec.context_names[column]}: {low:.3g} to {high:.3g}", *[""] * (len(y) - 1)]
        sheets["numbers"] = _under_conditions(model, rows, columns, names, temperature, seed)
    return sheets


def class_rows(num: int, num_classes: int) -> tuple[Tensor, int]:
    """Returns labels for about ``num`` samples, one class per row and all classes, and the number of columns."""
    columns = ceil(sqrt(num))
    rows = max(columns, num_classes)
    return (torch.arange(rows) % num_classes).repeat_interleave(columns), columns


def generate(
    model: LatentVariableModel, num: int, y: Tensor | None, temperature: float | Sequence[float], seed: int, draw: Draw
) -> dict[str, Tensor]:
    """Returns means or samples of p(x|z) for z ~ p(z|y): ``images``, the codes ``z_1``, ... and ``y``, if any."""
    labels = on_model(model, y)
    with evaluation_mode(model, seed):
        z = model.sample_prior(num, labels, temperature)
        images = decode(model, z, model.context(labels), draw)
    return {"images": images, **by_level(z)} | ({} if y is None else {"y": y})


def _under_conditions(
    model: LatentVariableModel,
    rows: Sequence[Sequence[Tensor]],
    column_labels: Sequence[str],
    row_labels: Sequence[str],
    temperature: float | Sequence[float],
    seed: int,
    draw: Draw = "mean",
) -> Sheet:
    """Draws each row's conditions, (N,) or (N, C), side by side, latent after latent."""
    parts = []
    for conditions in rows:
        # The same seed for each condition gives the same noise at every level, whatever the prior.
        made = [generate(model, len(y), y, temperature, seed, draw) for y in conditions]
        parts.append({name: torch.stack([each[name] for each in made], dim=1).flatten(0, 1) for name in made[0]})
    arrays = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Sheet(arrays["images"], len(column_labels), arrays, row_labels, column_labels, spec=model.spec)


def _class_labels(model: LatentVariableModel, y: Tensor | None, columns: int) -> list[str]:
    if y is None:
        return []
    rows = torch.split(y, columns)
    return [row_label(model.spec, row[0]) if (row == row[0]).all() else "" for row in rows]


def _with(y: Tensor, column: int, value: float) -> Tensor:
    changed = y.clone()
    changed[:, column] = value
    return changed


def _with_class(y: Tensor, number: int, classes: int) -> Tensor:
    changed = y.clone()
    changed[:, :classes] = 0
    changed[:, number] = 1
    return changed
