"""A model that carries no information is told so, with a remedy that is not on already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, Outcome

from tests.cli.test_options import composed
from vae_lab.collapse import collapse_lines
from vae_lab.evaluate import main as evaluate

COLLAPSED = {"kl": 6.2, "kl_level_1": 0.0, "kl_level_2": 0.002, "kl_level_3": 6.2}


def lines(tmp_path: Path, words: str, metrics: dict[str, float]) -> list[str]:
    from omegaconf import OmegaConf

    config: Any = OmegaConf.to_container(composed(tmp_path, *words.split()), resolve=True)
    return collapse_lines(metrics, config)


@pytest.mark.parametrize(
    ("words", "there", "not_there"),
    [
        (
            "model=ladder warmup=none network=mlp",
            ["warmup=linear", "free_bits=1", "network.batch_norm=true"],
            ["objective.beta", "level 3"],
        ),
        ("model=ladder", ["objective.free_bits=1"], ["warmup", "batch_norm"]),
        ("model=mhvae warmup=cyclic objective.beta=4", ["free_bits=1", "objective.beta=1"], ["warmup"]),
        ("model=mhvae objective=iwae", ["objective=elbo warmup=linear", "batch_norm"], ["free_bits"]),
        ("model=mhvae prior=vamp objective.free_bits=2", ["fewer levels (model.latent_dims)"], ["batch_norm", "bits="]),
        ("model=ladder network=conv", ["free_bits=1"], ["warmup", "batch_norm"]),
    ],
)
def test_names_the_levels_and_what_is_not_on(
    words: str, there: list[str], not_there: list[str], tmp_path: Path
) -> None:
    (line,) = lines(tmp_path, words, COLLAPSED)
    assert line.startswith("no information: level 1 (0.000 nats), level 2 (0.002 nats) under 0.1 nats of KL; what may")
    assert all(word in line for word in there), line
    assert not any(word in line for word in not_there), line


@pytest.mark.parametrize(
    ("words", "metrics", "start"),
    [
        ("latent_dim=50", {"kl": 0.01}, "no information: the latent space (0.010 nats)"),
        (
            "latent_dim=50",
            {"kl": 20.0, "units_with_kl": 24},
            "no information: 26 of 50 dimensions",
        ),
        ("latent_dim=50", {"kl": 20.0, "units_with_kl": 25}, None),
        ("latent_dim=50", {"kl": 20.0, "active_units": 0}, None),  # of an older version
        ("model=mhvae", {"kl": 7.0, "kl_level_1": 4.0, "kl_level_2": 3.0, "units_with_kl": 80}, None),
        (
            "model=mhvae",
            {"kl": 7.0, "kl_level_1": 4.0, "kl_level_2": 3.0, "units_with_kl": 8},
            "no information: 98 of 106",
        ),
    ],
)
def test_says_it_of_most_dimensions_too(
    words: str, metrics: dict[str, float], start: str | None, tmp_path: Path
) -> None:
    found = lines(tmp_path, words, metrics)
    assert [line[: len(start or "")] for line in found] == ([start] if start else [])


@pytest.mark.parametrize("config", [{}, {"model": 3, "objective": []}, {"model": {"latent_dims": ["a"]}}])
def test_strange_configs_are_no_error(config: dict[str, Any]) -> None:
    assert len(collapse_lines(COLLAPSED, config)) == 1
    assert collapse_lines({"kl": "x", "units_with_kl": 1}, config) == []


def test_the_summary_and_the_evaluation_say_it(train: Callable[..., Outcome], command: Any, tmp_path: Path) -> None:
    words = (*FAST, "model=mhvae", "warmup=none")
    trained = train(
        *words, "objective.beta=1000", "optimizer.lr=0.03", "trainer.limit_train_batches=60", "hydra.run.dir=run"
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert min(metrics[f"test/kl_level_{level}"] for level in (1, 2, 3)) < 0.1
    assert {"test/units_with_kl", "test/units_with_kl_level_3", "test/active_units_level_3"} <= set(metrics)
    assert "no information: " in trained.out
    assert "warmup=linear" in trained.out
    names = {line.split()[1] for line in trained.out.splitlines() if line.startswith("│")}
    assert {f"test/{name}" for name in names} <= set(metrics), "the screen had names that no file has"
    assert "own KL > 0.01 nats" in trained.out
    assert "dimensions whose mean varies (Burda)" in trained.out, "Burda's count says nothing of the KL"

    evaluated = command(evaluate, "run=run", "num_samples=2", "elbo_samples=2", "trainer.limit_test_batches=1")
    assert "no information: " in evaluated.out, evaluated.err
    assert "active_units_level_3" in evaluated.out
