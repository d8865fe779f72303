"""Compares the outputs of an exported graph with those of the run."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae_lab.exports.formats import Computes
from vae_lab.exports.graphs import Graph, Tensors

TOLERANCE = 1e-4
"""Largest error, relative to the largest output, of an export that is like the run."""

BATCH_SIZES = (1, 7)
"""Numbers of examples that are compared; a graph is traced with others."""


@torch.no_grad()
def largest_error(graph: Graph, exported: Computes, seed: int) -> float:
    """Returns the largest error of an exported graph, over batches of several sizes; see `relative_error`."""
    errors = []
    for number, size in enumerate(BATCH_SIZES, 1):
        inputs = graph.inputs(size, seed + number)
        errors.append(relative_error(exported(inputs), graph(**inputs)))
    return max(errors)


def relative_error(found: Tensors, expected: Tensors) -> float:
    """Returns the largest difference between outputs, divided by the largest size of those of the same unit.

    The outputs of one level have one unit, as has each column or channel of x; all parts of the bound are in nats.
    Infinity stands for outputs that are missing, of another shape, or not finite where those of the run are.
    """
    errors = [0.0]
    for name, value in expected.items():
        other = found.get(name)
        if other is None or other.shape != value.shape:
            return math.inf
        size = torch.stack([_size(each, key) for key, each in expected.items() if _unit(key) == _unit(name)]).amax(0)
        size = torch.where(size == 0, 1.0, size).reshape(-1, *(1 for _ in value.shape[2:]))
        same = other == value  # infinities, too
        gap = torch.where(same, 0.0, (other.double() - value.double()).abs() / size)
        errors.append(float(gap.nan_to_num(math.inf).max()) if gap.numel() else 0.0)
    return max(errors)


def _unit(name: str) -> str:
    return name.partition("_level_")[2]


def _size(value: Tensor, name: str) -> Tensor:
    """Returns the largest size of finite numbers, (1,), or of each column of x, (C,)."""
    rows = value.transpose(0, 1).flatten(1) if name.startswith("x_") else value.reshape(1, -1)
    return torch.where(rows.isfinite(), rows, 0.0).double().abs().amax(1)
