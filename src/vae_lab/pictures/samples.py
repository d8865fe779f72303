"""Pictures of samples from a model."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.conditions import row_label
from vae_lab.pictures.latents import by_level, decode, evaluation_mode, labels_on_model
from vae_lab.pictures.sheet import MAX_ROWS, Sheet
from vae_lab.settings import Draw


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
        model: any model.
        num: number of samples.
        y: class indices (num,) or rows of a condition (num, C) for a conditional model; a row of images that all have
            the same one is labelled with it.
        temperature: temperature of the prior; see `LatentVariableModel.generate`.
        seed: seed of the noise.
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
        model: conditional model.
        classes: classes, or rows of conditions (N, C), one for each column.
        num, temperature, seed, draw: see `samples`.

    Returns:
        With the arrays of `samples`, row by row.
    """
    # The same seed for each class gives the same noise at every level, whatever the prior.
    each = torch.as_tensor(classes)
    columns = [generate(model, num, torch.stack([y] * num), temperature, seed, draw) for y in each]
    arrays = {name: torch.stack([column[name] for column in columns], dim=1).flatten(0, 1) for name in columns[0]}
    labels = [row_label(model.spec, y) for y in each]
    return Sheet(arrays["images"], len(each), arrays, column_labels=labels, spec=model.spec)


def class_rows(num: int, num_classes: int) -> tuple[Tensor, int]:
    """Returns labels for about ``num`` samples, one class per row and all classes, and the number of columns."""
    columns = ceil(sqrt(num))
    rows = max(columns, num_classes)
    return (torch.arange(rows) % num_classes).repeat_interleave(columns), columns


def generate(
    model: LatentVariableModel, num: int, y: Tensor | None, temperature: float | Sequence[float], seed: int, draw: Draw
) -> dict[str, Tensor]:
    """Returns means or samples of p(x|z) for z ~ p(z|y): ``images``, the codes ``z_1``, ... and ``y``, if any."""
    labels = labels_on_model(model, y)
    with evaluation_mode(model, seed):
        z = model.sample_prior(num, labels, temperature)
        images = decode(model, z, model.context(labels), draw)
    return {"images": images, **by_level(z)} | ({} if y is None else {"y": y})


def _class_labels(model: LatentVariableModel, y: Tensor | None, columns: int) -> list[str]:
    if y is None:
        return []
    rows = torch.split(y, columns)
    return [row_label(model.spec, row[0]) if (row == row[0]).all() else "" for row in rows]
