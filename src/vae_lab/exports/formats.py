"""The formats of graphs: files that torch alone, or onnxruntime alone, computes without vae_lab."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from vae_lab.exports.graphs import Graph, NamedGraph, Tensors
from vae_lab.files import atomic_path, write_bytes

GraphFormat = Literal["torch_export", "onnx"]
Computes = Callable[[Tensors], dict[str, Tensor]]
"""Inputs by name -> outputs by name."""

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "safetensors": ("safetensors",),
    "torch_export": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
}
"""Packages that each format needs, all of them in the extra ``export``."""


class Format(NamedTuple):
    """Functions that write and read graphs in one format.

    Attributes:
        write: writes a traced graph to a path.
        open: returns the function in a file.
        suffix: ending of the name of a file.
    """

    write: Callable[[ExportedProgram, Graph, Path], None]
    open: Callable[[Path], Computes]
    suffix: str


def traced(graph: Graph) -> ExportedProgram:
    """Traces a graph, for any number of examples, with the weights that it reads and no others.

    Raises:
        Exception: of any kind, from torch, for what cannot be traced.
    """
    with torch.no_grad(), _quiet(), _without_validation():
        whole: Any = _exported(NamedGraph(graph), graph).module()
        whole.graph.eliminate_dead_code()
        program = _exported(GraphModule(whole, whole.graph), graph)  # which takes over what is left in the graph
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _exported(module: nn.Module, graph: Graph) -> ExportedProgram:
    batch = Dim("batch")
    shapes = {name: {0: batch} for name in graph.example}
    return torch.export.export(module, (), dict(graph.example), dynamic_shapes=shapes, strict=False)


def check_installed(package: str, extra_for: str) -> None:
    """Raises ImportError, naming the extra, if a package of the extra ``export`` is missing."""
    try:
        import_module(package)
    except ImportError as error:
        raise ImportError(f"{extra_for} needs {package}; pip install 'vae-lab[export]'") from error


def _write_torch_export(program: ExportedProgram, graph: Graph, path: Path) -> None:
    content = BytesIO()
    with _quiet():
        torch.export.save(program, content)
    write_bytes(path, content.getbuffer())


def _open_torch_export(path: Path) -> Computes:
    with _quiet():
        module = torch.export.load(path).module()
    return lambda inputs: module(**inputs)


def _write_onnx(program: ExportedProgram, graph: Graph, path: Path) -> None:
    with torch.no_grad(), _quiet():
        exact = program.run_decompositions(_EXACT)
        written: Any = torch.onnx.export(
            exact, dynamo=True, input_names=list(graph.example), output_names=list(graph.outputs), verbose=False
        )
        assert written is not None
        for value in (*written.model.graph.inputs, *written.model.graph.outputs):
            sizes = value.shape.dims
            value.shape = type(value.shape)([size if isinstance(size, int) else "batch" for size in sizes])
        with atomic_path(path) as unfinished:
            written.save(unfinished)


def _open_onnx(path: Path) -> Computes:
    import onnxruntime  # noqa: PLC0415  (an extra)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def compute(inputs: Tensors) -> dict[str, Tensor]:
        found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

    return compute


FORMATS: Mapping[GraphFormat, Format] = {
    "torch_export": Format(_write_torch_export, _open_torch_export, ".pt2"),
    "onnx": Format(_write_onnx, _open_onnx, ".onnx"),
}


def _log_sigmoid(x: Tensor) -> Tensor:
    return x.clamp(max=0) - torch.log1p(torch.exp(-x.abs()))


def _expm1(x: Tensor) -> Tensor:
    t = torch.tanh(x / 2)
    return 2 * t / (1 - t)


_EXACT: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.log_sigmoid.default: _log_sigmoid,
    torch.ops.aten.expm1.default: _expm1,
}
"""Functions that the ONNX exporter writes as log(sigmoid(x)) and exp(x) - 1, which lose all digits in the tails."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Context manager in which torch's exporters print and warn nothing: what fails is reported in one line."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _without_validation() -> Iterator[None]:
    """Context manager in which no distribution validates its values, because a trace cannot branch on them."""
    validates = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(validates)
