"""Residual convolutional networks for signals, pictures and volumes of any size and channel count.

Shapes: *places are the axes of an example after its channels: (length), (height, width) or (depth, height, width).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, interpolate

from vae_lab.networks.architecture import Architecture
from vae_lab.networks.context import join
from vae_lab.networks.mlp import Activation, Mlp, activation_module

_MAX_BLOCKS = 1000
"""Largest number of residual blocks in a stage."""


_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLING: dict[int, Callable[..., Tensor]] = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
"""Layers and functions by the number of places' axes."""


class _ConvSizes(NamedTuple):
    """Channels of the stages from the data up, residual blocks per stage, width next to the latent, activation."""

    channels: tuple[int, ...]
    blocks: int
    features: int
    activation: Activation


class _ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))), pre-activated (He et al. 2016, arXiv:1603.05027); (N, channels, *places) in and out.

    There is no batch normalisation, because the bound of an example must not depend on the others of its batch.
    """

    def __init__(self, channels: int, activation: Activation, dims: int) -> None:
        super().__init__()
        conv = _CONVOLUTIONS[dims]
        self.body = nn.Sequential(
            activation_module(activation),
            conv(channels, channels, 3, padding=1),
            activation_module(activation),
            conv(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class _ConvEncoder(nn.Module):
    """Example -> vector: each stage halves the sides (rounding up) and adds ``blocks`` residual blocks.

    Context is concatenated as constant channels.

    Args:
        in_shape: (channels, *places).
        out_shape: shape of one output.
        context_features: C, the width of the context; 0 for none.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        context_features: int,
        sizes: _ConvSizes,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, dims = in_shape[0] + context_features, len(in_shape) - 1
        self.in_dims = len(in_shape)
        for stage in sizes.channels:
            layers.append(_CONVOLUTIONS[dims](width, stage, 3, stride=2, padding=1))
            layers += [_ResidualBlock(stage, sizes.activation, dims) for _ in range(sizes.blocks)]
            width = stage
        self.stages = nn.Sequential(*layers, activation_module(sizes.activation))
        smallest = _stage_sizes(in_shape[1:], len(sizes.channels))[-1]
        self.to_out = nn.Sequential(
            nn.Linear(width * math.prod(smallest), sizes.features),
            activation_module(sizes.activation),
            nn.Linear(sizes.features, math.prod(out_shape)),
        )
        self.out_shape = tuple(out_shape)

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        given = _with_planes(given, context, self.in_dims)
        hidden = self.stages(given.reshape(-1, *given.shape[-self.in_dims :]))
        out: Tensor = self.to_out(hidden.flatten(1))
        return out.reshape(*given.shape[: -self.in_dims], *self.out_shape)


class _ConvDecoder(nn.Module):
    """Vector -> parameters of an example: the mirror of `_ConvEncoder`, enlarging by nearest neighbours.

    Args:
        in_shape: shape of one input.
        out_shape: (params_per_dim, channels, *places).
        context_features: C, the width of the context; 0 for none.
        sizes: sizes of the layers, the same as those of the encoder.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        context_features: int,
        sizes: _ConvSizes,
    ) -> None:
        super().__init__()
        self.in_dims = len(in_shape)
        self.out_shape = tuple(out_shape)
        channels, dims = sizes.channels, len(out_shape) - 2
        *self.image_sizes, smallest = _stage_sizes(out_shape[2:], len(channels))
        self.from_latent = nn.Sequential(
            nn.Linear(math.prod(in_shape) + context_features, sizes.features),
            activation_module(sizes.activation),
            nn.Linear(sizes.features, channels[-1] * math.prod(smallest)),
            nn.Unflatten(-1, (channels[-1], *smallest)),
        )
        stages: list[nn.Module] = []
        for stage, below in zip(channels[::-1], [*channels[-2::-1], math.prod(out_shape[:2])], strict=True):
            body = [_ResidualBlock(stage, sizes.activation, dims) for _ in range(sizes.blocks)]
            stages.append(nn.Sequential(*body, activation_module(sizes.activation)))
            stages.append(_CONVOLUTIONS[dims](stage, below, 3, padding=1))
        self.stages = nn.ModuleList(stages)

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        features = join(given.flatten(-self.in_dims), context)
        hidden = self.from_latent(features.reshape(-1, features.shape[-1]))
        for i, size in enumerate(reversed(self.image_sizes)):
            body, shrink = self.stages[2 * i], self.stages[2 * i + 1]
            hidden = shrink(interpolate(body(hidden), size=size))
        out: Tensor = hidden.reshape(*features.shape[:-1], *self.out_shape)
        return out

    def start_at(self, out: Tensor) -> None:
        """Sets the last bias so that outputs start around ``out``, (*out_shape), with one number per channel."""
        _start_at(self.stages[-1], out)


class _ConvBetween(nn.Module):
    """Grid -> parameters of a grid, such as two levels of spatial latents: places keep their neighbours throughout.

    Halves or doubles the side in each stage until the output's is reached. Context joins as constant planes.

    Args:
        in_shape: shape of one input, (channels, *places).
        out_shape: shape of one output, (params_per_dim, channels, *places).
        context_features: C; 0 for none.
    """

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int, sizes: _ConvSizes
    ) -> None:
        super().__init__()
        self.out_shape = tuple(out_shape)
        self.in_dims = len(in_shape)
        dims = self.in_dims - 1
        self.pool = _POOLING[dims]
        self.sides = _sides_between(tuple(in_shape[1:]), tuple(out_shape[2:]))
        width = sizes.channels[-1]
        self.read = _CONVOLUTIONS[dims](in_shape[0] + context_features, width, 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(width, sizes.activation, dims) for _ in range(sizes.blocks)))
            for _ in self.sides
        )
        self.out = nn.Sequential(
            activation_module(sizes.activation),
            _CONVOLUTIONS[dims](width, math.prod(self.out_shape[:2]), 3, padding=1),
        )

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        given = _with_planes(given, context, self.in_dims)
        hidden = self.read(given.reshape(-1, *given.shape[-self.in_dims :]))
        for side, stage in zip(self.sides, self.stages, strict=True):
            smaller = any(new < old for new, old in zip(side, hidden.shape[2:], strict=True))
            hidden = self.pool(hidden, side) if smaller else interpolate(hidden, size=side)
            hidden = stage(hidden)
        out: Tensor = self.out(hidden)
        return out.reshape(*given.shape[: -self.in_dims], *self.out_shape)

    def start_at(self, out: Tensor) -> None:
        """Sets the last bias to an output, (*out_shape), that the network starts around: one number per channel."""
        _start_at(self.out[-1], out)


def _start_at(layer: nn.Module, out: Tensor) -> None:
    """Sets the bias of a convolution to the mean of an output, (params_per_dim, channels, *places), over its places."""
    bias = layer.bias
    assert isinstance(bias, Tensor), "a convolution has a bias"
    bias.data.copy_(out.flatten(2).mean(-1).flatten())


def _with_planes(given: Tensor, context: Tensor | None, in_dims: int) -> Tensor:
    """Returns a grid, whose last ``in_dims`` axes are those of an example, with the context as constant planes."""
    if context is None:
        return given
    places = given.shape[1 - in_dims :]
    planes = context.to(given.dtype).reshape(*context.shape, *[1] * len(places))
    return torch.cat((given, planes.expand(*given.shape[:-in_dims], -1, *places)), dim=-in_dims)


def _sides_between(start: tuple[int, ...], end: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Returns the sides of each stage from ``start`` to ``end``, halved or doubled in each: 7 -> 7, 14, 28."""
    sides = [start]
    while sides[-1] != end:
        sides.append(tuple(_nearer(side, goal) for side, goal in zip(sides[-1], end, strict=True)))
    return sides


def _nearer(side: int, goal: int) -> int:
    return max(goal, math.ceil(side / 2)) if side > goal else min(goal, 2 * side)


def _stage_sizes(size: Sequence[int], stages: int) -> list[tuple[int, ...]]:
    """Returns the sides of the data and after each stage, such as 28 -> 14 -> 7 -> 4."""
    sizes = [tuple(size)]
    for _ in range(stages):
        sizes.append(tuple(math.ceil(side / 2) for side in sizes[-1]))
    return sizes


class ConvArchitecture(Architecture):
    """Convolutional networks between examples and latents; between vectors, `Mlp`s of the same width and activation.

    Examples are signals, pictures or volumes, in which convolutions have one, two or three dimensions.

    Args:
        channels: channels of the stages, from the data up; each stage halves the sides of an example.
        blocks: residual blocks per stage.
        features: width of the fully connected layer next to the latent.
        activation: activation of every network.

    Raises:
        ValueError: for no stage, a size below 1 (``blocks`` may be 0), or more than a thousand blocks.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        features: int = 256,
        activation: Activation = "silu",
    ) -> None:
        if not channels or min(channels) < 1:
            raise ValueError(f"channels={list(channels)}: name at least one stage, each of 1 channel or more")
        if not 0 <= blocks <= _MAX_BLOCKS or features < 1:
            allowed = f"blocks must lie in 0..{_MAX_BLOCKS}, and features be at least 1"
            raise ValueError(f"blocks={blocks}, features={features}: {allowed}")
        self.sizes = _ConvSizes(tuple(channels), blocks, features, activation)

    def check_data(self, shape: Sequence[int]) -> None:
        if not 2 <= len(shape) <= 4:
            raise ValueError(
                f"ConvArchitecture: needs signals, pictures or volumes, but an example has shape {tuple(shape)};"
                " use MlpArchitecture"
            )

    def encoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> nn.Module:
        if _is_between_grids(in_shape, out_shape):
            return _ConvBetween(in_shape, out_shape, context_features, self.sizes)
        if not 2 <= len(in_shape) <= 4:
            return self._between_vectors(in_shape, out_shape, context_features)
        return _ConvEncoder(in_shape, out_shape, context_features, self.sizes)

    def decoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> nn.Module:
        if _is_between_grids(in_shape, out_shape):
            return _ConvBetween(in_shape, out_shape, context_features, self.sizes)
        if not 3 <= len(out_shape) <= 5:
            return self._between_vectors(in_shape, out_shape, context_features)
        return _ConvDecoder(in_shape, out_shape, context_features, self.sizes)

    def _between_vectors(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int) -> nn.Module:
        return Mlp(in_shape, out_shape, context_features, (self.sizes.features,), self.sizes.activation)


def _is_between_grids(in_shape: Sequence[int], out_shape: Sequence[int]) -> bool:
    """True for an input (channels, *places) and an output (params_per_dim, channels, *places)."""
    return 2 <= len(in_shape) <= 4 and len(out_shape) == len(in_shape) + 1
