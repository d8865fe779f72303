"""Whole runs of the real command, and what they leave behind."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import BARE, DRAWN, FAST, Outcome
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vae_lab.runs.provenance import git_state


def only_run(root: Path) -> Path:
    (run,) = (path.parent for path in root.rglob("metrics.json"))
    return run


def events(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run))
    accumulator.Reload()
    return accumulator


def test_the_commit_is_that_of_the_lab_wherever_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    of_the_lab = git_state()
    monkeypatch.chdir(tmp_path)
    assert git_state() == of_the_lab


@pytest.mark.parametrize(
    "words",
    [
        ["model=vae", "latent_dim=2"],
        ["model=cvae", "latent_dim=3", "objective=iwae"],
        ["model=mhvae", "latent_dim=3", "model.conditional=true", "warmup=cyclic"],
        ["model=ladder", "latent_dim=3", "objective.free_bits=0.5", "scheduler=cosine"],
    ],
    ids=lambda words: words[0],
)
def test_leaves_the_whole_run_folder(train: Callable[..., Outcome], tmp_path: Path, words: list[str]) -> None:
    drawn = "model=vae" in words
    outcome = train(*(DRAWN if drawn else FAST), *words)
    assert outcome.code == 0, outcome.err
    run = only_run(tmp_path)
    assert run.parent.name == f"{words[0].removeprefix('model=')}-mnist"
    assert {"best.ckpt", "last.ckpt"} == {path.name for path in (run / "checkpoints").iterdir()}
    assert yaml.safe_load((run / "config.yaml").read_text())["latent_dim"] == (2 if "latent_dim=2" in words else 3)

    record = json.loads((run / "metrics.json").read_text())
    metrics = record["metrics"]
    assert metrics["test/elbo"] == pytest.approx(metrics["test/log_likelihood"] - metrics["test/kl"], abs=1e-3)
    assert {"torch", "vae-lab"} <= set(record["versions"])
    assert record["seed"] == 0
    assert bool(record["git"]) == bool(git_state()), "the commit itself may change while tests run"

    tags = events(run).Tags()
    expected = {"train/loss"} | {
        f"{split}/{name}" for split in ("train", "val") for name in ("elbo", "log_likelihood", "kl", "bits_per_dim")
    }
    expected |= {"val/active_units", "val/iw_bound", "train/lr"}
    if "model=mhvae" in words or "model=ladder" in words:
        expected |= {f"val/kl_level_{i}" for i in (1, 2, 3)} | {f"val/active_units_level_{i}" for i in (1, 2, 3)}
    else:
        expected |= {f"val_kl_by_dimension/{dimension}" for dimension in range(2 if words[0] == "model=vae" else 3)}
    assert expected <= set(tags["scalars"])
    found = events(run)
    steps = {tag: [point.step for point in found.Scalars(tag)] for tag in expected if tag.startswith("val")}
    assert len({*map(tuple, steps.values())}) == 1, "all curves of a validation have its step"
    assert not [
        tag for tag in tags["scalars"] if tag.startswith("test/") or tag == "epoch"
    ]  # of one point, or a staircase
    assert {"config/text_summary", "result/text_summary", "custom_scalars__config__"} <= set(tags["tensors"])
    pictures = {"samples", "reconstructions", "interpolations", "manifold", "codes", "traversals"} if drawn else set()
    assert pictures <= set(tags["images"])
    assert {f"{tag}.png" for tag in pictures} <= {path.name for path in run.glob("figures/*")}
    assert drawn == (run / "figures").exists()
    assert str(run) in outcome.out
    assert "tensorboard --logdir" in outcome.out


def test_checkpoints_open_without_executing_anything(train: Callable[..., Outcome], tmp_path: Path) -> None:
    train(*FAST)
    checkpoint = torch.load(only_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(name.startswith("model.") for name in checkpoint["state_dict"] if "bound" not in name)


def test_a_sweep_makes_one_folder_for_each_setting(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train("-m", *FAST, "latent_dim=2,3")
    assert outcome.code == 0, outcome.err
    names = sorted(path.parent.name for path in tmp_path.rglob("metrics.json"))
    assert len(names) == 2
    assert "latent_dim=2" in names[0]
    assert "latent_dim=3" in names[1]


def test_the_same_seed_gives_the_same_run(train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = (*BARE, "logger=none")
    runs = []
    for i, seed in enumerate((0, 0, 1)):
        assert train(*words, f"seed={seed}", f"hydra.run.dir={i}").code == 0
        runs.append(json.loads((tmp_path / str(i) / "metrics.json").read_text())["metrics"])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_configs_of_ones_own(train: Callable[..., Outcome], tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "network"
    mine.mkdir(parents=True)
    (mine / "tiny.yaml").write_text("_target_: vae_lab.networks.MlpArchitecture\nwidths: [4]\n")
    outcome = train(
        "--config-dir",
        "mine",
        *(word for word in BARE if not word.startswith("network")),
        "network=tiny",
        "logger=none",
    )
    assert outcome.code == 0, outcome.err


def test_matplotlib_tells_nothing_of_its_fonts(train: Callable[..., Outcome], tmp_path: Path) -> None:
    """On a first run it would log "generated new fontManager", which Hydra's level of logging shows."""
    logging.getLogger("matplotlib").setLevel(logging.NOTSET)
    assert train(*BARE, f"hydra.run.dir={tmp_path}").code == 0
    assert not logging.getLogger("matplotlib.font_manager").isEnabledFor(logging.INFO)
