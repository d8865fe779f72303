"""Averaged weights: those that are validated, saved as the best, and tested are the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from conftest import Outcome

from tests.training.same_run import assert_same
from tests.training.test_resume import QUICK, stopped_at
from vae_lab.training.callbacks import Pictures

__all__ = ["stopped_at"]  # a fixture

EMA = "+callbacks.ema={_target_:pytorch_lightning.callbacks.EMAWeightAveraging,decay:0.8}"
WORDS = (*QUICK, "data.val_size=0", "trainer.max_epochs=2")


def test_the_test_is_that_of_the_best_averaged_weights(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train(*WORDS, EMA, f"hydra.run.dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    (score,) = (state["best_model_score"] for key, state in best["callbacks"].items() if "ModelCheckpoint" in key)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert metrics["test/elbo"] == pytest.approx(score.item(), abs=1e-4), "validation is on the same images"
    raw = best["current_model_state"]
    assert any(not torch.equal(value, raw[name]) for name, value in best["state_dict"].items())


@pytest.mark.slow
def test_an_averaged_run_goes_on_within_an_epoch_and_longer(
    train: Callable[..., Outcome],
    stopped_at: Callable[..., None],
    tmp_path: Path,
) -> None:
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(*WORDS, EMA, f"hydra.run.dir={reference}").code == 0
    stopped_at(3, signal.SIGTERM)
    assert train(*WORDS, EMA, "trainer.max_epochs=1", f"hydra.run.dir={run}").code == 143
    assert train(f"resume={run}", EMA).code == 0
    assert train(f"resume={run}", EMA, "trainer.max_epochs=2").code == 0
    assert_same(run, reference)


def test_pictures_are_those_of_the_averaged_weights(
    train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An average that stays as it is after the first step is drawn alike from then on."""
    drawn: dict[str, list[torch.Tensor]] = {}

    def publish(self: Pictures, trainer: object, pictures: Iterable[tuple[str, torch.Tensor]]) -> None:
        for tag, picture in pictures:
            drawn.setdefault(tag, []).append(picture)

    monkeypatch.setattr(Pictures, "_publish", publish)
    words = [word for word in WORDS if not word.startswith("callbacks")]
    words += ["callbacks.pictures.every_n_epochs=1", "callbacks.projector=null", "optimizer.lr=0.1"]
    still = EMA.replace("decay:0.8", "decay:1.0,update_starting_at_step:0")
    assert train(*words, still, f"hydra.run.dir={tmp_path}").code == 0
    assert len(drawn["reconstructions"]) > 3
    for _, *pictures in drawn.values():
        assert all(torch.equal(picture, pictures[0]) for picture in pictures[1:])


def test_an_average_of_sharded_weights_is_refused(train: Callable[..., Outcome], tmp_path: Path) -> None:
    sharded = ("trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=1")
    outcome = train(*WORDS, *sharded, EMA, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 1
    assert outcome.error_lines == ["error: callbacks: WeightAveraging cannot average sharded weights; use trainer=ddp"]
    assert not (tmp_path / "run").exists()


def test_an_average_that_needs_lightnings_own_steps_is_refused(train: Callable[..., Outcome], tmp_path: Path) -> None:
    word = "+callbacks.swa={_target_:pytorch_lightning.callbacks.StochasticWeightAveraging,swa_lrs:0.01}"
    outcome = train(*WORDS, word, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 1
    assert "StochasticWeightAveraging changes a learning rate" in outcome.error_lines[0]
    assert not (tmp_path / "run").exists()
