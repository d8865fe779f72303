"""A change on ``resume= resume_changed=true``, in any group of configs/, happens or is refused in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Outcome
from omegaconf import OmegaConf

from tests.training.same_run import curves_of, state_of
from tests.training.test_resume_changed import QUICK, files_of

LONGER = ("trainer.max_epochs=2", "trainer.max_steps=-1")


@pytest.fixture(params=["between epochs", pytest.param("within an epoch", marks=pytest.mark.slow)])
def begun(request: pytest.FixtureRequest, train: Callable[..., Outcome], tmp_path_factory: Any) -> tuple[Path, Path]:
    """A run that has begun, and how it ends if nothing is changed."""
    folder = tmp_path_factory.getbasetemp() / request.param.replace(" ", "_")
    if not folder.exists():
        steps = () if request.param == "between epochs" else ("trainer.max_steps=4",)
        assert train(*QUICK, *steps, f"hydra.run.dir={folder / 'begun'}").code == 0
        shutil.copytree(folder / "begun", folder / "unchanged")
        assert train(f"resume={folder / 'unchanged'}", *LONGER).code == 0
    return folder / "begun", folder / "unchanged"


HAPPEN: dict[tuple[str, ...], dict[str, Any]] = {
    ("optimizer.lr=1e-2",): {"optimizer.lr": 1e-2},
    ("objective=iwae",): {"choices.objective": "iwae"},
    ("objective=info_vae",): {"choices.objective": "info_vae"},
    ("objective.free_bits=3",): {"objective.free_bits": 3},
    ("warmup=linear", "warmup.steps=1000"): {"choices.warmup": "linear"},
    ("scheduler=cosine",): {"choices.scheduler": "cosine"},
    ("network.activation=tanh",): {"network.activation": "tanh"},
    ("trainer.precision=bf16-mixed",): {"trainer.precision": "bf16-mixed"},
    ("trainer.precision=64-true",): {"trainer.precision": "64-true"},
    ("trainer.gradient_clip_val=0.01",): {"trainer.gradient_clip_val": 0.01},
    ("trainer.accumulate_grad_batches=2",): {"trainer.accumulate_grad_batches": 2},
    ("data.horizontal_flip=true",): {"data.horizontal_flip": True},
}
"""Changes after which the run trains otherwise, and what its config.yaml says then."""

REFUSED: dict[tuple[str, ...], str] = {
    ("model=cvae",): "the weights of another model",
    ("model=ladder",): "the weights of another model",
    ("network.widths=[5]",): "the weights of another model",
    ("network.batch_norm=true",): "the weights of another model",
    ("prior=vamp",): "the weights of another model",
    ("likelihood=categorical",): "",
    ("data=sprites",): "",
    ("trainer.precision=3",): "trainer.precision",
    ("callbacks=none", "callbacks.early_stopping.patience=3"): "callbacks.early_stopping.patience",
}

FAST_CASES = (("trainer.gradient_clip_val=0.01",), ("model=cvae",))


def cases(table: dict[tuple[str, ...], Any]) -> list[Any]:
    return [
        pytest.param(words, expected, id=" ".join(words), marks=[] if words in FAST_CASES else pytest.mark.slow)
        for words, expected in table.items()
    ]


@pytest.fixture
def run(begun: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun[0], tmp_path / "run"))


@pytest.mark.parametrize(("words", "expected"), cases(HAPPEN))
def test_a_change_happens(
    train: Callable[..., Outcome],
    run: Path,
    begun: tuple[Path, Path],
    words: tuple[str, ...],
    expected: dict[str, Any],
) -> None:
    outcome = train(f"resume={run}", *words, *LONGER, "resume_changed=true")
    assert outcome.code == 0, outcome.err
    config = OmegaConf.load(run / "config.yaml")
    assert {key: OmegaConf.select(config, key) for key in expected} == expected
    assert state_of(run)["state_dict"] != state_of(begun[1])["state_dict"]
    first, longer = (curves_of(folder)["train/loss"] for folder in (begun[0], run))
    assert longer[: len(first)] == first
    assert train(f"resume={run}").code == 0, "what was changed is part of the run from now on"


@pytest.mark.parametrize(("words", "reason"), cases(REFUSED))
def test_a_change_that_cannot_happen_changes_nothing(
    train: Callable[..., Outcome], run: Path, words: tuple[str, ...], reason: str
) -> None:
    before = files_of(run)
    outcome = train(f"resume={run}", *words, *LONGER, "resume_changed=true")
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1, outcome.err
    assert reason in outcome.error_lines[0]
    assert files_of(run) == before


@pytest.mark.slow
def test_another_batch_size(train: Callable[..., Outcome], run: Path, begun: tuple[Path, Path]) -> None:
    before = files_of(run)
    outcome = train(f"resume={run}", "data.batch_size=10", *LONGER, "resume_changed=true")
    if outcome.code:
        assert "within" in begun[0].parts[-2]
        assert len(outcome.error_lines) == 1, outcome.err
        assert "data.batch_size" in outcome.error_lines[0]
        assert files_of(run) == before
    else:
        assert yaml.safe_load((run / "config.yaml").read_text())["data"]["batch_size"] == 10
        assert state_of(run)["state_dict"] != state_of(begun[1])["state_dict"]


@pytest.mark.slow
def test_what_watches_a_run_changes_no_number(
    train: Callable[..., Outcome], run: Path, begun: tuple[Path, Path]
) -> None:
    words = ("callbacks=early_stopping", "callbacks.pictures=null", "callbacks.projector=null", "logger=none")
    points = curves_of(run)["train/loss"]
    outcome = train(f"resume={run}", *words, *LONGER, "resume_changed=true")
    assert outcome.code == 0, outcome.err
    assert state_of(run)["state_dict"] == state_of(begun[1])["state_dict"]
    assert any(key.startswith("EarlyStopping") for key in state_of(run)["callbacks"])
    assert yaml.safe_load((run / "config.yaml").read_text())["logger"] is None
    assert curves_of(run)["train/loss"] == points

    outcome = train(f"resume={run}", "logger=tensorboard", "trainer.max_epochs=3", "resume_changed=true")
    assert outcome.code == 0, outcome.err
    found = curves_of(run)["train/loss"]
    assert found[: len(points)] == points
    assert [step for step, _ in found[len(points) :]] == list(range(12, 18))
