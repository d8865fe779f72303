"""Run folders as trainings leave them, without the training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

METRICS = {"elbo": -100.0, "log_likelihood": -80.0, "kl": 20.0, "active_units": 5.0}


def write_run(
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    choices: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    seconds: float = 10.0,
) -> Path:
    """A finished run: of a VAE on MNIST with latent_dim=10, but for what is given."""
    whole: dict[str, Any] = {
        "latent_dim": 10,
        "seed": seed,
        "run_dir": str(folder),
        "model": {"_target_": "vae_lab.models.VAE"},
        "data": {"seed": seed, "batch_size": 128},
        "callbacks": {"checkpoint": {"dirpath": f"{folder}/checkpoints"}},
        **(config or {}),
        "overrides": list(overrides),
        "choices": {"model": "vae", "data": "mnist", **(choices or {})},
    }
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(whole))
    named = {f"test/{name}": value for name, value in (METRICS | dict(metrics or {})).items()}
    (folder / "metrics.json").write_text(json.dumps({"metrics": named, "training_seconds": seconds, "seed": seed}))
    return folder


def write_evaluation(run: Path, nll: float, **more: object) -> None:
    (run / "evaluation.json").write_text(json.dumps({"nll": nll, "nll_error": 0.5, **more}))


def add_to_metrics(run: Path, **more: object) -> None:
    """Adds entries to metrics.json, beside the metrics."""
    path = run / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def write_failure(folder: Path, overrides: Sequence[str], reason: str) -> Path:
    folder.mkdir(parents=True)
    record = {"reason": reason, "type": "ValueError", "overrides": list(overrides)}
    (folder / "failure.json").write_text(json.dumps(record))
    return folder


def draw_samples(run: Path, grey: int = 128) -> None:
    (run / "figures").mkdir()
    Image.new("L", (40, 40), grey).save(run / "figures" / "samples.png")
