"""What each dimension of a latent level does to an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.grid import image_grid
from vae_lab.pictures.latents import LevelCodes, codes, decode, on_model, prior_of, still
from vae_lab.types import Batch

STEPS = tuple(step / 2 for step in range(-6, 7))
"""Standard deviations of the prior."""


def traversals(
    model: LatentVariableModel, examples: Batch, level: int = 1, num_dimensions: int = 10, seed: int = 0
) -> Tensor:
    """The code of the first example, one dimension at a time moved by -3 to 3 standard deviations of its prior.

    The levels above keep their codes, on which the prior's scale is conditioned; the levels below follow as the means
    of their priors. So the middle column is always the same image: the code itself.

    Args:
        model: any.
        examples: B of them, over which the KL is averaged; of a conditional model best all of one class.
        level: moved; 1 is nearest the data.
        num_dimensions: rows, the dimensions that carry most nats.
        seed: of the posterior's noise in a hierarchy; elsewhere there is none.

    Returns:
        (3, H, W), a row for each dimension, labelled with its index and its mean KL in nats (with the variance of its
        posterior means, and ordered by it, where the prior does not factorise).

    Raises:
        ValueError: for a level that the model does not have.
    """
    if not 1 <= level <= model.num_levels:
        raise ValueError(f"level={level}: this model has levels 1 to {model.num_levels}")
    with still(model, seed):
        levels = codes(model, examples, seed)
        use, unit = _use_of_dimensions(levels[level - 1])
        top = use.topk(min(num_dimensions, len(use)))
        first = on_model(model, examples)
        context = model.context(None if first.y is None else first.y[:1])
        center = levels[level - 1].mean[:1]
        above = levels[level].mean[:1] if level < model.num_levels else None
        scale = prior_of(model, level, above, context).stddev.expand_as(center)
        images = decode(model, _moved(center, scale, top.indices), context, level)
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return image_grid(
        images,
        columns=len(STEPS),
        row_labels=[f"z[{dimension}]  {value:z.2f} {unit}" for dimension, value in pairs],
        column_labels=[f"{step:+.1f} σ" if step else "code" for step in STEPS],
    )


def _use_of_dimensions(level: LevelCodes) -> tuple[Tensor, str]:
    """How much each of the D dimensions says of the data, (D,), and in what."""
    if level.kl is not None:
        return level.kl.flatten(), "nats"
    return level.mean.flatten(1).var(0, correction=0), "var"


def _moved(center: Tensor, scale: Tensor, dimensions: Tensor) -> Tensor:
    """(1, *event) -> (R * S, *event): for each of R dimensions the code at each of S steps."""
    axes = one_hot(dimensions, center[0].numel()).to(center)[:, None]
    steps = torch.tensor(STEPS).to(center)[:, None]
    z = center.flatten(1) + scale.flatten(1) * axes * steps
    return z.reshape(-1, *center.shape[1:])
