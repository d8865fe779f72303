"""Averaged weights: those that are validated, saved as the best, and tested are the same."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import Outcome
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins import Precision

from tests.training.same_run import assert_same, curves_of
from tests.training.test_resume import QUICK, QUICK_DRAWN, stopped_at
from vae_lab import load_run
from vae_lab.training import WeightAverage, skipping
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


@pytest.mark.parametrize("average", ["average=0.8", EMA], ids=["ours", "Lightning's"])
@pytest.mark.parametrize("words", [("test_checkpoint=last",), ("trainer.limit_val_batches=0",)], ids=" ".join)
def test_a_test_that_is_repeated_is_of_the_averaged_weights(
    train: Callable[..., Outcome], tmp_path: Path, words: tuple[str, ...], average: str
) -> None:
    """A run that was killed in its test has nothing left to train, so that no training ends."""
    assert train(*WORDS, *words, average, f"hydra.run.dir={tmp_path}").code == 0
    first = (tmp_path / "metrics.json").read_text()
    (tmp_path / "metrics.json").unlink()
    outcome = train(f"resume={tmp_path}", average)
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"] == json.loads(first)["metrics"]


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


def test_an_average_that_was_stopped_after_a_skipped_step_counts_no_step_twice(
    train: Callable[..., Outcome],
    stopped_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """If a step accumulates batches, callbacks are called after each of them, also before the next step."""
    monkeypatch.setattr(skipping, "WINDOW", 2)
    words = (*WORDS, "average=0.8", "gradient_skip=1.001", "trainer.accumulate_grad_batches=2")
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(*words, f"hydra.run.dir={reference}").code == 0
    assert max(value for _, value in curves_of(reference)["train/unusual_steps"]) > 0
    for step in range(3, 8):
        stopped_at(step, signal.SIGTERM)
        assert train(*words, "resume=auto", f"hydra.run.dir={run}").code == 143
    assert train(*words, "resume=auto", f"hydra.run.dir={run}").code == 0
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
    words = [*QUICK_DRAWN, *WORDS[len(QUICK) :], "callbacks.pictures.every_n_epochs=1", "optimizer.lr=0.1"]
    still = EMA.replace("decay:0.8", "decay:1.0,update_starting_at_step:0")
    assert train(*words, still, f"hydra.run.dir={tmp_path}").code == 0
    assert len(drawn["reconstructions"]) > 3
    for _, *pictures in drawn.values():
        assert all(torch.equal(picture, pictures[0]) for picture in pictures[1:])


def test_three_steps_and_a_skipped_one_have_the_average_of_the_formula() -> None:
    module, average = Stepping(), WeightAverage(0.5)
    average.setup(module.trainer, module, "fit")
    expected = None
    for step, (weight, skipped) in enumerate([(1.0, False), (3.0, False), (100.0, True), (-2.0, False)], 1):
        for value in (module.weight.data, module.statistic, module.precise):
            value.fill_(weight)
        module.count += 1
        module.trainer.global_step, module.skipped_last_step = step, skipped
        average.on_train_batch_end(module.trainer, module, None, None, 0)
        if not skipped:
            decay = min(0.5, (1 + average.steps) / (10 + average.steps))
            expected = weight if expected is None else decay * expected + (1 - decay) * weight
        of_average = average._average_model.module
        for value in (of_average.weight, of_average.statistic, of_average.precise):
            assert value.item() == pytest.approx(expected)
        assert of_average.count == step - skipped
    assert expected == pytest.approx(((1 * 2 / 11 + 3 * 9 / 11) * 3 / 12) + -2 * 9 / 12)


class Stepping(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("statistic", torch.zeros(()))  # as those of batch normalisation
        self.register_buffer("precise", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))
        self.skipped_last_step = False
        self._trainer = SimpleNamespace(global_step=0, precision_plugin=Precision())

    @property
    def trainer(self) -> SimpleNamespace:
        return self._trainer


def test_raw_and_averaged_weights_are_loaded_as_asked(train: Callable[..., Outcome], tmp_path: Path) -> None:
    assert train(*WORDS, "average=0.8", f"hydra.run.dir={tmp_path}").code == 0
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    for weights, key in (("average", "state_dict"), ("raw", "current_model_state")):
        model = load_run(tmp_path, weights=weights)
        assert all(torch.equal(value, best[key][f"model.{name}"]) for name, value in model.state_dict().items())
    assert torch.equal(next(load_run(tmp_path).parameters()), next(load_run(tmp_path, weights="average").parameters()))
    with pytest.raises(ValueError, match="weights=mean: choose one of average, raw"):
        load_run(tmp_path, weights="mean")


def test_a_run_that_no_longer_averages_goes_on_with_what_was_trained(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    plain, run = tmp_path / "plain", tmp_path / "run"
    assert train(*WORDS, f"hydra.run.dir={plain}").code == 0
    assert train(*WORDS, "average=0.8", "trainer.max_epochs=1", f"hydra.run.dir={run}").code == 0
    assert train(f"resume={run}", "average=null", "trainer.max_epochs=2", "resume_changed=true").code == 0
    states = [torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for each in (plain, run)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_weights_in_double_precision_are_averaged_in_it(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train(*WORDS, "average=0.8", "trainer.precision=64-true", f"hydra.run.dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    assert {weight.dtype for weight in load_run(tmp_path).parameters()} == {torch.float64}


@pytest.mark.parametrize("decay", ["0", "1", "-0.5", "1.5"])
def test_a_decay_that_averages_nothing_is_refused(train: Callable[..., Outcome], tmp_path: Path, decay: str) -> None:
    outcome = train(*WORDS, f"average={decay}", f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 1
    assert outcome.error_lines[0].startswith(f"error: average={decay}: must lie between 0 and 1")


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
    assert "StochasticWeightAveraging is not supported; use average=0.999" in outcome.error_lines[0]
    assert not (tmp_path / "run").exists()
