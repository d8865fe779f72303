"""The deep hierarchy of spatial latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from vae_lab.core import LatentVariableModel, RelativePosterior, ResidualChain
from vae_lab.distributions import ConditionalDistribution, Gaussian, StandardNormal
from vae_lab.distributions.priors import PriorFactory
from vae_lab.models.builders import (
    LikelihoodFactory,
    check_kinds,
    check_latent_dims,
    check_sizes,
    label_embedding,
    likelihood_head,
    share_posterior,
)
from vae_lab.networks.spatial import (
    FeaturesToVector,
    FirstState,
    Grid,
    Residual,
    StateAndFeatures,
    StateToLatent,
    StateToPicture,
    StateUpdate,
    UpwardPass,
)
from vae_lab.types import DataSpec


class Deep(LatentVariableModel):
    """Latents on grids below a vector; every level depends on all levels above (Child 2021, arXiv:2011.10650).

    p(z) is a `ResidualChain` from the vector down to the finest grid, q(z|x) a `RelativePosterior` (Vahdat and Kautz
    2020, arXiv:2007.03898). It builds its own networks.

    Args:
        spec: spec of the data, which must be pictures.
        latent_dim: dimensions of the top level, a vector.
        levels: number of levels of latents on each grid, from the data up.
        channels: channels of the latents of each grid.
        widths: channels of the state and the features of each grid.
        top_width: width of the features and the state at the vector.
        blocks: residual blocks of the upward pass on each grid.
        stem: ratio of the side of the picture to that of the first grid; each further grid halves the one below.
        likelihood: event_shape -> head over the data.
        prior: (event_shape, context_features) -> p(z_L|c).
        checkpoint_blocks: True: compute the residual blocks again for the gradient, for less memory and more time.
        memory_format: layout of the weights; auto is channels_last, in which convolutions in bf16 are fastest.
        conditional: True: the label enters the first state, and so all levels below, and the posterior of the top.

    Raises:
        ValueError: for lists of different lengths, sizes below 1, or data that are not pictures.
    """

    compile_pays = False

    def __init__(
        self,
        spec: DataSpec,
        latent_dim: int,
        likelihood: LikelihoodFactory,
        levels: Sequence[int] = (2, 3),
        channels: Sequence[int] = (4, 8),
        widths: Sequence[int] = (32, 64),
        top_width: int = 128,
        blocks: Sequence[int] = (1, 2),
        stem: int = 2,
        checkpoint_blocks: bool = False,
        memory_format: Literal["auto", "channels_last", "contiguous"] = "auto",
        prior: PriorFactory = StandardNormal,
        conditional: bool = False,
    ) -> None:
        check_kinds(spec, likelihood, prior)
        check_latent_dims([latent_dim])
        _check_sizes(spec, levels, channels, widths, blocks, stem, top_width)
        embed, context = label_embedding(spec, conditional)
        grids = _grids(spec.shape, widths, stem)
        top = Grid(top_width, 1, 1)
        grid_of_level = [number for number, count in enumerate(levels) for _ in range(count)]
        heads = [Gaussian((channels[number], grids[number].height, grids[number].side)) for number in grid_of_level]
        states = [grids[number] for number in grid_of_level]
        factor = 1 / math.sqrt(len(heads) + 1)

        links: list[nn.Module] = [prior((latent_dim,), context)]
        updates: list[nn.Module] = [FirstState(top, latent_dim, context, factor, states[-1])]
        below = [states[0], *states[:-1]]
        for head, grid, next_grid in reversed(list(zip(heads, states, below, strict=True))):
            links.append(ConditionalDistribution(StateToLatent(grid, head.param_shape), head))
            updates.append(StateUpdate(grid, head.event_shape[0], factor, next_grid))

        z_top = Gaussian((latent_dim,))
        posterior = RelativePosterior(
            UpwardPass(spec.seen_shape, [*grids, top], [*blocks, 1]),
            grid_of_level,
            ConditionalDistribution(FeaturesToVector(top, z_top.param_shape, context), z_top),
            [StateAndFeatures(grid, head.param_shape) for grid, head in zip(states, heads, strict=True)],
        )
        x = likelihood_head(spec, likelihood)
        super().__init__(
            prior=ResidualChain(links, updates),
            posterior=posterior,
            likelihood=ConditionalDistribution(StateToPicture(grids[0], x.param_shape), x),
            embed=embed,
            spec=spec,
        )
        for module in self.modules():
            if isinstance(module, Residual):
                module.recomputed = checkpoint_blocks
        if memory_format != "contiguous":
            self.to(memory_format=torch.channels_last)
        self.widest_state = max(math.prod(grid.size) for grid in grids)
        self._groups = (*(f"grid_{grid.height}x{grid.side}" for grid in states), "top")
        share_posterior(self, spec)

    @property
    def level_groups(self) -> tuple[str, ...]:
        """Grid of each level, because a deep model has too many levels for a curve of each."""
        return self._groups


def _grids(shape: Sequence[int], widths: Sequence[int], stem: int) -> list[Grid]:
    """Returns the grids from the data up, such as sides of 14, 7, 4, ... for pictures of 28 and a stem of 2."""
    height, side = shape[1:]
    grids = []
    for width, factor in zip(widths, [stem] + [2] * len(widths), strict=False):
        height, side = math.ceil(height / factor), math.ceil(side / factor)
        grids.append(Grid(width, height, side, factor))
    return grids


def _check_sizes(
    spec: DataSpec,
    levels: Sequence[int],
    channels: Sequence[int],
    widths: Sequence[int],
    blocks: Sequence[int],
    stem: int,
    top_width: int,
) -> None:
    if len(spec.shape) != 3:
        raise ValueError(f"Deep: needs pictures, (channels, height, width), but an example has shape {spec.shape}")
    if not len(levels) == len(channels) == len(widths) == len(blocks) or not levels:
        lists = f"levels={list(levels)}, channels={list(channels)}, widths={list(widths)}, blocks={list(blocks)}"
        raise ValueError(f"{lists}: name one number for each grid, from the data up")
    check_sizes(1, levels=levels, channels=channels, widths=widths, stem=stem, top_width=top_width)
    check_sizes(0, blocks=blocks)
