"""Describes the inputs and outputs of a graph, for the card."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vae_lab.exports.graphs import Tensors
from vae_lab.types import DataSpec, listed

_OUTPUTS = {
    "x_mean": "mean of p(x given z), in the units of the data; of a category its probabilities",
    "x_scale": "standard deviation of p(x given z), in the units of the data",
    "elbo": "evidence lower bound, nats per example",
    "log_likelihood": "log p(x given z), nats per example",
    "kl": "KL term of each level, nearest the data first, nats per example",
    "log_weight": "log p(x, z) - log q(z given x): the log of the mean of its exp over draws of the noise estimates"
    " log p(x)",
}
_BY_LEVEL = {
    "mean": "posterior mean of level {}",
    "scale": "standard deviation of the posterior of level {}",
    "z": "code of level {}",
    "eps": "standard normal noise of level {}; times a temperature below 1: more typical samples",
    "u": "noise uniform in [0, 1) of level {}, which chooses the component of a mixture or the entry of a codebook",
}


def described(tensors: Tensors, spec: DataSpec) -> list[tuple[str, str, str]]:
    """Returns name, shape and type, and meaning of each input or output of a graph."""
    return [(name, _shape(value), _meaning(name, spec)) for name, value in tensors.items()]


def described_values(spec: DataSpec) -> str:
    """Returns what the numbers of an example are, in one sentence."""
    if len(spec.shape) == 1 and spec.columns:
        return f"An example is a row of the columns {listed(spec.columns)}, in their own units."
    values = {
        "binary": "0 or 1",
        "unit": "in [0, 1]",
        "uint8": "pixel / 255, in [0, 1]",
        "real": "in the units of the data",
    }
    return f"The values of an example are {values[spec.support]}{'; NaN is missing' if spec.missing else ''}."


def _shape(value: Tensor) -> str:
    sizes = ", ".join(["B", *map(str, value.shape[1:])])
    return f"({sizes}{',' if value.dim() == 1 else ''}) {str(value.dtype).removeprefix('torch.')}"


def _meaning(name: str, spec: DataSpec) -> str:
    kind, _, level = name.partition("_level_")
    if level:
        return _BY_LEVEL[kind].format(level)
    conditions: dict[str, tuple[str, Sequence[str]]] = {
        "classes": (f"class number, 0 to {spec.num_classes - 1}", spec.class_names),
        "attributes": ("0 or 1", spec.attributes),
        "numbers": ("in their own units", spec.numbers),
    }
    if name in conditions:
        what, names = conditions[name]
        return f"{what}: {listed(names)}" if names else what
    if name == "x":
        return f"examples: {described_values(spec)[:1].lower()}{described_values(spec)[1:-1]}"
    return _OUTPUTS.get(name, "noise that the model draws")
