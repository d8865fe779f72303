"""Codes of examples: mean and scale of the posterior of each level, also of levels that depend on other levels."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_lab.core.inputs import on_model
from vae_lab.core.model import LatentVariableModel
from vae_lab.core.terms import LatentLevel


class Code(NamedTuple):
    """The posterior of one level, as tensors or NumPy arrays of shape (B, *event).

    Attributes:
        mean: posterior mean.
        scale: standard deviation of the posterior, of each dimension.
    """

    mean: Any
    scale: Any


@torch.no_grad()
def latent_shapes(model: LatentVariableModel) -> list[tuple[int, ...]]:
    """Returns the shape of the latents of each level, nearest the data first; draws no random numbers."""
    y = None
    if model.conditional:  # any condition will do
        columns = model.spec.context_features if model.spec is not None and model.spec.vector_condition else 0
        y = torch.eye(1, columns) if columns else torch.zeros(1, dtype=torch.int64)
    context = model.context(on_model(model, y))
    walk = model.prior.descend(lambda i, p, state: on_model(model, torch.zeros(1, *p.event_shape)), None, context)
    return [tuple(p.event_shape) for p in reversed(walk.conditionals)]


def posterior_codes(model: LatentVariableModel, x: Tensor, y: Tensor | None = None, num_samples: int = 8) -> list[Code]:
    """Returns mean and scale of q(z_l | x, y) of each level, nearest the data first.

    They are exact for a Gaussian level that depends on no other. Of a level that depends on others they are those of
    its marginal over K samples of the others; of a posterior without a mean in closed form, those of its K samples.

    Args:
        x: (B, *data_shape).
        num_samples: K.
    """
    return [code_of(level) for level in model.infer(x, model.context(y, len(x)), num_samples)]


def code_of(level: LatentLevel) -> Code:
    """Returns mean and scale of a level, (B, *event): Var[z] = Var[E[z | others]] + E[Var[z | others]]."""
    center = level.center
    try:
        variance = center.var(0, correction=0) + level.q.variance.expand(level.z.shape).mean(0)
    except NotImplementedError:
        variance = level.z.var(0, correction=0)
    return Code(center.mean(0), variance.sqrt())
