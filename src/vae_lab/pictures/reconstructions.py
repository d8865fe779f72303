"""Pictures of test images that went through a model: as they come out, and what lies between two of them."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.grid import image_grid
from vae_lab.pictures.latents import codes, decode, on_model, rows_of, still
from vae_lab.types import Batch


def reconstructions(model: LatentVariableModel, examples: Batch, columns: int = 8, seed: int = 0) -> Tensor:
    """Rows of originals, each above the row of their reconstructions, (3, H, W).

    Args:
        model: any.
        examples: B of them; a last row that is not full is left out, or is all there is.
        columns: images in a row.
        seed: of the posterior's noise in a ladder; elsewhere there is none.
    """
    columns = min(columns, len(examples.x))
    whole = len(examples.x) // columns * columns
    with still(model, seed):
        batch = on_model(model, rows_of(examples, slice(whole)))
        sides = (batch.x, model.reconstruct(batch.x, batch.y).mean)
    # A row of originals, the row of their reconstructions, the next row of originals ...
    rows = torch.stack([side.reshape(-1, columns, *side.shape[1:]) for side in sides], dim=1)
    return image_grid(rows.flatten(0, 2), columns, row_labels=["original", "reconstruction"] * (whole // columns))


def interpolations(model: LatentVariableModel, starts: Batch, ends: Batch, num: int = 11, seed: int = 0) -> Tensor:
    """From one image to another in ``num`` equal steps of z_1, both ends included; the originals on either side.

    z_1 alone decides the image, in a hierarchy too. Between images of two classes the label's embedding moves along
    with the code, so that both ends are reconstructions; pairs of one class show what changes within it.

    Args:
        model: any.
        starts, ends: P of each; a row for each pair.
        num: images between the originals, at least 2.
        seed: of the posterior's noise in a ladder; elsewhere there is none.

    Returns:
        (3, H, W).

    Raises:
        ValueError: for fewer than 2 images a row.
    """
    if num < 2:
        raise ValueError(f"num={num}: an interpolation needs at least its 2 ends")
    steps = torch.linspace(0, 1, num)
    with still(model, seed):
        start, end = on_model(model, starts), on_model(model, ends)
        z = _between(codes(model, start, seed)[0].mean, codes(model, end, seed)[0].mean, steps)
        images = decode(model, z, _contexts_between(model, start, end, steps))
    rows = torch.cat((start.x[:, None], images.reshape(-1, num, *images.shape[1:]), end.x[:, None]), dim=1)
    labels = ["original", *(f"{step:.0%}" for step in steps.tolist()), "original"]
    return image_grid(rows.flatten(0, 1), num + 2, column_labels=labels)


def _contexts_between(model: LatentVariableModel, start: Batch, end: Batch, steps: Tensor) -> Tensor | None:
    first, last = model.context(start.y), model.context(end.y)
    return None if first is None or last is None else _between(first, last, steps)


def _between(start: Tensor, end: Tensor, steps: Tensor) -> Tensor:
    """(P, *event) and (P, *event) -> (P * S, *event), pair by pair."""
    weight = steps.to(start).reshape(-1, *[1] * (start.dim() - 1))
    return torch.lerp(start[:, None], end[:, None], weight).flatten(0, 1)
