"""Writes an exported run: weights and config that `load_run` opens, its numbers, and nothing of where it was made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vae_lab.core import LatentVariableModel
from vae_lab.files import write_text
from vae_lab.nested import with_strings
from vae_lab.runs.checkpoints import Weights
from vae_lab.runs.evaluations import evaluation_path
from vae_lab.runs.folder import CONFIG, EVALUATION, METRICS, WEIGHTS, save_json
from vae_lab.runs.loading import SavedRun
from vae_lab.runs.reading import is_of_other_weights
from vae_lab.runs.tensor_files import save_safetensors
from vae_lab.runs.untrusted import read_json

_OF_TRAINING = ("overrides", "init_from", "resume", "callbacks", "logger", "in_memory")
"""Keys of a config that say how a training was started and what it wrote besides, with paths of the machine."""
_OF_MACHINE = ("data_root", "data", "run")
"""Keys of an evaluation with paths of the machine."""


Numbers = Mapping[str, Mapping[str, Any]]
"""Records of the numbers of a run, by the names of their files."""


def write_run(folder: Path, run: SavedRun, model: LatentVariableModel, numbers: Numbers) -> None:
    """Writes model.safetensors and config.yaml, and the records of the numbers that hold for these weights."""
    assert model.spec is not None
    config = {key: with_strings(value, _portable) for key, value in run.config.items() if key not in _OF_TRAINING}
    config["spec"] = model.spec.plain()
    save_safetensors(folder / WEIGHTS, model.state_dict())
    write_text(folder / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    for name, record in numbers.items():
        save_json(folder / name, record)


def numbers_of(run: SavedRun, weights: Weights, step: int | None) -> dict[str, dict[str, Any]]:
    """Returns metrics.json and the evaluation of the test set by name, each only if it is of the exported weights."""
    found = {}
    if run.is_tested(weights) and (metrics := _read(run.folder / METRICS)):
        found[METRICS] = metrics
    path = evaluation_path(run, None, "test", "raw" if run.takes_raw(weights) else "average")
    if (evaluation := _read(path)) and not is_of_other_weights(evaluation, {"step": step}):
        found[EVALUATION] = {key: value for key, value in evaluation.items() if key not in _OF_MACHINE}
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record = read_json(path)
    except FileNotFoundError:
        return None
    return record if isinstance(record, dict) else None


def _portable(text: str) -> str:
    """Returns the last part of an absolute path; any other string as it is."""
    return Path(text).name or "data" if os.path.isabs(text) or text.startswith("~") else text
