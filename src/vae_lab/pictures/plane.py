"""Pictures of a plane of latents: the image that each place decodes to, and the places of the data in it."""

from __future__ import annotations

import math

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.core.codes import latent_shapes
from vae_lab.core.inputs import on_model
from vae_lab.pictures.classes import MAX_NAME
from vae_lab.pictures.grid import DPI, figure_picture
from vae_lab.pictures.latents import codes, decode, evaluation_mode, prior_of
from vae_lab.pictures.sheet import Sheet
from vae_lab.types import Batch, DataSpec

_PLANE = (2,)
"""Event shape of the latents that can be shown as a plane."""
_NAMED_CLASSES = 20
"""Classes that have a colour and a name each; of more at most so many are named, at a colour bar."""
INCHES = 4.8
MARKER = 12


def latent_plane(model: LatentVariableModel) -> bool:
    """True if the top level has two dimensions."""
    with evaluation_mode(model, seed=0):
        return latent_shapes(model)[-1] == _PLANE


def manifold(model: LatentVariableModel, y: int | Tensor | None = None, num: int = 20) -> Sheet:
    """Draws the decoded plane of the top level, in equal steps of prior probability.

    z[0] grows to the right and z[1] upwards, through the quantiles of a Gaussian with the prior's mean and standard
    deviation; the levels below are the means of their priors.

    Args:
        model: model whose top level has two dimensions.
        y: class, or row of a condition (C,), for a conditional model.
        num: number of images in a row and in a column.

    Returns:
        With the arrays ``images`` and ``z_<L>``, (num * num, ...), row by row, the values of ``axis_0`` from left to
        right and of ``axis_1`` from top to bottom, (num,), and the class ``y``, (1,), or the row, (1, C), if any.

    Raises:
        ValueError: for a top level of other than two dimensions.
    """
    _check_plane(model)
    labels = on_model(model, None if y is None else torch.as_tensor(y)[None])
    with evaluation_mode(model, seed=0):
        context = model.context(labels)
        prior = prior_of(model, (), context)
        across, up = _quantiles(prior.mean.flatten(), prior.stddev.flatten(), num)
        down = up.flip(0)
        z = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1).reshape(-1, 2)
        images = decode(model, [z], context)
    arrays = {"images": images, f"z_{model.num_levels}": z, "axis_0": across, "axis_1": down}
    return Sheet(
        images,
        num,
        arrays | ({} if labels is None else {"y": labels}),
        row_labels=[f"z[1] = {value:.2f}" for value in down.tolist()],
        column_labels=[f"{value:.2f}" for value in across.tolist()],
        corner="z[0] =",
        spec=model.spec,
    )


def code_scatter(model: LatentVariableModel, examples: Batch, seed: int = 0) -> Tensor:
    """Draws the posterior means of the examples in the plane of the top level, coloured by label, (3, H, W).

    Args:
        model: model whose top level has two dimensions.
        examples: examples, with or without labels for the colours, whether the model takes labels or not.
        seed: seed of the posterior's noise in a hierarchy; other models have none.

    Raises:
        ValueError: for a top level of other than two dimensions.
    """
    _check_plane(model)
    z = codes(model, examples, seed)[-1].mean.float().cpu()
    figure = Figure(figsize=(INCHES, INCHES), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("z[0]")
    axes.set_ylabel("z[1]")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)
    y, name = _colours(examples.y, model.spec)
    _scatter(figure, axes, z, y, model.spec, name)
    return figure_picture(figure)


def _check_plane(model: LatentVariableModel) -> None:
    if not latent_plane(model):
        raise ValueError("only a top level of 2 dimensions can be shown as a plane: set latent_dim=2")


def _quantiles(mean: Tensor, scale: Tensor, num: int) -> Tensor:
    """Returns the values at probabilities 1/2n, 3/2n, ... of N(mean, diag(scale^2)), (2, n)."""
    probabilities = (torch.arange(num, dtype=mean.dtype, device=mean.device) + 0.5) / num
    standard: Tensor = torch.special.ndtri(probabilities)
    return mean[:, None] + scale[:, None] * standard


def _colours(y: Tensor | None, spec: DataSpec | None) -> tuple[Tensor | None, str]:
    """Returns what codes are coloured by: their class or, without classes, the first number or attribute; its name."""
    if y is None or y.dim() == 1:
        return None if y is None else y.cpu(), "class"
    assert spec is not None, "rows of a condition belong to a spec"
    if spec.num_classes:
        return y[:, : spec.num_classes].argmax(1).cpu(), "class"
    column = len(spec.attributes) if spec.numbers else 0
    return y[:, column].cpu(), spec.context_names[column]


def _scatter(figure: Figure, axes: Axes, z: Tensor, y: Tensor | None, spec: DataSpec | None, name: str) -> None:
    """Draws codes (N, 2) in one colour, in the colours of their classes with a legend, or on a colour bar for many."""
    if y is None:
        axes.scatter(z[:, 0], z[:, 1], s=MARKER)
    elif y.is_floating_point() or y.max() >= _NAMED_CLASSES:
        points = axes.scatter(z[:, 0], z[:, 1], s=MARKER, c=y, cmap="turbo")
        bar = figure.colorbar(points, ax=axes)
        bar.set_label(name, parse_math=False)
        if not y.is_floating_point():
            present = sorted(set(y.tolist()))
            ticks = present[:: math.ceil(len(present) / _NAMED_CLASSES)]
            bar.set_ticks(ticks, labels=[_short_name(spec, label) for label in ticks])
            for text in bar.ax.get_yticklabels():
                text.set_parse_math(False)  # a name may hold dollars
    else:
        _scatter_classes(axes, z, y, spec)


def _short_name(spec: DataSpec | None, label: int) -> str:
    return str(label) if spec is None else spec.name_of(label)[:MAX_NAME]


def _scatter_classes(axes: Axes, z: Tensor, y: Tensor, spec: DataSpec | None) -> None:
    colours = colormaps["tab10" if y.max() < 10 else "tab20"]
    for label in sorted(set(y.tolist())):
        mine = z[y == label]
        name = _short_name(spec, label)
        shown = f"{' ' * name.startswith('_')}{name}"  # matplotlib leaves names with an underscore out of its legends
        axes.scatter(mine[:, 0], mine[:, 1], s=MARKER, color=colours(label), label=shown)
    legend = axes.legend(title="class", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold dollars
