"""A run folder: the names of what lies in one, and the writing of all but checkpoints, curves and pictures.

config.yaml              the whole config, resolved
checkpoints/best.ckpt    best by val/elbo; checkpoints/last.ckpt, the newest
events.out.tfevents.*    TensorBoard, with hparams.yaml; metrics.csv, wandb/: what other loggers write
loggers.json             the id of the run at W&B or MLflow, with which a resumed run goes on
figures/*.png            the last of each picture
fingerprints.json        digest of the training and validation sets as the run last began or went on
metrics.json             final test metrics, with versions, git state and seed
evaluation.json          result of `python -m vae_lab.evaluate` on the run's own test set
evaluation_*.json        results on other splits, data or weights, or on a part of the test set
samples/*                pictures and arrays made by `python -m vae_lab.sample`
codes/*                  tables made by `python -m vae_lab.encode`
export/*                 what `python -m vae_lab.export` wrote; a folder with model.safetensors opens as a run, too
pruned.json              reason why a search stopped this trial
failure.json             reason why a job of a sweep failed; failure.txt, the traceback of an unexpected error
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vae_lab.errors import RunError
from vae_lab.files import why_not_a_file, write_text
from vae_lab.nested import with_strings
from vae_lab.runs.provenance import provenance

CONFIG = "config.yaml"
CHECKPOINTS, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"
EVENTS, HPARAMS = "events.out.tfevents.*", "hparams.yaml"
CSV, LOGGERS = "metrics.csv", "loggers.json"
FIGURES, SAMPLES, CODES, EXPORT = "figures", "samples", "codes", "export"
WEIGHTS = "model.safetensors"
"""Weights of an exported run, which has no checkpoints."""
PARITY = "parity.json"
"""Record of an export: largest difference of each of its files from the run."""
METRICS = "metrics.json"
FINGERPRINTS = "fingerprints.json"
EVALUATION = "evaluation.json"
"""The evaluation that reports read: the run's own weights on its own, whole test set."""
FAILURE, TRACEBACK, PRUNED = "failure.json", "failure.txt", "pruned.json"
UNTRAINED = (
    "overrides",
    "choices",
    "spec",
    "run_dir",
    "sweep",
    "search",
    "resume",
    "resume_changed",
    "launcher",
    "checkpoint",
    "callbacks.last_checkpoint",
    "callbacks.progress",
    "callbacks.pruning",
    "trainer.enable_progress_bar",
)
"""Keys of config.yaml without a part in what is trained, and those of which others are records."""
OUTCOMES = (FAILURE, TRACEBACK, PRUNED)
"""Outcomes of an attempt that did not finish the run; they are deleted when the run goes on."""


def set_aside_results(run: Path, step: int) -> None:
    """Renames the metrics and evaluations of a run that goes on, because they are of its weights after ``step``."""
    for path in (run / METRICS, *run.glob("evaluation*.json")):
        if path.is_file() and not re.search(r"_step_\d+$", path.stem):
            path.replace(path.with_stem(f"{path.stem}_step_{step}"))


def save_config(run: Path, config: Mapping[str, Any]) -> None:
    """Writes config.yaml, with paths inside the run relative to its folder."""
    write_text(run / CONFIG, yaml.safe_dump(relative_to_run(config), sort_keys=False))


def save_fingerprints(run: Path, fingerprints: Mapping[str, str]) -> None:
    """Writes fingerprints.json: the digest of each split that is trained on or validated with."""
    save_json(run / FINGERPRINTS, {"fingerprints": dict(fingerprints)})


def save_metrics(
    run: Path,
    metrics: Mapping[str, float],
    seed: int,
    seconds: float,
    skipped_steps: int,
    selection: str,
    fingerprints: Mapping[str, str],
    step: int | None,
) -> None:
    """Writes metrics.json: how the run went and how to repeat it.

    Args:
        metrics: metrics by name, in nats per example.
        skipped_steps: number of steps skipped because of a non-finite gradient.
        selection: examples by which best.ckpt was chosen: the validation set, or the test set if there is none; none
            if nothing was chosen.
        fingerprints: digest of each split that was read, by which its data are recognised elsewhere.
        step: step of the training after which the weights were saved that the metrics are of; None if not known.
    """
    training = {"training_seconds": round(seconds, 1), "skipped_steps": skipped_steps, "selection": selection}
    training |= {"fingerprints": dict(fingerprints), "step": step}
    save_json(run / METRICS, {"metrics": dict(metrics), **training, "seed": seed, **provenance()})


def save_evaluation(
    path: Path, result: Mapping[str, Any], run: Mapping[str, Any], checkpoint: str, seconds: float
) -> None:
    """Writes the result of `vae_lab.evaluation.evaluate`, of which run and weights it is, and the time that it took."""
    origin = {"run": dict(run), "checkpoint": checkpoint, "evaluation_seconds": round(seconds, 1)}
    save_json(path, {**result, **origin, **provenance()})


def save_failure(run: Path, overrides: Sequence[str], error: Exception, reason: str) -> None:
    """Writes failure.json: why a job failed, in one line."""
    save_json(run / FAILURE, {"reason": reason, "type": type(error).__name__, "overrides": list(overrides)})


def save_traceback(run: Path, error: Exception) -> Path:
    """Writes failure.txt, the traceback of an unexpected error."""
    path = run / TRACEBACK
    write_text(path, "".join(traceback.format_exception(error)))
    return path


def save_pruned(run: Path, overrides: Sequence[str], reason: str) -> None:
    """Writes pruned.json: why a search stopped a trial, in one line."""
    save_json(run / PRUNED, {"reason": reason, "overrides": list(overrides)})


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a record, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def save_ids(run: Path, ids: Mapping[str, str]) -> None:
    """Writes loggers.json: the id of the run at each tracking server, by the class of its logger."""
    save_json(run / LOGGERS, ids)


def make_unique_folder(folder: Path) -> Path:
    """Makes a folder that no other process has: ``folder``, or ``folder_1``, ``folder_2``, ... if it exists."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unique, number = folder, 0
    while True:
        try:
            unique.mkdir()
        except FileExistsError:
            number += 1
            unique = folder.with_name(f"{folder.name}_{number}")
        else:
            return unique


def remove_if_empty(run: Path) -> None:
    """Removes the folder of a run that never began and, below outputs, an empty folder of runs around it."""
    with contextlib.suppress(OSError):
        run.rmdir()
        if run.parent.parent.name == "outputs":
            run.parent.rmdir()


def first_result(run: Path) -> Path | None:
    """Returns a result that a new run in the same folder would write over or leave beside its own; None without any."""
    patterns = (METRICS, "evaluation*.json", f"{CHECKPOINTS}/*.ckpt")
    return next((path for pattern in patterns for path in sorted(run.glob(pattern))), None)


def is_run(folder: Path) -> bool:
    """True if a folder holds the config of a run."""
    return (folder / CONFIG).is_file()


def is_export(folder: Path) -> bool:
    """True if a folder holds an exported run, a copy of another one without what a training goes on from."""
    return (folder / WEIGHTS).is_file() and not (folder / CHECKPOINTS).is_dir()


def why_no_run(path: Path, key: str) -> str:
    """Returns why a path is not a run folder, and the run to name instead if there is one around or below it.

    Args:
        path: path without config.yaml below it.
        key: key of the command line that names a run.
    """
    if not os.path.lexists(path):
        return "no such file or folder"
    around = next(filter(is_run, list(path.absolute().parents)[:2]), None)
    if around is None:
        found = [folder.parent for depth in ("*", "*/*") for folder in path.glob(f"{depth}/{CHECKPOINTS}")]
        below = list(filter(is_run, found))  # other programs have a config.yaml, too
        if not below:
            return f"no run there; a run folder holds {CONFIG}"
        newest = shlex.quote(f"{key}={max(below, key=lambda run: (run / CONFIG).stat().st_mtime)}")
        return f"no run there, but {len(below)} below it; {newest} names the newest"
    return f"lies inside a run; {shlex.quote(f'{key}={os.path.relpath(around)}')} names it"


def last_checkpoint(run: Path) -> Path | None:
    """Returns the checkpoint that a run goes on from; None if it has none.

    Raises:
        RunError: if last.ckpt is there but is not a file, such as a folder or a link to nothing: a run that started
            anew instead would lose the one that was.
    """
    path = run / CHECKPOINTS / LAST
    try:
        problem, what = why_not_a_file(path), path
    except FileNotFoundError:
        what = path.parent
        problem = "is a link to nothing" if what.is_symlink() and not what.exists() else ""
        if not problem:
            return None
    if problem:
        raise RunError(
            f"resume={run}: {what} {problem}; put the checkpoint back, or start a new run in another hydra.run.dir"
        )
    return path


def with_found(config: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config with the options of the image set that were left to the data, as the data decided them."""
    data = config.get("data")
    if not found or not isinstance(data, Mapping) or not isinstance(data.get("images"), Mapping):
        return dict(config)
    return {**config, "data": {**data, "images": {**data["images"], **found}}}


def relative_to_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config with paths inside the run relative to its folder, so that it says nothing of where that lies.

    The folder of the data stays as it is: it may hold the run, but does not move with it.

    Args:
        config: config of a run; ``run_dir`` is its folder, and ``.`` if the paths are relative already.
    """
    folder = str(config.get("run_dir", "."))
    if folder == ".":
        return dict(config)

    def relative(text: str) -> str:
        return text[len(folder) + 1 :] or "." if f"{text}/".startswith(f"{folder}/") else text

    data = {"data": config["data"]} if "data" in config else {}
    changed: dict[str, Any] = with_strings(config, relative)
    return changed | data
