"""Codes of examples and images of codes, at any level of a model; the same each time.

Shapes: K samples, B batch, L levels, C context features, N codes. Level 1 is nearest the data, level L is the top.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_lab import noise
from vae_lab.core import LatentLevel, LatentVariableModel
from vae_lab.core.inputs import on_model
from vae_lab.settings import Draw
from vae_lab.types import Batch

CHUNK = 64
"""Images decoded or encoded at once: with 256 logits for each pixel, a picture of 400 would not fit some devices."""
_POSTERIOR_SAMPLES = 8
"""Samples that the codes of the levels above the first are averaged over."""


class LevelCodes(NamedTuple):
    """One level's posteriors of B examples.

    Attributes:
        mean: posterior mean, averaged over samples of the levels that it depends on, (B, *event).
        kl: KL of each dimension in nats, averaged over the examples, (*event); None if the prior does not factorise.
    """

    mean: Tensor
    kl: Tensor | None


@contextmanager
def evaluation_mode(model: LatentVariableModel, seed: int) -> Iterator[None]:
    """Context manager in which a model evaluates without gradients, with noise of a seed; then both are restored."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), noise.fixed_seed(seed, on_model(model, torch.empty(0)).device):
            yield
    finally:
        for module, training in modes:
            module.training = training


def rows_of(batch: Batch, rows: slice | Tensor) -> Batch:
    """Returns some examples of a batch."""
    y, grey = (None if part is None else part[rows] for part in (batch.y, batch.grey))
    return Batch(batch.x[rows], y, grey=grey)


def varied(examples: Batch) -> Batch:
    """Returns the examples mixed, one of each class in turn, so that already the first few are varied.

    Examples with a row of attributes or numbers are mixed only.
    The order of a data set would not do: many are sorted by class, or by a factor such as size or position.
    """
    order = np.random.default_rng(0).permutation(len(examples.x))
    if examples.y is not None and examples.y.dim() == 1:
        labels = examples.y.cpu().numpy()[order]
        turns = np.zeros_like(labels)
        for label in np.unique(labels):
            turns[labels == label] = np.arange((labels == label).sum())
        order = order[np.lexsort((labels, turns))]
    return rows_of(examples, torch.from_numpy(order))


def first_varied(examples: Batch, num: int) -> Batch:
    """Returns at most ``num`` of the examples, the first ones in the order of `varied`."""
    return rows_of(varied(examples), slice(num))


def batch_on_model(model: LatentVariableModel, examples: Batch) -> Batch:
    """Returns examples on the model's device and in its precision; without labels for an unconditional model.

    Raises:
        ValueError: for examples without labels and a conditional model.
    """
    x = on_model(model, examples.x)
    if not model.conditional:
        return Batch(x)
    if examples.y is None:
        raise ValueError("this model is conditional: its pictures need examples with labels y")
    return Batch(x, on_model(model, examples.y))


def encode(model: LatentVariableModel, batch: Batch) -> list[Tensor]:
    """Returns `LatentVariableModel.encode` of any number of examples."""
    rows = [rows_of(batch, rows) for rows in _slices(len(batch.x))]
    chunks = [model.encode(chunk.x, chunk.y) for chunk in rows]
    return [torch.cat(level) for level in zip(*chunks, strict=True)]


def codes(model: LatentVariableModel, examples: Batch, seed: int = 0) -> list[LevelCodes]:
    """Returns the posteriors of the examples, level by level from the data up."""
    with evaluation_mode(model, seed):
        batch = batch_on_model(model, examples)
        parts = [rows_of(batch, rows) for rows in _slices(len(batch.x))]
        inferred = (model.infer(part.x, model.context(part.y), _POSTERIOR_SAMPLES) for part in parts)
        chunks = [[_level_codes(level) for level in levels] for levels in inferred]
    return [_joined(level) for level in zip(*chunks, strict=True)]


def prior_of(model: LatentVariableModel, above: Sequence[Tensor], context: Tensor | None) -> Distribution:
    """Returns the prior of the level below ``above``, codes of the top levels, nearest the data first."""
    return model.prior.next_conditional(above[::-1], None, context)


def decode(
    model: LatentVariableModel, z: Sequence[Tensor], context: Tensor | None = None, draw: Draw = "mean"
) -> Tensor:
    """Returns the means of p(x | z, context), the levels below those of ``z`` being the means of their priors.

    Args:
        z: codes of the top levels, (N, *event) each, nearest the data first; the last one is the top level's.
        context: context of each code, (N, C), or (1, C) for all of them.
        draw: mean or sample of the pixels.

    Returns:
        (N, *data_shape).
    """
    num = len(z[0])
    whole = None if context is None else context.expand(num, -1)
    images = []
    for rows in _slices(num):
        p = model.decode([code[rows] for code in z], context=None if whole is None else whole[rows])
        images.append(p.mean if draw == "mean" else p.sample())
    return torch.cat(images)


def by_level(z: Iterable[Tensor], first: int = 1) -> dict[str, Tensor]:
    """Names codes for a `Sheet`: ``z_1``, ``z_2``, ..., from level ``first`` up."""
    return {f"z_{level}": code for level, code in enumerate(z, first)}


def _slices(total: int) -> Iterator[slice]:
    yield from (slice(start, start + CHUNK) for start in range(0, total, CHUNK))


def _level_codes(level: LatentLevel) -> LevelCodes:
    kl = level.kl_per_dimension
    return LevelCodes(level.center.mean(0), None if kl is None else kl.mean((0, 1)))


def _joined(chunks: Sequence[LevelCodes]) -> LevelCodes:
    """Returns the codes of all chunks together; each example's KL weighs the same, also in a short last chunk."""
    mean = torch.cat([chunk.mean for chunk in chunks])
    sums = [chunk.kl * len(chunk.mean) for chunk in chunks if chunk.kl is not None]
    return LevelCodes(mean, torch.stack(sums).sum(0) / len(mean) if sums else None)
