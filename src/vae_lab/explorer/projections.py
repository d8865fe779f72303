"""Planes in which the codes of many examples are shown: the plane itself, the dimensions with most nats, or PCA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_lab.explorer.guard import RefusedError
from vae_lab.explorer.shown import rounded
from vae_lab.types import DataSpec

_VIEWS = ("pca", "kl")


def plane(mean: Tensor, view: Any, nats: Tensor | None) -> dict[str, Any]:
    """Returns the places of codes in a plane.

    Args:
        mean: posterior means of N examples at one level, (N, *event).
        view: ``pca``, the two directions of most variance, or ``kl``, the two dimensions with most nats. Of a level of
            two dimensions both are the plane itself.
        nats: nats of each dimension; None: their variance decides.

    Returns:
        ``points`` (N, 2), the ``center`` (D,) that is at 0, the two ``axes`` (2, D), orthonormal, and their ``titles``.
    """
    if view not in _VIEWS:
        raise RefusedError(400, f"view: must be one of {', '.join(_VIEWS)}")
    codes = mean.flatten(1).double().cpu()
    size = codes.shape[1]
    if size == 1:
        axes, center, titles = torch.eye(2, 1).double(), torch.zeros(1), ["z[0]", ""]
    elif size == 2 or view == "kl" or len(codes) == 1:  # one example has no direction of most variance
        use = codes.var(0, correction=0) if nats is None else nats
        best = torch.arange(2) if size == 2 else use.topk(2).indices
        axes, center = torch.eye(size).double()[best], torch.zeros(size)
        titles = [f"z[{i}]" for i in best.tolist()]
    else:
        center = codes.mean(0)
        _, scales, directions = torch.linalg.svd(codes - center, full_matrices=False)
        axes = directions[:2]
        share = scales.square() / scales.square().sum().clamp(min=1e-30)
        titles = [f"principal component {i + 1}, {share[i]:.0%} of the variance" for i in range(2)]
    points = (codes - center.double()) @ axes.T
    return {
        "points": [[round(value, 4) for value in point] for point in points.tolist()],
        "center": rounded(center),
        "axes": [rounded(axis) for axis in axes],
        "titles": titles,
    }


def labels(y: Tensor | None, spec: DataSpec) -> tuple[list[int], list[str]]:
    """Returns the class of each example and the names of the classes; nothing without classes."""
    if y is None or not spec.num_classes:
        return [], []
    classes = y if y.dim() == 1 else y[:, : spec.num_classes].argmax(1)
    return classes.tolist(), [spec.name_of(number) for number in range(spec.num_classes)]
