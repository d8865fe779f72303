"""Pictures of what each level of latents adds to an image and costs; levels of one group stand together.

Shapes: B examples, G groups of levels, from the data up.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.conditions import row_label
from vae_lab.pictures.grid import DPI, figure_picture
from vae_lab.pictures.latents import batch_on_model, by_level, codes, decode, encode, evaluation_mode
from vae_lab.pictures.sheet import Sheet, originals
from vae_lab.types import Batch

_NUM_DRAWN = 10
"""Images per row of `redrawn`."""
INCHES = (2.4, 2.6)
"""Width of a group's chart, and height of all."""


def groups(model: LatentVariableModel) -> list[tuple[str, range]]:
    """Returns the groups of levels, nearest the data first: the name of each, and its levels counted from 0."""
    found, first = [], 0
    for name, members in groupby(model.level_groups):
        size = len(list(members))
        found.append((name.replace("_", " "), range(first, first + size)))
        first += size
    return found


def progressive(model: LatentVariableModel, examples: Batch, seed: int = 0) -> Sheet:
    """Draws examples from the codes of the top levels alone, then with the next ones; the rest are the prior's means.

    What the top row lacks, the levels below it hold.

    Args:
        examples: B examples, a column each.
        seed: seed of the posterior's noise where a level's mean follows a sample of another level.

    Returns:
        A row for each group of levels, the top first, below the originals. With the arrays ``images``, (G * B, ...),
        row by row, the codes ``z_1``, ..., (B, *event), ``originals`` and, if any, ``y`` and ``grey``.
    """
    with evaluation_mode(model, seed):
        batch = batch_on_model(model, examples)
        z, context = encode(model, batch), model.context(batch.y)
        rows = [(name, decode(model, z[levels.start :], context)) for name, levels in reversed(groups(model))]
    images = torch.cat([row for _, row in rows])
    shown = examples.original.to(images)
    names = [rows[0][0], *(f"+ {name}" for name, _ in rows[1:])]
    arrays = {"images": images, **by_level(z), **originals(examples)}
    return Sheet(torch.cat((shown, images)), len(batch.x), arrays, ["original", *names], spec=model.spec)


def redrawn(model: LatentVariableModel, example: Batch, seed: int = 0, num: int = _NUM_DRAWN) -> Sheet:
    """Redraws one group of levels of an example from the prior: those above keep their codes, those below follow.

    Args:
        seed: seed of the draws.
        num: draws in a row.

    Returns:
        A row for each group of levels, the top first; the first image of each row is the example. With the arrays
        ``images``, (G * num, ...), ``originals``, and, if any, ``y`` and ``grey``.
    """
    with evaluation_mode(model, seed):
        batch = batch_on_model(model, example)
        z = encode(model, batch)
        rows = [(name, _redrawn(model, z, levels, batch.y, num)) for name, levels in reversed(groups(model))]
    images = torch.cat([row for _, row in rows])
    shown = example.original.to(images).expand(1, *images.shape[1:])
    tiles = torch.cat([torch.cat((shown, row)) for _, row in rows])
    label = row_label(model.spec, example.y[0]) if model.conditional and example.y is not None else ""
    columns = ["original", *(str(number) for number in range(1, num + 1))]
    arrays = {"images": images, **originals(example)}
    return Sheet(tiles, num + 1, arrays, [f"{name} redrawn" for name, _ in rows], columns, label, model.spec)


def _redrawn(model: LatentVariableModel, z: Sequence[Tensor], levels: range, y: Tensor | None, num: int) -> Tensor:
    """Returns images (num, ...): codes above the levels, the levels drawn from the prior, below them its means."""
    above = [code.expand(num, *code.shape[1:]) for code in z[levels.stop :]]
    labels = None if y is None else y.expand(num, *y.shape[1:])
    temperature = [1.0 if level in levels else 0.0 for level in range(model.num_levels)]
    p = model.decode(above, labels, temperature) if above else model.generate(num, labels, temperature)
    return p.mean


def kl_by_level(model: LatentVariableModel, examples: Batch, seed: int = 0) -> Tensor:
    """Draws the nats that each level costs as bars and, for grids of latents, as maps, (3, H, W).

    Args:
        examples: examples that the nats are averaged over.
        seed: seed of the posterior's noise.
    """
    kls = [code.kl for code in codes(model, examples, seed)]
    grids = {name: _map(kls, levels) for name, levels in groups(model)}
    maps = [(name, grid) for name, grid in grids.items() if grid is not None]
    figure = Figure(figsize=(INCHES[0] * (1.4 + len(maps)), INCHES[1]), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, 1 + len(maps), squeeze=False, width_ratios=[1.4, *[1.0] * len(maps)])[0]
    nats = [float("nan") if kl is None else float(kl.sum()) for kl in kls]
    axes[0].bar(range(1, len(nats) + 1), nats)
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_xlabel("level, 1 nearest the data")
    axes[0].set_ylabel("KL, nats")
    for place, (name, grid) in zip(axes[1:], maps, strict=True):
        image = place.imshow(grid.numpy(), cmap="viridis", vmin=0)
        place.set_title(f"{name}: {float(grid.sum()):.1f} nats", fontsize=9)
        place.set_axis_off()
        figure.colorbar(image, ax=place, shrink=0.8)
    return figure_picture(figure)


def _map(kls: Sequence[Tensor | None], levels: range) -> Tensor | None:
    """Returns the nats of each place of a grid, all its levels and channels together; None for vectors."""
    found = (kls[level] for level in levels)
    grids = [kl.sum(0) for kl in found if kl is not None and kl.dim() == 3]
    return torch.stack(grids).sum(0).float().cpu() if grids else None


def codebook_use(model: LatentVariableModel, examples: Batch) -> Tensor:
    """Draws the share of each entry among the codes of examples, most used first, as a picture (3, H, W).

    Args:
        model: model with a codebook, of one level.
    """
    with evaluation_mode(model, seed=0):  # a quantiser draws none
        (codes,) = encode(model, batch_on_model(model, examples))
    links: Any = model.prior.links
    num_codes = int(links[0].num_codes)
    share = codes.long().flatten().bincount(minlength=num_codes).double() / codes.numel()
    share = share.sort(descending=True).values.cpu()
    perplexity = float(torch.special.entr(share).sum().exp())
    figure = Figure(figsize=(5.0, 2.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.bar(range(1, num_codes + 1), share.numpy(), width=1.0)
    axes.set_xlabel("entry of the codebook, most used first")
    axes.set_ylabel("share of the codes")
    axes.set_title(f"{int((share > 0).sum())} of {num_codes} used, perplexity {perplexity:.1f}", fontsize=9)
    return figure_picture(figure)


def most_used_levels(model: LatentVariableModel, examples: Batch, num: int, seed: int = 0) -> list[int]:
    """Returns the levels with most nats, at most ``num``, nearest the data first, counted from 1."""
    nats = [float("inf") if code.kl is None else float(code.kl.sum()) for code in codes(model, examples, seed)]
    return sorted(sorted(range(1, len(nats) + 1), key=lambda level: -nats[level - 1])[:num])
