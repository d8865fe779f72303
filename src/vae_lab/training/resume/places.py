"""Makes the paths in a checkpoint relative to its folder, so that a run may be moved, renamed or copied."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_warn

from vae_lab.training.trainer_parts import callbacks_of

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
"""Keys of the state of a `ModelCheckpoint`; "" stands for none. The keys of ``best_k_models`` are paths, too."""


def make_relative(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Removes the folder from the state of each `ModelCheckpoint`."""
    for key, state in _states(trainer, checkpoint):
        checkpoint["callbacks"][key] = _with_paths(state, partial(_name, folder=state.get("dirpath")), "")


def make_absolute(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Puts the folder of each `ModelCheckpoint` of this run in its state, in place of the one of older versions.

    A missing file is not among the best: a worse epoch may take its place.
    """
    for key, state in _states(trainer, checkpoint):
        folder = str(_callbacks(trainer)[key].dirpath or "")
        relative = _with_paths(state, partial(_name, folder=state.get("dirpath")), "")
        placed = _with_paths(relative, partial(os.path.join, folder), folder)
        if lost := [path for path in placed["best_k_models"] if not Path(path).is_file()]:
            rank_zero_warn(f"{', '.join(lost)}: no such file; the best weights are chosen from those that follow")
        checkpoint["callbacks"][key] = _without(placed, lost, _callbacks(trainer)[key].mode)


def _callbacks(trainer: Trainer) -> dict[str, ModelCheckpoint]:
    return {callback.state_key: callback for callback in callbacks_of(trainer, ModelCheckpoint)}


def _states(trainer: Trainer, checkpoint: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    states = checkpoint.get("callbacks", {})
    return [(key, states[key]) for key in _callbacks(trainer) if key in states]


def _with_paths(state: Mapping[str, Any], change: Callable[[str], str], folder: str) -> dict[str, Any]:
    paths = {key: change(state[key]) if state.get(key) else "" for key in _PATHS}
    best = {change(path): score for path, score in state.get("best_k_models", {}).items()}
    return {**state, **paths, "best_k_models": best, "dirpath": folder}


def _name(path: str, folder: str | None) -> str:
    """Returns the path relative to the folder; its last part if it lies elsewhere, where no callback writes."""
    if not Path(path).is_absolute():
        return path
    inside = folder and Path(path).is_relative_to(folder)
    return str(Path(path).relative_to(str(folder))) if inside else Path(path).name


def _without(state: dict[str, Any], lost: list[str], mode: str) -> dict[str, Any]:
    """Returns the state without some of its best files."""
    best = {path: score for path, score in state["best_k_models"].items() if path not in lost}
    if not lost:
        return state
    first = (min if mode == "min" else max)(best, key=lambda path: float(best[path]), default="")
    of_best = {"best_model_path": first, "best_model_score": best.get(first), "best_k_models": best}
    return state | of_best | {"kth_best_model_path": ""}
