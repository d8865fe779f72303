"""A run folder that was moved, renamed or copied is the same run: nothing in it refers to where it lay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import DRAWN, FAST, Outcome

from tests.training.same_run import assert_same, state_of
from vae_lab import evaluate, report

SHORT = (
    *(word for word in FAST if not word.startswith("debug")),
    "trainer.limit_train_batches=7",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
)
FIRST, ALL = "trainer.max_epochs=1", "trainer.max_epochs=2"


def as_older_versions_wrote_it(run: Path) -> None:
    """Puts whole paths into the config and into the checkpoints."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["run_dir"] = config["trainer"]["default_root_dir"] = config["logger"]["save_dir"] = str(run)
    for name in ("checkpoint", "last_checkpoint"):
        config["callbacks"][name]["dirpath"] = f"{run}/checkpoints"
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    folder, best = f"{run}/checkpoints", f"{run}/checkpoints/best.ckpt"
    for path in run.glob("checkpoints/*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        state = best_of(checkpoint)
        scores = dict.fromkeys([best], state["best_model_score"])
        state |= {"dirpath": folder, "best_model_path": best, "kth_best_model_path": best, "best_k_models": scores}
        torch.save(checkpoint, path)


def best_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return next(state for key, state in checkpoint["callbacks"].items() if key.startswith("ModelCheckpoint"))


def edit(path: Path, **changes: Any) -> None:
    """Changes the state of the choice of the best weights in a checkpoint."""
    checkpoint = torch.load(path, weights_only=True)
    best_of(checkpoint).update(changes)
    torch.save(checkpoint, path)


@pytest.mark.parametrize(
    ("older", "left"),
    [
        (True, "broken weights"),
        pytest.param(True, "nothing", marks=pytest.mark.slow),
        # Of a run of today no file names the folder: see below.
        pytest.param(False, "broken weights", marks=pytest.mark.slow),
    ],
)
def test_a_moved_run_ends_as_if_it_had_not_been_moved(
    train: Callable[..., Outcome], tmp_path: Path, older: bool, left: str
) -> None:
    reference, old, new = tmp_path / "reference", tmp_path / "a" / "old", tmp_path / "b" / "new"
    assert train(*SHORT, ALL, f"hydra.run.dir={reference}").code == 0
    assert train(*SHORT, FIRST, f"hydra.run.dir={old}").code == 0
    if older:
        as_older_versions_wrote_it(old)
    new.parent.mkdir()
    shutil.copytree(old, new)
    if left == "nothing":
        shutil.rmtree(old.parent)
    else:
        (old / "checkpoints" / "best.ckpt").write_bytes(b"not those of the copy")
    outcome = train(f"resume={new}", ALL)
    assert outcome.code == 0, outcome.err
    assert_same(new, reference)
    metrics = [json.loads((run / "metrics.json").read_text())["metrics"] for run in (new, reference)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("older", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_worse_epoch_does_not_replace_the_best_of_a_moved_run(
    train: Callable[..., Outcome], tmp_path: Path, older: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert train(*SHORT, FIRST, f"hydra.run.dir={old}").code == 0
    tested = json.loads((old / "metrics.json").read_text())["metrics"]
    if older:
        as_older_versions_wrote_it(old)
    (name,) = best_of(torch.load(old / "checkpoints" / "last.ckpt", weights_only=True))["best_k_models"]
    unbeaten = torch.tensor(1e6)
    edit(old / "checkpoints" / "last.ckpt", best_model_score=unbeaten, best_k_models={name: unbeaten})
    before = (old / "checkpoints" / "best.ckpt").read_bytes()
    old.rename(new)
    assert train(f"resume={new}", ALL).code == 0
    assert (new / "checkpoints" / "best.ckpt").read_bytes() == before
    assert json.loads((new / "metrics.json").read_text())["metrics"] == tested
    assert not old.exists()


def test_nothing_that_a_run_writes_names_its_folder(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "this_run"
    assert train(*DRAWN, f"hydra.run.dir={run}", "callbacks=early_stopping").code == 0
    named = [path.name for path in run.rglob("*") if path.is_file() and run.name.encode() in path.read_bytes()]
    assert named == []
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["run_dir"] == "."
    assert config["callbacks"]["checkpoint"]["dirpath"] == "checkpoints"


@pytest.mark.filterwarnings("ignore:.*best weights are chosen")
def test_a_copy_without_its_best_weights_chooses_anew(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*SHORT, FIRST, f"hydra.run.dir={run}").code == 0
    (name,) = best_of(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True))["best_k_models"]
    unbeaten = torch.tensor(1e6)
    edit(run / "checkpoints" / "last.ckpt", best_model_score=unbeaten, best_k_models={name: unbeaten})
    (run / "checkpoints" / "best.ckpt").unlink()
    assert train(f"resume={run}", ALL).code == 0
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 14


@pytest.mark.slow
def test_a_moved_run_is_evaluated_and_reported(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    old, new = tmp_path / "outputs" / "old", tmp_path / "elsewhere" / "new"
    assert train(*FAST, "data.val_size=59900", f"hydra.run.dir={old}").code == 0
    (tmp_path / "elsewhere").mkdir()
    old.rename(new)
    words = (f"run={new}", "num_samples=2", "elbo_samples=2", "split=val", "trainer.accelerator=cpu")
    assert command(evaluate.main, *words).code == 0
    assert (new / "evaluation_val.json").is_file()
    assert command(report.main, str(tmp_path / "elsewhere")).code == 0
    assert str(old) not in (tmp_path / "elsewhere" / "report.md").read_text()


@pytest.mark.slow
def test_a_moved_sweep_goes_on(train: Callable[..., Outcome], tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "moved" / "sweep"
    words = ("-m", *SHORT, FIRST, "latent_dim=2,3")
    assert train(*words, f"hydra.sweep.dir={old}").code == 0
    unfinished = next(path for path in old.iterdir() if "latent_dim=3" in path.name)
    reference = state_of(unfinished)
    (unfinished / "metrics.json").unlink()
    new.parent.mkdir()
    old.rename(new)
    outcome = train(*words, f"sweep.resume={new}")
    assert outcome.code == 0, outcome.err
    assert "1 of 2 jobs are finished already" in outcome.out
    assert state_of(new / unfinished.name) == reference
    assert not old.exists()
