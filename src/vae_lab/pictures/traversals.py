"""Pictures of the effect that each dimension of a latent level has on an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.conditions import row_label
from vae_lab.pictures.latents import (
    LevelCodes,
    batch_on_model,
    by_level,
    codes,
    decode,
    evaluation_mode,
    prior_of,
    rows_of,
)
from vae_lab.pictures.sheet import Sheet, originals
from vae_lab.types import Batch

STEPS = tuple(step / 2 for step in range(-6, 7))
"""Steps in standard deviations of the prior."""
UNITS = {"kl": "nats", "variance": "var"}


def traversals(
    model: LatentVariableModel, examples: Batch, level: int = 1, num_dimensions: int = 10, seed: int = 0
) -> Sheet:
    """Draws the code of the first example, one dimension at a time moved by -3 to 3 deviations of its prior.

    The levels above keep their codes, on which the prior's scale is conditioned; the levels below follow as the means
    of their priors. So the middle column is always the same image: the code itself.

    Args:
        examples: B examples, over which the KL is averaged; for a conditional model, best all of one class.
        level: level that is moved; 1 is nearest the data.
        num_dimensions: number of rows, of the dimensions that carry most nats.
        seed: seed of the posterior's noise in a hierarchy; other models have none.

    Returns:
        A row for each of R dimensions, labelled with its index and its mean KL in nats (with the variance of its
        posterior means, and ordered by it, if the prior does not factorise). With the arrays ``images`` and,
        from this level to the top, ``z_<level>``, ..., (R * S, ...), the ``dimensions`` and their ``kl`` in nats, or
        ``variance``, (R,), the ``steps`` in standard deviations, (S,), and of the first example ``originals``, (1, C,
        H, W), and ``y``, (1,), if any.

    Raises:
        ValueError: for a level that the model does not have.
    """
    if not 1 <= level <= model.num_levels:
        raise ValueError(f"level={level}: this model has levels 1 to {model.num_levels}")
    levels = codes(model, examples, seed)
    use, measure = _use_of_dimensions(levels[level - 1])
    top = use.topk(min(num_dimensions, len(use)))
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    labels = [f"z[{dimension}]  {value:z.2f} {UNITS[measure]}" for dimension, value in pairs]
    return _sheet(model, examples, levels, level, 0, top.indices, labels, {measure: top.values})


def traversals_by_factor(
    model: LatentVariableModel,
    examples: Batch,
    dimensions: Mapping[str, tuple[int, float]],
    level: int = 1,
) -> Sheet:
    """Draws `traversals` with a row for each generative factor: of the dimension that says most about it.

    Args:
        examples: B examples; the one whose code is nearest the mean is moved, because an extreme one could leave the
            data.
        dimensions: dimension of each factor, by name, and its mutual information in nats.
        level: level that is moved; 1 is nearest the data.

    Returns:
        As `traversals`, with rows labelled as ``scale: z[3]  0.52 nats`` and the array ``mutual_information``, (R,).
    """
    levels = codes(model, examples)
    mean = levels[level - 1].mean.flatten(1)
    central = int((mean - mean.mean(0)).square().sum(1).argmin())
    labels = [f"{name}: z[{dimension}]  {nats:.2f} nats" for name, (dimension, nats) in dimensions.items()]
    rows, nats = (torch.tensor(column) for column in zip(*dimensions.values(), strict=True))
    return _sheet(model, examples, levels, level, central, rows, labels, {"mutual_information": nats})


def _sheet(
    model: LatentVariableModel,
    examples: Batch,
    levels: Sequence[LevelCodes],
    level: int,
    example: int,
    dimensions: Tensor,
    labels: Sequence[str],
    measure: Mapping[str, Tensor],
) -> Sheet:
    """Draws the code of one of the examples, moved along each of the dimensions (R,): a row of images for each."""
    one = slice(example, example + 1)
    original = rows_of(examples, one)
    with evaluation_mode(model, seed=0):
        context = model.context(batch_on_model(model, original).y)
        center = levels[level - 1].mean[one]
        above = [upper.mean[one] for upper in levels[level:]]
        scale = prior_of(model, above, context).stddev.expand_as(center)
        z = _moved(center, scale, dimensions.to(center.device))
        z_from_level = [z, *(upper.expand(len(z), *upper.shape[1:]) for upper in above)]
        images = decode(model, z_from_level, context)
    moved = {"images": images, **by_level(z_from_level, level), "dimensions": dimensions, "steps": torch.tensor(STEPS)}
    columns = [f"{step:+g} σ" if step else "code" for step in STEPS]
    shown = row_label(model.spec, original.y[0]) if model.conditional and original.y is not None else ""
    arrays = {**moved, **measure, **originals(original)}
    note = "σ is the standard deviation of the prior"
    return Sheet(images, len(STEPS), arrays, labels, columns, shown, model.spec, note=note)


def _use_of_dimensions(level: LevelCodes) -> tuple[Tensor, str]:
    """Returns how much each of the D dimensions says about the data, (D,), and the name of the measure."""
    if level.kl is not None:
        return level.kl.flatten(), "kl"
    return level.mean.flatten(1).var(0, correction=0), "variance"


def _moved(center: Tensor, scale: Tensor, dimensions: Tensor) -> Tensor:
    """Returns the code at each of S steps along each of R dimensions, (1, *event) -> (R * S, *event)."""
    axes = one_hot(dimensions, center[0].numel()).to(center)[:, None]
    steps = torch.tensor(STEPS).to(center)[:, None]
    z = center.flatten(1) + scale.flatten(1) * axes * steps
    return z.reshape(-1, *center.shape[1:])
