from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Outcome

from tests.training.same_run import assert_same, curves_of
from tests.training.test_resume import QUICK, stopped_at

__all__ = ["stopped_at"]  # a fixture

WORDS = [*QUICK, "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "warmup=none"]


def words(lr: str = "null") -> list[str]:
    return [*WORDS, TARGET, f"+objective.lr={lr}", *DROPPED]


TARGET = "objective._target_=tests.objectives.learned.LearnedTemperature"
DROPPED = ["~objective.beta", "~objective.warmup", "~objective.free_bits", "~objective.num_samples"]


@pytest.mark.parametrize("lr", ["null", "0.5"])
def test_parameters_of_an_objective_are_trained_saved_and_resumed(
    train: Callable[..., Outcome], stopped_at: Callable[..., None], tmp_path: Path, lr: str
) -> None:
    reference, run = tmp_path / "reference", tmp_path / "run"
    outcome = train(*words(lr), f"hydra.run.dir={reference}")
    assert outcome.code == 0, outcome.err
    assert "1 parameters of its own" in outcome.out
    state = torch.load(reference / "checkpoints" / "last.ckpt", weights_only=True)
    learned = state["state_dict"]["objective.log_temperature"].item()
    assert learned > (1.0 if lr == "0.5" else 0.005), "it rises at each of 14 steps of Adam, by the rate of its group"
    assert [value for _, value in curves_of(reference)["train/temperature"]][-1] > 1
    if lr == "null":
        return
    stopped_at(5, signal.SIGTERM)
    assert train(*words(lr), f"hydra.run.dir={run}").code == 143
    assert train(f"resume={run}", TARGET).code == 0
    assert_same(run, reference)


def test_a_run_goes_on_with_the_parameters_of_its_objective_or_starts_anew(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    small = ["objective.widths=[4]", "trainer.max_epochs=1"]
    assert train(*WORDS, "objective=factor_vae", *small, f"hydra.run.dir={run}").code == 0
    last = run / "checkpoints" / "last.ckpt"
    for change in (["objective=elbo"], ["objective.widths=[5]"]):
        outcome = train(f"resume={run}", *change, "trainer.max_epochs=2", "resume_changed=true")
        assert outcome.code == 1
        assert "the weights of another objective (objective.discriminator.layers.0.weight" in outcome.error_lines[0]
        assert outcome.error_lines[0].endswith(f"init_from={last} starts a new run from the weights of the model alone")
    assert train(*WORDS, "objective=elbo", f"init_from={last}", f"hydra.run.dir={tmp_path / 'new'}").code == 0


def test_parameters_of_an_objective_are_clipped_with_the_models(train: Callable[..., Outcome], tmp_path: Path) -> None:
    sgd = ["optimizer=sgd", "optimizer.lr=1", "optimizer.momentum=0", "trainer.gradient_clip_val=1e-3"]
    outcome = train(*words("1"), *sgd, f"hydra.run.dir={tmp_path}")
    assert outcome.code == 0, outcome.err
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    moved = state["state_dict"]["objective.log_temperature"].abs().item()
    assert 0 < moved <= 14e-3 + 1e-6, "14 steps of a gradient whose whole norm is 1e-3"


def test_parameters_of_an_objective_cannot_be_sharded(train: Callable[..., Outcome], tmp_path: Path) -> None:
    sharded = ("trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=1")
    outcome = train(*words(), *sharded, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 1
    assert "cannot spread the parameters of LearnedTemperature over processes" in outcome.error_lines[0]
