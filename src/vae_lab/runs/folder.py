"""A run folder: what a training leaves behind.

config.yaml              the whole config, resolved
checkpoints/best.ckpt    best by val/elbo; checkpoints/last.ckpt, the newest
events.out.tfevents.*    TensorBoard
figures/*.png            the last of each picture
metrics.json             final test metrics, with versions, git state and seed
evaluation.json          what `python -m vae_lab.evaluate` found on the run's own test set
evaluation_*.json        the same of other splits, data, weights, or of a part of the test set
samples/*                pictures and arrays that `python -m vae_lab.sample` made
pruned.json              of a search's trial that was given up: why
failure.json             of a sweep's job that failed: why; failure.txt, the traceback of an unexpected error
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from vae_lab.files import write_text

VERSIONS = ("vae-lab", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "scikit-learn")


OUTCOMES = ("failure.json", "failure.txt", "pruned.json")
"""How an attempt has ended that did not finish the run; they go when the run goes on."""


def save_config(run: Path, config: Mapping[str, Any]) -> None:
    """Writes config.yaml, with paths inside the run relative to its folder."""
    write_text(run / "config.yaml", yaml.safe_dump(relative_to_run(config), sort_keys=False))


def why_no_run(path: Path, key: str) -> str:
    """Returns why a path is not a run folder, and the run to name instead if the path lies in one.

    Args:
        path: path without config.yaml below it.
        key: key of the command line that names a run.
    """
    if not os.path.lexists(path):
        return "no such file or folder"
    around = next((folder for folder in list(path.absolute().parents)[:2] if (folder / "config.yaml").is_file()), None)
    if around is None:
        return "no run there; a run folder holds config.yaml"
    return f"lies inside a run; {shlex.quote(f'{key}={os.path.relpath(around)}')} names it"


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
        config: of a run; ``run_dir`` is its folder, and ``.`` where the paths are relative already.
    """
    folder = str(config.get("run_dir", "."))
    data = {"data": config["data"]} if "data" in config else {}
    return dict(config) if folder == "." else _relative(config, folder) | data


def _relative(node: Any, folder: str) -> Any:
    """Plain containers with ``folder/part`` as ``part`` and the folder itself as ``.``."""
    if isinstance(node, Mapping):
        return {name: _relative(child, folder) for name, child in node.items()}
    if isinstance(node, list):
        return [_relative(child, folder) for child in node]
    if isinstance(node, str) and (node == folder or node.startswith(f"{folder}/")):
        return node[len(folder) + 1 :] or "."
    return node


def save_metrics(
    run: Path,
    metrics: Mapping[str, float],
    seed: int,
    seconds: float,
    skipped_steps: int,
    selection: str,
    fingerprints: Mapping[str, str],
) -> None:
    """Writes metrics.json: how the run went and how to repeat it.

    Args:
        run: its folder.
        metrics: in nats an example.
        seed: of the run.
        seconds: that the training took.
        skipped_steps: steps left out because their gradient was not finite.
        selection: examples by which best.ckpt was chosen: the validation set, or the test set where there is none;
            none if nothing was chosen.
        fingerprints: digest of the data of each split that was read, by which they are recognised elsewhere.
    """
    training = {"training_seconds": round(seconds, 1), "skipped_steps": skipped_steps, "selection": selection}
    training |= {"fingerprints": dict(fingerprints)}
    _save_record(run / "metrics.json", metrics=dict(metrics), **training, seed=seed)


def save_evaluation(
    path: Path, result: Mapping[str, Any], run: Mapping[str, Any], checkpoint: str, seconds: float
) -> None:
    """Writes evaluation.json: what `vae_lab.evaluation.estimate` found, of which run and weights, and in what time."""
    _save_record(path, **result, run=dict(run), checkpoint=checkpoint, evaluation_seconds=round(seconds, 1))


def _save_record(path: Path, **content: Any) -> None:
    write_text(path, json.dumps(content | provenance(), indent=2) + "\n")


def provenance() -> dict[str, Any]:
    """Returns the machine, the versions and the state of the code, so that a number can be had again."""
    return {
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "gpu": _gpu(),
        },
        "versions": {name: found for name in VERSIONS if (found := _version(name))},
        "git": git_state(),
    }


def _gpu() -> str | None:
    import torch  # noqa: PLC0415  (a report needs this module, but not torch)

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def git_state() -> dict[str, Any] | None:
    """Commit of the working folder and whether it was changed since; None outside a repository."""
    commit = _git("rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "changed": bool(_git("status", "--porcelain"))}


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(("git", *words), capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
