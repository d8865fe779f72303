"""Exports a run: its files in each format, how near each of them is to the run, and a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae_lab.core import LatentVariableModel
from vae_lab.errors import one_line
from vae_lab.exports.card import write_card
from vae_lab.exports.folder import numbers_of, write_run
from vae_lab.exports.formats import FORMATS, PACKAGES, GraphFormat, check_installed, traced
from vae_lab.exports.graphs import GRAPHS, Graph
from vae_lab.exports.parity import BATCH_SIZES, TOLERANCE, largest_error
from vae_lab.runs.folder import PARITY, save_json
from vae_lab.runs.loading import SavedRun, find_run
from vae_lab.runs.provenance import provenance
from vae_lab.settings import ExportSettings


@dataclass
class Export:
    """An export that is being written.

    Attributes:
        folder: folder of the files.
        formats: formats that were asked for.
        graphs: graphs of the model; one that cannot be computed at all is missing.
        errors: largest error of each graph by format (`vae_lab.exports.parity`); the formats that were written.
        refused: a line for each graph and format that could not be written: ``sample as onnx: why``.
    """

    folder: Path
    formats: Sequence[str]
    graphs: list[Graph] = field(default_factory=list)
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def largest(self) -> float:
        """The largest error of all."""
        return max((error for of_graph in self.errors.values() for error in of_graph.values()), default=0.0)

    @property
    def written(self) -> list[str]:
        """Names of the formats of which there are files."""
        return sorted({name for of_graph in self.errors.values() for name in of_graph})

    def error_rows(self, formats: Sequence[str]) -> list[tuple[str, ...]]:
        """Returns a row for each graph: its name, and its largest error in each of these formats."""
        return [
            (name, *(f"{of_graph[each]:.1e}" if each in of_graph else "not written" for each in formats))
            for name, of_graph in self.errors.items()
        ]

    def refuse(self, what: str, error: Exception) -> None:
        """Adds a line about something that cannot be written."""
        self.refused.append(f"{what}: {one_line(error, 200)}")


def formats_of(settings: ExportSettings) -> list[str]:
    """Returns the formats that are asked for.

    Raises:
        ImportError: naming the extra, if a package that one of them needs is missing.
    """
    formats: list[str] = [*PACKAGES] if settings.format == "all" else [settings.format]
    for name in formats:
        for package in PACKAGES[name]:
            check_installed(package, f"format={name}")
    return formats


def export_run(
    run: SavedRun,
    folder: Path,
    settings: ExportSettings | None = None,
    packages: Sequence[str] = (),
    report: Callable[[str], None] = lambda line: None,
) -> Export:
    """Writes a run to a folder in the formats that are asked for, with parity.json and the card README.md.

    Args:
        folder: empty folder.
        settings: formats, weights and seed; None: the defaults.
        packages: further packages whose classes the run's config may name.
        report: called with a line before each graph is written, which may take minutes.

    Raises:
        ImportError, RunError: for the reasons of `formats_of` and `SavedRun.model`.
    """
    settings = settings or ExportSettings()
    export = Export(folder, formats_of(settings))
    model, step = run.model_and_step(packages, weights=settings.weights)
    numbers = numbers_of(run, settings.weights, step)
    for name in GRAPHS:
        try:
            export.graphs.append(Graph(name, model, settings.seed))
        except NotImplementedError as error:  # such as a likelihood of another package without a mean
            export.refuse(name, error)
    if "safetensors" in export.formats:
        write_run(folder, run, model, numbers)
        reopened = find_run(folder).model(packages)
        for graph in export.graphs:
            export.errors[graph.name] = {"safetensors": _reopened_error(graph, reopened, settings.seed)}
    for number, graph in enumerate(export.graphs, 1):
        report(f"writing      {graph.name}, {number} of {len(export.graphs)} graphs")
        _write_graph(graph, export, settings.seed)
    _write_parity(export, run, settings)
    write_card(export, run, model, settings, numbers)
    return export


def _reopened_error(graph: Graph, model: LatentVariableModel, seed: int) -> float:
    """Returns the largest error of a model that was written and opened again."""
    again = Graph(graph.name, model, seed)
    return largest_error(graph, lambda inputs: again(**inputs), seed)


def _write_graph(graph: Graph, export: Export, seed: int) -> None:
    """Writes a graph in each format of graphs, and compares it; one that fails does not stop the others."""
    formats: list[GraphFormat] = [name for name in FORMATS if name in export.formats]
    if not formats:
        return
    try:
        program = traced(graph)
    except Exception as error:  # whatever torch cannot trace
        export.refuse(f"{graph.name} as {' and '.join(formats)}", error)
        return
    for name in formats:
        path = export.folder / name / f"{graph.name}{FORMATS[name].suffix}"
        try:
            FORMATS[name].write(program, graph, path)
            found = largest_error(graph, FORMATS[name].open(path), seed)
        except OSError:  # of a full disk
            raise
        except Exception as error:  # whatever the format cannot express
            path.unlink(missing_ok=True)
            export.refuse(f"{graph.name} as {name}", error)
        else:
            export.errors.setdefault(graph.name, {})[name] = found


def _write_parity(export: Export, run: SavedRun, settings: ExportSettings) -> None:
    record: dict[str, Any] = {
        "tolerance": TOLERANCE,
        "largest": export.largest,
        "errors": export.errors,
        "refused": export.refused,
        "batch_sizes": list(BATCH_SIZES),
        "seed": settings.seed,
        "run": run.summary() | {"checkpoint": run.checkpoint.name, "weights": settings.weights},
        **provenance(),
    }
    save_json(export.folder / PARITY, record)
