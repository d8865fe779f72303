"""The card of an exported run: README.md in the format of the Hugging Face Hub, with a picture of samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from vae_lab.collapse import UNITS, unit_title
from vae_lab.core import LatentVariableModel
from vae_lab.errors import RunError
from vae_lab.exports.conditions import condition_of, example_conditions
from vae_lab.exports.descriptions import described, described_values
from vae_lab.exports.folder import Numbers
from vae_lab.exports.programs import programs
from vae_lab.files import write_text
from vae_lab.nested import value_at
from vae_lab.noise import fixed_seed
from vae_lab.reports.text import markdown_table
from vae_lab.runs.build import build
from vae_lab.runs.folder import EVALUATION, METRICS
from vae_lab.runs.loading import SavedRun
from vae_lab.settings import ExportSettings
from vae_lab.types import DataSpec, listed

if TYPE_CHECKING:
    from vae_lab.exports.writing import Export

_CARD, _PICTURE = "README.md", "samples"
_NUM_SAMPLES = 64
_NUM_OF_EACH_CLASS = 8
_MAX_CLASSES = 16
"""Classes that the picture shows."""

_NAMES = {
    "nll": "negative log-likelihood by importance sampling, nats per example",
    "nll_error": "standard error of the negative log-likelihood, nats per example",
    "elbo": "evidence lower bound, nats per example",
    "kl": "KL of posterior and prior, nats per example",
    "bits_per_dim": "bits per dimension",
}
"""Metrics on the card, in this order, before the counts of latent dimensions."""


def write_card(
    export: Export, run: SavedRun, model: LatentVariableModel, settings: ExportSettings, numbers: Numbers
) -> None:
    """Writes README.md and samples.png.

    Args:
        export: export whose other files are written.
        numbers: records of the run's numbers; see `vae_lab.exports.folder.numbers_of`.
    """
    assert model.spec is not None
    name = settings.push.partition("/")[2] if settings.push else str(run.config.get("name") or "vae")
    matter = _front_matter(name, run, model, numbers, export.written)
    front = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)
    picture = _draw_samples(export.folder, model, settings.seed)
    parts = [
        f"---\n{front}---\n\n# {name}\n",
        _introduction(model, model.spec, run, settings),
        f"![Samples]({picture})\n" if picture else "",
        _results_table(numbers, model.conditional),
        "## Use without vae_lab\n",
        *programs(export),
        _interface(export),
        _parity_table(export),
        _data(model.spec, run),
    ]
    write_text(export.folder / _CARD, "\n".join(filter(None, parts)))


def _front_matter(
    name: str, run: SavedRun, model: LatentVariableModel, numbers: Numbers, formats: Sequence[str]
) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "vae_lab",
        "tags": ["variational-autoencoder", "generative-model", "density-estimation", "pytorch", *formats],
    }
    if dataset := value_at(run.config, "data.images.dataset"):
        front["datasets"] = [dataset]
    if results := _results(numbers):
        data = str(value_at(run.config, "choices.data") or "data")
        metrics = [{"type": key, "name": _metric_name(key, numbers), "value": results[key]} for key in results]
        pictures = model.spec is not None and len(model.spec.shape) == 3
        kind = "unconditional-image-generation" if pictures and not model.conditional else "other"
        task = {"type": kind, "name": "Density estimation"}
        entry = {"task": task, "dataset": {"name": data, "type": dataset or data, "split": "test"}, "metrics": metrics}
        front["model-index"] = [{"name": name, "results": [entry]}]
    return front


def _results(numbers: Numbers) -> dict[str, float]:
    """Returns the metrics of the test set: those of an evaluation, else those at the end of the training."""
    at_end = numbers.get(METRICS, {}).get("metrics", {})
    found = {key.removeprefix("test/"): value for key, value in at_end.items()} | dict(numbers.get(EVALUATION, {}))
    counts = {key: int(value) for key, value in found.items() if unit_title(key) and isinstance(value, int | float)}
    return {key: found[key] for key in _NAMES if isinstance(found.get(key), int | float)} | counts


def _results_table(numbers: Numbers, conditional: bool) -> str:
    results = _results(numbers)
    if not results:
        return "## Results\n\nNot evaluated: `python -m vae_lab.evaluate run=RUN` does it.\n"
    evaluation = numbers.get(EVALUATION, {})
    rows = [("metric", "value")]
    for key, value in results.items():
        if key == "nll_error":  # beside its number
            continue
        error = evaluation.get(f"{key}_error")
        shown = f"{value:.0f}" if unit_title(key) else f"{value:.3f}"
        rows.append((_metric_name(key, numbers), shown if error is None else f"{shown} ± {error:.3f}"))
    samples, examples = evaluation.get("num_samples"), evaluation.get("num_examples")
    how = f" {examples} examples; {samples} importance samples each; ± is a standard error." if evaluation else ""
    how += " Likelihoods and bounds are of log p(x|y), given the condition y." if conditional else ""
    return f"## Results\n\nOf the test set.{how}\n\n{markdown_table(rows)}\n"


def _metric_name(key: str, numbers: Numbers) -> str:
    """Returns a metric in words: of bits with the bound, and of a count of a group of levels with that group."""
    if key == "bits_per_dim":
        bound = "negative log-likelihood" if key in numbers.get(EVALUATION, {}) else "evidence lower bound"
        return f"{_NAMES[key]}, of the {bound}"
    group = next((key.removeprefix(f"{count}_") for count in UNITS if key.startswith(f"{count}_")), "")
    return _NAMES.get(key) or f"{unit_title(key)}{f', {group}' if group else ''}".replace("_", " ")


def _introduction(model: LatentVariableModel, spec: DataSpec, run: SavedRun, settings: ExportSettings) -> str:
    choices = value_at(run.config, "choices") or {}
    parts = ", ".join(f"{key}={choices[key]}" for key in ("model", "network", "likelihood", "prior") if key in choices)
    seed = run.config.get("seed")
    levels = f"{model.num_levels} levels of latents" if model.num_levels > 1 else "one level of latents"
    condition = f", given {listed(spec.context_names)}" if model.conditional else ""
    weights = f", {settings.weights} weights" if run.config.get("average") is not None else ""
    shape = " x ".join(map(str, spec.shape))
    return (
        f"A variational autoencoder ({type(model).__name__}) with {levels}, of data of shape {shape}{condition}. It was"
        f" trained by vae_lab ({parts}) with seed {seed}; these are its weights in {run.checkpoint.name}{weights}.\n"
    )


def _interface(export: Export) -> str:
    rows = [("graph", "input", "shape", "what it is")]
    outs = [("graph", "output", "shape", "what it is")]
    for graph in export.graphs:
        if set(export.errors.get(graph.name, {})) - {"safetensors"}:
            rows += [_table_row(graph.name, *row) for row in described(graph.example, graph.spec)]
            outs += [_table_row(graph.name, *row) for row in described(graph.example_outputs, graph.spec)]
    if len(rows) == 1:
        return ""
    both = f"{markdown_table(rows)}\n\n{markdown_table(outs)}"
    return f"## Inputs and outputs\n\nB is any number of examples. The same noise gives the same result.\n\n{both}\n"


def _table_row(graph: str, name: str, shape: str, meaning: str) -> tuple[str, str, str, str]:
    return graph, f"`{name}`", shape, meaning.replace("|", r"\|")  # in the name of a column


def _parity_table(export: Export) -> str:
    if not export.errors:
        return ""
    rows = [("graph", *export.written), *export.error_rows(export.written)]
    title = "## Difference from the trained run\n\nThe largest one, relative to the largest output."
    return f"{title}\n\n{markdown_table(rows)}\n"


def _data(spec: DataSpec, run: SavedRun) -> str:
    name = value_at(run.config, "choices.data") or "data"
    licence = _licence(run)
    return "\n".join(
        [
            "## Data and licence\n",
            f"Trained on {name}. {described_values(spec)}\n",
            f"Licence of the data: {licence}.\n" if licence else "Licence of the data: not known to vae_lab.\n",
            "Licence of the weights: not stated; `license` in the front matter of this file states it.\n",
        ]
    )


def _licence(run: SavedRun) -> str:
    try:
        source = build(value_at(run.config, "data.images"))
    except RunError:  # a source of another package, which is not needed for its model
        return ""
    return str(getattr(source.func if isinstance(source, partial) else source, "licence", ""))


def _draw_samples(folder: Path, model: LatentVariableModel, seed: int) -> str:
    """Writes samples.png and returns its name; '' for data that cannot be drawn."""
    from vae_lab.pictures import samples, samples_by_class, save_picture  # noqa: PLC0415  (which loads matplotlib)

    assert model.spec is not None
    if model.conditional and not model.spec.vector_condition:
        classes = range(min(_MAX_CLASSES, model.spec.num_classes))
        sheet = samples_by_class(model, classes, _NUM_OF_EACH_CLASS, seed=seed)
    else:
        with fixed_seed(seed, torch.device("cpu")):
            y = condition_of(model, example_conditions(model, _NUM_SAMPLES))
        sheet = samples(model, _NUM_SAMPLES, y, seed=seed)
    return save_picture(sheet.draw(), folder, _PICTURE).name if sheet.drawable else ""
