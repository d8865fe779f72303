"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from vae_lab.networks.architecture import Architecture
from vae_lab.networks.context import join

Activation = Literal["relu", "tanh", "gelu", "silu", "elu", "leaky_relu", "softplus"]
MlpActivation = Literal[Activation, "gated"]
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
    """Returns a new activation; raises ValueError, with the names that exist, for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name}: choose one of {', '.join(ACTIVATIONS)}, or gated in an mlp")
    return ACTIVATIONS[name]()


class Mlp(nn.Module):
    """Linear layers with an activation between them; events are flattened and shaped.

    Args:
        in_shape: shape of one input; () if the context is the only input.
        out_shape: shape of one output.
        context_features: C, the width of the context; 0 for none.
        widths: widths of the hidden layers, from input to output; empty for one linear map.
        activation: activation between the layers; "gated" gives each hidden unit a gate, h * sigmoid(g) (Dauphin et
            al. 2017, arXiv:1612.08083; the GatedDense of Tomczak and Welling 2018, arXiv:1705.07120).
        batch_norm: True: normalise the inputs of the activations over the batch (Ioffe and Szegedy 2015,
            arXiv:1502.03167). In training the examples of a batch then depend on each other.
        initialization: initial weights: "torch" keeps PyTorch's; "glorot" (Glorot and Bengio 2010, the default of
            Keras) and "he" (He et al. 2015, arXiv:1502.01852) also set the biases to 0.

    Raises:
        ValueError: for a width below 1, or an unknown activation or initialization.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        context_features: int = 0,
        widths: Sequence[int] = (),
        activation: MlpActivation = "relu",
        initialization: Initialization = "torch",
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.in_dims = len(in_shape)
        self.out_shape = tuple(out_shape)
        in_features = math.prod(in_shape) if in_shape else 0
        sizes = [in_features + context_features, *widths]
        layers: list[nn.Module] = []
        for fan_in, width in pairwise(sizes):
            layers += _hidden(fan_in, width, activation, initialization, batch_norm)
        self.layers = nn.Sequential(*layers, _linear(sizes[-1], math.prod(out_shape), initialization))

    def forward(self, given: Tensor | None, context: Tensor | None = None) -> Tensor:
        features = join(None if given is None else given.flatten(-self.in_dims), context)
        # One matrix, because the compiler fuses bias and activation with a matrix product only.
        out: Tensor = self.layers(features.reshape(-1, features.shape[-1]))
        return out.reshape(*features.shape[:-1], *self.out_shape)

    def start_at(self, out: Tensor) -> None:
        """Sets the last bias so that outputs start around ``out``, (*out_shape)."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        last.bias.data.copy_(out.flatten())


def _hidden(
    fan_in: int, width: int, activation: MlpActivation, initialization: Initialization, batch_norm: bool
) -> list[nn.Module]:
    """Returns a linear layer, batch normalisation if asked for, and the activation."""
    outputs = 2 * width if activation == "gated" else width
    linear = _linear(fan_in, outputs, initialization, bias=not batch_norm)  # batch normalisation has a bias of its own
    between = [nn.BatchNorm1d(outputs)] if batch_norm else []
    return [linear, *between, nn.GLU() if activation == "gated" else activation_module(activation)]


def _linear(fan_in: int, fan_out: int, initialization: Initialization, bias: bool = True) -> nn.Linear:
    if fan_out < 1:
        raise ValueError(f"widths: a layer of {fan_out} units; every width must be at least 1")
    layer = nn.Linear(fan_in, fan_out, bias)
    if initialization == "torch":
        return layer
    if initialization not in ("glorot", "he"):
        raise ValueError(f"initialization={initialization}: choose one of torch, glorot, he")
    nn.init.xavier_uniform_(layer.weight) if initialization == "glorot" else nn.init.kaiming_normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class MlpArchitecture(Architecture):
    """Fully connected encoders and decoders.

    Args:
        widths: widths of the hidden layers of an encoder, from the data up; a decoder has them in reverse.
        activation, initialization, batch_norm: options of each network; see `Mlp`.

    Raises:
        TypeError: for widths that are not integers.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: MlpActivation = "relu",
        initialization: Initialization = "torch",
        batch_norm: bool = False,
    ) -> None:
        if not isinstance(widths, Sequence) or not all(hasattr(width, "__index__") for width in widths):
            raise TypeError(f"widths={widths!r}: must be a list of integers, such as [512, 512]")
        self.widths = tuple(widths)
        self.mlp = partial(Mlp, activation=activation, initialization=initialization, batch_norm=batch_norm)

    def encoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> Mlp:
        return self.mlp(in_shape, out_shape, context_features, self.widths)

    def decoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> Mlp:
        return self.mlp(in_shape, out_shape, context_features, self.widths[::-1])
