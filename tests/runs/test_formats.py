"""Runs of older versions are opened, evaluated and resumed for ever; those of newer versions are refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome

import vae_lab
from tests.training.same_run import curves_of
from vae_lab.evaluate import main as evaluate
from vae_lab.runs.formats import FORMAT, RESUMED, check_resumable, migrated
from vae_lab.training.skipping import UnusualGradients

SAVED_RUNS = Path(__file__).parents[1] / "saved_runs"
OLD = sorted(path.parent.relative_to(SAVED_RUNS) for path in SAVED_RUNS.glob("*/*/config.yaml"))
"""Written by the version of their format. None may ever be changed or removed."""


@pytest.fixture(params=OLD, ids=str)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return copied(request.param, tmp_path)


def copied(name: str | Path, folder: Path) -> Path:
    """A run that lies elsewhere than where it was trained, /somewhere/run."""
    return Path(shutil.copytree(SAVED_RUNS / name, folder / "old"))


def checkpoint_of(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def rewrite(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    for path in run.glob("checkpoints/*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        change(checkpoint)
        torch.save(checkpoint, path)


def test_there_are_old_runs_that_say_nothing_of_the_machine() -> None:
    assert {path.parts[0] for path in OLD} >= {"format_0"}
    for path in SAVED_RUNS.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(word in content for word in (b"/tmp", b"/root", b"/home", b"/work")), path


def test_an_old_run_is_opened(old: Path) -> None:
    model = vae_lab.load_run(old)
    assert model.generate(2).mean.shape == (2, *model.spec.shape)
    weights = checkpoint_of(old)["state_dict"]
    again = vae_lab.load_run(old / "checkpoints" / "last.ckpt")
    for name, value in again.state_dict().items():
        assert torch.equal(value, weights[f"model.{name}"])


def test_an_old_run_is_evaluated_as_it_was(command: Callable[..., Outcome], old: Path) -> None:
    outcome = command(evaluate, f"run={old}", "num_samples=4", "disentanglement=false", "batch_size=2000")
    assert outcome.code == 0, outcome.err
    assert (
        -60 < json.loads((old / "evaluation.json").read_text())["elbo"] < -40
    )  # 64 pixels; 44.4 if nothing was learned


def test_an_old_run_goes_on(train: Callable[..., Outcome], old: Path) -> None:
    before = checkpoint_of(old)
    points = curves_of(old)["train/loss"]
    outcome = train(f"resume={old}", "trainer.max_epochs=4", "trainer.accelerator=cpu")
    assert outcome.code == 0, outcome.err
    after = checkpoint_of(old)
    assert after["format"] == FORMAT
    assert (before["global_step"], after["global_step"]) in ((10, 24), (18, 24))
    losses = curves_of(old)["train/loss"]
    assert losses[: len(points)] == points  # kept, and followed by one for each further step
    assert [step for step, _ in losses] == list(range(24))
    assert after["optimizer_states"][0]["state"][0]["step"] == 24


@pytest.mark.slow
def test_a_format_that_lacks_newer_keys_goes_on(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = copied("format_0/stopped", tmp_path)

    def age(checkpoint: dict[str, Any]) -> None:
        for key in ("curves", "callbacks", "lr_schedulers"):
            del checkpoint[key]
        for key in ("skipped", "logged_step", "should_stop"):
            del checkpoint["progress"][key]
        del checkpoint["progress"]["ranks"][0]["random"]["cuda"]

    rewrite(run, age)
    points = curves_of(run)["train/loss"]
    outcome = train(f"resume={run}")
    assert outcome.code == 0, outcome.err
    assert curves_of(run)["train/loss"][: len(points)] == points


@pytest.mark.parametrize("number", [FORMAT + 1, pytest.param("x", marks=pytest.mark.slow)])
def test_an_unknown_format_is_refused_in_one_line(
    command: Callable[..., Outcome], train: Callable[..., Outcome], tmp_path: Path, number: Any
) -> None:
    run = copied("format_0/stopped", tmp_path)
    rewrite(run, lambda checkpoint: checkpoint.update(format=number))
    message = "newer than format" if number == FORMAT + 1 else "is not a format number"
    for outcome in (train(f"resume={run}"), command(evaluate, f"run={run}")):
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1
        assert message in outcome.error_lines[0]
    with pytest.raises(vae_lab.errors.RunError, match=message):
        vae_lab.load_run(run)


JUNK: dict[str, Any] = {
    "absent": None,
    "text": "junk",
    "list of texts": ["junk"],
    "list of an empty dictionary": [{}],
    "dictionary": {"junk": "junk"},
}


@pytest.mark.parametrize("part", RESUMED)
def test_a_broken_part_of_a_checkpoint_is_named(part: str) -> None:
    path = SAVED_RUNS / "format_0" / "stopped" / "checkpoints" / "last.ckpt"
    outer, _, inner = part.rpartition(".")
    for name, junk in JUNK.items():
        checkpoint = migrated(torch.load(path, weights_only=True))
        check_resumable(checkpoint)
        place = checkpoint[outer] if outer else checkpoint
        fits = isinstance(junk, RESUMED[part]) and part not in ("callbacks", "optimizer_states", "progress.ranks")
        if name == "absent":
            del place[inner]
        elif (fits and part != "pytorch-lightning_version") or (name == "list of texts" and part == "lr_schedulers"):
            continue
        else:
            place[inner] = junk
        with pytest.raises(ValueError, match=part):
            check_resumable(checkpoint)


@pytest.mark.parametrize("part", ["optimizer", "schedule_steps", "planned_steps", "lr_schedulers"])
def test_a_checkpoint_of_today_that_lacks_a_part_is_refused_in_one_line(
    train: Callable[..., Outcome], tmp_path: Path, part: str
) -> None:
    run = copied("format_0/stopped", tmp_path)
    rewrite(run, lambda checkpoint: (checkpoint.update(migrated(dict(checkpoint))), checkpoint.pop(part)))
    outcome = train(f"resume={run}")
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert outcome.error_lines[0].endswith(f"no checkpoint of vae_lab (it lacks {part})")
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "part",
    ["progress", *(pytest.param(part, marks=pytest.mark.slow) for part in ("optimizer_states", "step", "ranks"))],
)
def test_a_checkpoint_that_lacks_what_nothing_implies_is_refused(
    train: Callable[..., Outcome], tmp_path: Path, part: str
) -> None:
    run = copied("format_0/stopped", tmp_path)
    rewrite(run, lambda checkpoint: (checkpoint if part in checkpoint else checkpoint["progress"]).pop(part))
    outcome = train(f"resume={run}")
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert re.search(f"it lacks .*{part}", outcome.error_lines[0])


@pytest.mark.parametrize("junk", ["junk", {}, {"norms": [1.0], "seen": 1, "skipped": 0}])
def test_norms_of_gradients_that_are_none_are_named(junk: Any) -> None:
    checkpoint = migrated(torch.load(SAVED_RUNS / "format_0/stopped/checkpoints/last.ckpt", weights_only=True))
    for whole in ({}, {"gradient_norms": None}, {"gradient_norms": UnusualGradients(20).state()}):
        check_resumable(checkpoint | whole)
    with pytest.raises(ValueError, match="gradient_norms"):
        check_resumable(checkpoint | {"gradient_norms": junk})
