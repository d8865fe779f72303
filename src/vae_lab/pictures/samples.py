"""Pictures of what a model makes up."""

from __future__ import annotations

from math import ceil, sqrt

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.grid import image_grid
from vae_lab.pictures.latents import on_device, still


def samples(
    model: LatentVariableModel,
    num: int = 64,
    y: Tensor | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    columns: int | None = None,
) -> Tensor:
    """Means of p(x|z) for draws z ~ p(z|y).

    Args:
        model: any.
        num: how many.
        y: class indices (num,) for a conditional model; a row of one class is labelled with it.
        temperature: see `LatentVariableModel.generate`.
        seed: of the noise.
        columns: by default what makes the picture square.

    Returns:
        (3, H, W).
    """
    columns = columns or ceil(sqrt(num))
    images = _generate(model, num, y, temperature, seed)
    return image_grid(images, columns, row_labels=_class_labels(y, columns))


def samples_by_class(
    model: LatentVariableModel, num_classes: int, num: int = 8, temperature: float = 1.0, seed: int = 0
) -> Tensor:
    """One latent under every label: a row for each latent, a column for each of the first ``num_classes`` classes.

    The noise at every level is the same along a row. Only the label differs.
    """
    # The same seed for each class is the same noise at every level: no prior need be known for that.
    classes = [_generate(model, num, torch.full((num,), y), temperature, seed) for y in range(num_classes)]
    images = torch.stack(classes, dim=1).flatten(0, 1)
    return image_grid(images, num_classes, column_labels=[f"class {y}" for y in range(num_classes)])


def class_rows(num: int, num_classes: int) -> tuple[Tensor, int]:
    """Labels for about ``num`` samples, one class a row and at least a row of each, and the number of columns."""
    columns = ceil(sqrt(num))
    rows = max(columns, num_classes)
    return (torch.arange(rows) % num_classes).repeat_interleave(columns), columns


def _generate(model: LatentVariableModel, num: int, y: Tensor | None, temperature: float, seed: int) -> Tensor:
    with still(model, seed):
        images: Tensor = model.generate(num, on_device(model, y), temperature).mean
    return images


def _class_labels(y: Tensor | None, columns: int) -> list[str]:
    if y is None:
        return []
    rows = [set(y[start : start + columns].tolist()) for start in range(0, len(y), columns)]
    return [f"class {row.pop()}" if len(row) == 1 else "" for row in rows]
