"""Pictures of reconstructed examples, and of the images between two of them."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.latents import batch_on_model, by_level, codes, decode, encode, evaluation_mode, rows_of
from vae_lab.pictures.sheet import Sheet, originals
from vae_lab.pictures.tiles import blank
from vae_lab.types import Batch


def reconstructions(model: LatentVariableModel, examples: Batch, columns: int = 8, seed: int = 0) -> Sheet:
    """Draws rows of originals, each above the row of their reconstructions from the means of their codes.

    Args:
        examples: B examples.
        columns: number of images in a row.
        seed: seed of the posterior's noise if a level's mean follows a sample of another level.

    Returns:
        With the arrays ``originals`` and ``images``, (B, C, H, W), the codes ``z_1``, ..., (B, *event), and, if any,
        the labels of the examples ``y``, (B,), and the pictures before they were binarized ``grey``, in their own row.
    """
    columns = min(columns, len(examples.x))
    with evaluation_mode(model, seed):
        batch = batch_on_model(model, examples)
        z = encode(model, batch)
        images = decode(model, z, model.context(batch.y))
    arrays = {"images": images, **by_level(z), **originals(examples)}
    empty = images.new_full((-len(images) % columns, *images.shape[1:]), blank(images, model.spec))
    rows = {"original": batch.x, "reconstruction": images}
    if examples.grey is not None:
        rows = {"original": examples.grey.to(images), "binarized": batch.x, "reconstruction": images}
    sides = [torch.cat((side, empty)).reshape(-1, columns, *side.shape[1:]) for side in rows.values()]
    # A row of originals, the row of their reconstructions, the next row of originals ...
    tiles = torch.stack(sides, dim=1).flatten(0, 2)
    return Sheet(tiles, columns, arrays, row_labels=list(rows) * len(sides[0]), spec=model.spec, compared=rows)


def interpolations(model: LatentVariableModel, starts: Batch, ends: Batch, num: int = 11, seed: int = 0) -> Sheet:
    """Draws ``num`` equal steps of the codes from one image to another, with the originals on either side.

    Of a Markov chain z_1 alone decides the image. Between images of two classes or conditions the embedding moves along
    with the code, so that both ends are reconstructions; pairs of one class show what changes within it.

    Args:
        starts, ends: P examples each; every pair is a row.
        num: number of images between the originals, at least 2.
        seed: seed of the posterior's noise in a ladder; other models have none.

    Returns:
        With the arrays ``images`` and ``z_1``, ... of each pair's steps, (P * num, ...), ``steps`` from 0 to 1, (num,),
        ``originals``, (P, 2, C, H, W), and, if any, their labels ``y``, (P, 2), and what is shown of the originals if
        they were binarized, ``grey``, (P, 2, C, H, W).

    Raises:
        ValueError: for fewer than 2 images a row.
    """
    if num < 2:
        raise ValueError(f"num={num}: an interpolation needs at least its 2 ends")
    steps = torch.linspace(0, 1, num)
    with evaluation_mode(model, seed):
        start, end = batch_on_model(model, starts), batch_on_model(model, ends)
        both = zip(codes(model, start, seed), codes(model, end, seed), strict=True)
        z = [_between(first.mean, last.mean, steps) for first, last in both]
        images = decode(model, z, _contexts_between(model, start, end, steps))
    first, last = (side.original.to(images)[:, None] for side in (starts, ends))
    rows = torch.cat((first, images.reshape(-1, num, *images.shape[1:]), last), dim=1)
    y = None if starts.y is None or ends.y is None else torch.stack((starts.y, ends.y), dim=1)
    grey = None if starts.grey is None or ends.grey is None else torch.stack((starts.grey, ends.grey), dim=1)
    ends_of_pairs = Batch(torch.stack((starts.x, ends.x), dim=1), y, grey=grey)
    arrays = {"images": images, **by_level(z), "steps": steps, **originals(ends_of_pairs)}
    labels = ["original", *(f"{step:.0%}" for step in steps.tolist()), "original"]
    return Sheet(rows.flatten(0, 1), num + 2, arrays, column_labels=labels, spec=model.spec)


def pairs(examples: Batch, num: int, same_class: bool) -> tuple[Batch, Batch]:
    """Returns the ends of ``num`` interpolations, or of half the examples: each example with a later one.

    Args:
        same_class: pair each example with the next one of its class; ignored for rows of attributes or numbers.

    Raises:
        ValueError: for a single example.
    """
    if len(examples.x) < 2:
        raise ValueError("interpolations need 2 examples or more")
    num = min(num, len(examples.x) // 2)
    same_class = same_class and examples.y is not None and examples.y.dim() == 1
    ends = torch.tensor([_next_of_class(examples, i) if same_class else num + i for i in range(num)])
    return rows_of(examples, slice(num)), rows_of(examples, ends)


def _next_of_class(examples: Batch, i: int) -> int:
    """Returns the next example with the label of example ``i``, round about; itself if it is the only one."""
    assert examples.y is not None
    others = (examples.y == examples.y[i]).nonzero().flatten()
    later = others[others > i]
    return int(later[0] if len(later) else others[0])


def _contexts_between(model: LatentVariableModel, start: Batch, end: Batch, steps: Tensor) -> Tensor | None:
    first, last = model.context(start.y), model.context(end.y)
    return None if first is None or last is None else _between(first, last, steps)


def _between(start: Tensor, end: Tensor, steps: Tensor) -> Tensor:
    """Returns the steps between two codes, pair by pair: (P, *event) and (P, *event) -> (P * S, *event)."""
    weight = steps.to(start).reshape(-1, *[1] * (start.dim() - 1))
    return torch.lerp(start[:, None], end[:, None], weight).flatten(0, 1)
