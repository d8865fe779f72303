"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from vae_lab.networks.architecture import Architecture
from vae_lab.networks.context import join

Activation = Literal["relu", "tanh", "gelu", "silu", "elu", "leaky_relu", "softplus"]
Initialization = Literal["torch", "glorot", "he"]

ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
}


def activation_module(name: Activation) -> nn.Module:
    """Raises ValueError, naming what is allowed, for an unknown activation."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class Mlp(nn.Module):
    """Linear layers with an activation between them; events are flattened and shaped.

    Args:
        in_shape: of one input; () where the context is the only input.
        out_shape: of one output.
        context_features: C, the width of the context; 0 for none.
        widths: of the hidden layers, from input to output; empty for one linear map.
        activation: between the layers.
        initialization: "torch" leaves PyTorch's own; "glorot" (Glorot and Bengio 2010, as Keras does) and "he"
            (He et al. 2015, arXiv:1502.01852) set the weights so and the biases to 0.

    Raises:
        ValueError: for a width below 1, or an unknown activation or initialization.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        context_features: int = 0,
        widths: Sequence[int] = (),
        activation: Activation = "relu",
        initialization: Initialization = "torch",
    ) -> None:
        super().__init__()
        self.in_dims = len(in_shape)
        self.out_shape = tuple(out_shape)
        in_features = math.prod(in_shape) if in_shape else 0
        sizes = [in_features + context_features, *widths, math.prod(out_shape)]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [_linear(fan_in, fan_out, initialization), activation_module(activation)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, given: Tensor | None, context: Tensor | None = None) -> Tensor:
        features = join(None if given is None else given.flatten(-self.in_dims), context)
        # As one matrix: the compiler joins bias and activation of a product of matrices, not of higher tensors.
        out: Tensor = self.layers(features.reshape(-1, features.shape[-1]))
        return out.reshape(*features.shape[:-1], *self.out_shape)


def _linear(fan_in: int, fan_out: int, initialization: Initialization) -> nn.Linear:
    if fan_out < 1:
        raise ValueError(f"widths: a layer of {fan_out} units; every width must be at least 1")
    layer = nn.Linear(fan_in, fan_out)
    if initialization == "torch":
        return layer
    if initialization not in ("glorot", "he"):
        raise ValueError(f"initialization={initialization}: choose one of torch, glorot, he")
    nn.init.xavier_uniform_(layer.weight) if initialization == "glorot" else nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class MlpArchitecture(Architecture):
    """Fully connected encoders and decoders.

    Args:
        widths: hidden layers of an encoder, from the data side up; a decoder has them in reverse.
        activation: between the layers.
        initialization: see `Mlp`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: Activation = "relu",
        initialization: Initialization = "torch",
    ) -> None:
        self.widths = tuple(widths)
        self.activation = activation
        self.initialization = initialization

    def encoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> Mlp:
        return Mlp(in_shape, out_shape, context_features, self.widths, self.activation, self.initialization)

    def decoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> Mlp:
        return Mlp(in_shape, out_shape, context_features, self.widths[::-1], self.activation, self.initialization)
