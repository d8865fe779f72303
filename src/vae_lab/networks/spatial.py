"""Networks on grids of features, for hierarchies of latents that keep their place in the picture.

Shapes: a state or a feature map is (..., width, height, side); leading dimensions are samples and batch, the context
is (B, C). There is no batch normalisation, because the bound of an example must not depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, silu
from torch.utils.checkpoint import checkpoint

from vae_lab.networks.context import join

_NEAR_ZERO = 0.01
"""Factor of the weights of layers whose outputs start near zero."""


class Grid(NamedTuple):
    """Size of a feature map without the batch, and its ratio to the grid or picture below.

    Attributes:
        width, height, side: size of the map; a vector is (width, 1, 1).
        factor: ratio of the side of the grid below, or of the picture, to this one; 0 for the vector above all grids.
    """

    width: int
    height: int
    side: int
    factor: int = 0

    @property
    def size(self) -> tuple[int, int, int]:
        """Shape of the map."""
        return self[:3]


def convolve(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Applies a layer for (N, C, H, W) to x of (..., C, H, W)."""
    leading = x.shape[:-3]
    if len(leading) == 1:
        return layer(x)
    out = layer(x.reshape(-1, *x.shape[-3:]))
    return out.reshape(*leading, *out.shape[1:])


def conv(inputs: int, outputs: int, kernel: int = 3, factor: float = 1.0) -> nn.Conv2d:
    """Returns a convolution that keeps the grid, its weights scaled by ``factor`` and, if that is not 1, its bias 0."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    if factor != 1.0:
        with torch.no_grad():
            layer.weight.mul_(factor)
            assert layer.bias is not None
            layer.bias.zero_()
    return layer


class Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))) on a grid; on a vector the convolutions are of size 1.

    Args:
        grid: size of x.
        factor: factor of the weights of the last layer; 1 / sqrt(number of blocks) bounds the sum of many blocks.
    """

    recomputed = False
    """True: activations are computed again for the gradient instead of kept."""

    def __init__(self, grid: Grid, factor: float = 1.0) -> None:
        super().__init__()
        kernel = 3 if grid.height * grid.side > 1 else 1
        self.first = conv(grid.width, grid.width, kernel)
        self.last = conv(grid.width, grid.width, kernel, factor)

    def forward(self, x: Tensor) -> Tensor:
        return x + convolve(self._body, x)

    def _body(self, x: Tensor) -> Tensor:
        if self.recomputed and torch.is_grad_enabled():
            kept: Tensor = checkpoint(self._layers, x, use_reentrant=False, preserve_rng_state=False)
            return kept
        return self._layers(x)

    def _layers(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(silu(self.first(silu(x))))
        return out


class Shrink(nn.Module):
    """Strided convolution from a grid or picture (channels, height, side) to the smaller grid above it.

    The vector above all grids reads all places at once.
    """

    def __init__(self, below: Sequence[int], above: Grid) -> None:
        super().__init__()
        if above.factor:
            reach = max(1, above.factor - 1)  # sides that are not multiples of the factor are rounded up
            self.layer = nn.Conv2d(below[0], above.width, 2 * reach + 1, stride=above.factor, padding=reach)
        else:
            self.layer = nn.Conv2d(below[0], above.width, (below[1], below[2]))

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.layer, x)


class Enlarge(nn.Module):
    """Map from a grid to the larger one below it: each place gives the features of the places that it covers."""

    def __init__(self, above: Grid, below: Grid) -> None:
        super().__init__()
        self.below = below
        self.factor = above.factor
        places = self.factor**2 or below.height * below.side
        self.layer = conv(above.width, below.width * places, 1)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self._enlarge, x)

    def _enlarge(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        if not self.factor:
            return out.reshape(x.shape[0], *self.below.size)
        return pixel_shuffle(out, self.factor)[..., : self.below.height, : self.below.side]


class UpwardPass(nn.Module):
    """Picture -> features of every grid, from the data up.

    Args:
        picture: (channels, height, width).
        grids: sizes of the grids, from the data up.
        blocks: number of residual blocks of each grid.
    """

    def __init__(self, picture: Sequence[int], grids: Sequence[Grid], blocks: Sequence[int]) -> None:
        super().__init__()
        factor = 1 / math.sqrt(max(1, sum(blocks)))
        stages = zip([picture, *(grid.size for grid in grids[:-1])], grids, blocks, strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(Shrink(below, grid), *(Residual(grid, factor) for _ in range(number)))
            for below, grid, number in stages
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns the activated features of each grid, (..., width, height, side)."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(silu(x))
        return features


class FirstState(nn.Module):
    """Latent vector and context -> state of the first grid, by a residual block on the vector.

    Args:
        grid: size of the vector.
        latent_dim: dimensions of the top level.
        context_features: C, the width of the context; 0 for none.
        factor: factor of the weights of the block's last layer, see `Residual`.
        below: size of the next state.
    """

    def __init__(self, grid: Grid, latent_dim: int, context_features: int, factor: float, below: Grid) -> None:
        super().__init__()
        self.read = nn.Linear(latent_dim + context_features, grid.width)
        self.block = Residual(grid, factor)
        self.enlarge = Enlarge(grid, below)

    def forward(self, state: None, value: Tensor, context: Tensor | None = None) -> Tensor:
        vector = self.read(join(value, context))[..., None, None]
        after: Tensor = self.enlarge(self.block(vector))
        return after


class StateUpdate(nn.Module):
    """State and latent of a level -> next state: the latent is added, a residual block follows, and the next grid.

    Args:
        grid: size of the state.
        channels: channels of the latent.
        factor: factor of the weights of the block's last layer, see `Residual`.
        below: size of the next state.
    """

    def __init__(self, grid: Grid, channels: int, factor: float, below: Grid) -> None:
        super().__init__()
        self.read = conv(channels, grid.width, 1)
        self.block = Residual(grid, factor)
        self.enlarge = Enlarge(grid, below) if below != grid else None

    def forward(self, state: Tensor, value: Tensor, context: Tensor | None = None) -> Tensor:
        after: Tensor = self.block(state + convolve(self.read, value))
        return after if self.enlarge is None else self.enlarge(after)


class StateToLatent(nn.Module):
    """State -> raw parameters of a level's prior, (..., params, channels, height, side), near zero at the start.

    Args:
        grid: size of the state.
        param_shape: (params, channels, height, side).
    """

    def __init__(self, grid: Grid, param_shape: Sequence[int]) -> None:
        super().__init__()
        self.param_shape = tuple(param_shape)
        self.out = conv(grid.width, math.prod(param_shape[:2]), 1, _NEAR_ZERO)

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        raw = convolve(lambda x: self.out(silu(x)), given)
        return raw.reshape(*raw.shape[:-3], *self.param_shape)


class StateAndFeatures(nn.Module):
    """State and features of the data -> change from the prior of a level to its posterior, near zero at the start.

    The features are read once for all samples (`read`), because only the states differ between samples.

    Args:
        grid: size of the state and of the features.
        param_shape: (params, channels, height, side).
    """

    def __init__(self, grid: Grid, param_shape: Sequence[int]) -> None:
        super().__init__()
        self.param_shape = tuple(param_shape)
        self.from_features = conv(grid.width, grid.width)
        self.from_state = conv(grid.width, grid.width, 1)
        self.out = conv(grid.width, math.prod(param_shape[:2]), 1, _NEAR_ZERO)

    def read(self, features: Tensor) -> Tensor:
        """Returns the part of the hidden layer that comes from the features."""
        return convolve(self.from_features, features)

    def forward(self, seen: Tensor, state: Tensor) -> Tensor:
        hidden = convolve(lambda x: self.from_state(silu(x)), state) + seen
        raw = convolve(lambda x: self.out(silu(x)), hidden)
        return raw.reshape(*raw.shape[:-3], *self.param_shape)


class FeaturesToVector(nn.Module):
    """Features of the top grid, and the context, -> raw parameters of the top level, (..., *param_shape)."""

    def __init__(self, grid: Grid, param_shape: Sequence[int], context_features: int = 0) -> None:
        super().__init__()
        self.param_shape = tuple(param_shape)
        self.hidden = nn.Linear(math.prod(grid.size) + context_features, grid.width)
        self.out = nn.Linear(grid.width, math.prod(param_shape))
        with torch.no_grad():
            self.out.weight.mul_(_NEAR_ZERO)
            self.out.bias.zero_()

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        raw: Tensor = self.out(silu(self.hidden(join(given.flatten(-3), context))))
        return raw.reshape(*raw.shape[:-1], *self.param_shape)


class StateToPicture(nn.Module):
    """Last state -> raw parameters of the likelihood, (..., params, channels, height, width), with a bias per pixel.

    Args:
        grid: size of the state.
        param_shape: (params, channels, height, width).
    """

    def __init__(self, grid: Grid, param_shape: Sequence[int]) -> None:
        super().__init__()
        self.param_shape = tuple(param_shape)
        self.factor = grid.factor
        self.layer = conv(grid.width, math.prod(param_shape[:2]) * self.factor**2)
        self.bias = nn.Parameter(torch.zeros(self.param_shape))

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        out = convolve(self._enlarge, given)
        return out.reshape(*out.shape[:-3], *self.param_shape) + self.bias

    def _enlarge(self, x: Tensor) -> Tensor:
        height, width = self.param_shape[-2:]
        return pixel_shuffle(self.layer(silu(x)), self.factor)[..., :height, :width]

    def start_at(self, out: Tensor) -> None:
        """Sets the bias of each pixel so that outputs start around ``out``, (*param_shape)."""
        assert self.layer.bias is not None
        self.bias.data.copy_(out)
        self.layer.weight.data.mul_(_NEAR_ZERO)
        self.layer.bias.data.zero_()
