"""Programs of a few lines that use an export without vae_lab; the card shows them, and tests run them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vae_lab.exports.graphs import Graph
from vae_lab.runs.folder import WEIGHTS
from vae_lab.types import DataSpec

if TYPE_CHECKING:
    from vae_lab.exports.writing import Export

_NUM = 4


def programs(export: Export) -> Iterator[str]:
    """Yields a paragraph with a program for each format that was written."""
    for name, program in (("onnx", _onnx), ("torch_export", _torch_export)):
        written = [graph for graph in export.graphs if name in export.errors.get(graph.name, {})]
        if written:
            yield program(next((graph for graph in written if graph.name == "sample"), written[0]))
    if (export.folder / WEIGHTS).is_file():
        yield _program(
            "The weights alone, with safetensors; `vae_lab.load_run(FOLDER)` opens this folder as a run:",
            "from safetensors.numpy import load_file",
            'weights = load_file("model.safetensors")',
            "print({name: array.shape for name, array in weights.items()})",
        )


def _program(title: str, imports: str, *lines: str) -> str:
    return "\n".join((title, "", "```python", imports, "", *lines, "```", ""))


def _onnx(graph: Graph) -> str:
    inputs = ", ".join(f'"{name}": {_of_numpy(name, value, graph)}' for name, value in graph.example.items())
    output = graph.outputs[0]
    return _program(
        "In this folder, with onnxruntime and NumPy:",
        "import numpy as np, onnxruntime",
        f'session = onnxruntime.InferenceSession("onnx/{graph.name}.onnx")',
        "rng = np.random.default_rng(0)",
        f"inputs = {{{inputs}}}",
        f'{output} = session.run(["{output}"], inputs)[0]',
        f"print({output}.shape)  # {_shape(graph)}",
    )


def _torch_export(graph: Graph) -> str:
    inputs = ", ".join(f'"{name}": {_of_torch(name, value, graph)}' for name, value in graph.example.items())
    output = graph.outputs[0]
    return _program(
        "In this folder, with PyTorch:",
        "import torch",
        f'{graph.name} = torch.export.load("torch_export/{graph.name}.pt2").module()',
        f"inputs = {{{inputs}}}",
        f'{output} = {graph.name}(**inputs)["{output}"]',
        f"print(tuple({output}.shape))  # {_shape(graph)}",
    )


def _of_numpy(name: str, value: Tensor, graph: Graph) -> str:
    sizes, dtype = (_NUM, *value.shape[1:]), str(value.dtype).removeprefix("torch.")
    if name == "classes":
        return f"np.arange({_NUM}) % {graph.spec.num_classes}"
    if name.startswith(("eps", "z")):
        return f'rng.standard_normal({sizes}, "{dtype}")'
    if name.startswith("u"):
        return f'rng.random({sizes}, "{dtype}")'
    if name == "numbers":
        return f'np.tile(np.array({_means(graph.spec)}, "{dtype}"), ({_NUM}, 1))'
    return f'np.zeros({sizes}, "{dtype}")'


def _of_torch(name: str, value: Tensor, graph: Graph) -> str:
    sizes = ", ".join(map(str, (_NUM, *value.shape[1:])))
    dtype = ", dtype=torch.float64" if value.dtype == torch.float64 else ""
    if name == "classes":
        return f"torch.arange({_NUM}) % {graph.spec.num_classes}"
    if name == "numbers":
        return f"torch.tensor([{_means(graph.spec)}]{dtype}).repeat({_NUM}, 1)"
    kind = "randn" if name.startswith(("eps", "z")) else "rand" if name.startswith("u") else "zeros"
    return f"torch.{kind}({sizes}{dtype})"


def _means(spec: DataSpec) -> list[float]:
    """Returns the mean of each number of the condition, to four digits."""
    means = spec.numbers_scaling.mean if spec.numbers_scaling else [0.0] * len(spec.numbers)
    return [float(f"{mean:.4g}") for mean in means]


def _shape(graph: Graph) -> tuple[int, ...]:
    return (_NUM, *graph.example_outputs[graph.outputs[0]].shape[1:])
