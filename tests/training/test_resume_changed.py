"""Options on resume take effect or are refused in one line, and a resume that fails changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import FAST, Outcome
from pytorch_lightning.callbacks import Timer

from tests.training.same_run import assert_same, curves_of, state_of
from vae_lab.data import ImageDataModule
from vae_lab.training.module import VariationalModule

BATCHES = 6
QUICK = (
    *(word for word in FAST if not word.startswith(("debug", "network"))),
    "network.widths=[4]",
    "latent_dim=2",
    "trainer.max_epochs=1",
    f"trainer.limit_train_batches={BATCHES}",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
)
LONGER = ("trainer.max_epochs=2", "resume_changed=true")


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, Any]]]:
    """Records of each step: the optimizer's class, its rate and its options."""
    seen: list[tuple[str, float, dict[str, Any]]] = []
    whole = VariationalModule._optimizer_step

    def step(self: VariationalModule, dataloader_iter: Any) -> Any:
        optimizer = self.trainer.optimizers[0]
        seen.append((type(optimizer).__name__, optimizer.param_groups[0]["lr"], dict(optimizer.param_groups[0])))
        return whole(self, dataloader_iter)

    monkeypatch.setattr(VariationalModule, "_optimizer_step", step)
    return seen


@pytest.mark.parametrize(
    ("start", "asked", "expected"),
    [
        ((), ("optimizer.lr=1e-5",), {"lr": 1e-5}),
        pytest.param(
            (), ("optimizer.lr=1e-2", "optimizer.eps=1e-3"), {"lr": 1e-2, "eps": 1e-3}, marks=pytest.mark.slow
        ),
        pytest.param(
            ("scheduler=cosine",), ("optimizer.weight_decay=0.1",), {"weight_decay": 0.1}, marks=pytest.mark.slow
        ),
        pytest.param(
            ("optimizer=sgd",),
            ("optimizer.momentum=0", "optimizer.nesterov=false"),
            {"momentum": 0, "nesterov": False},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_options_of_the_optimizer_happen(
    train: Callable[..., Outcome], rates: Any, tmp_path: Path, start: Any, asked: Any, expected: dict[str, Any]
) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, *start, f"hydra.run.dir={run}").code == 0
    exp_avg = state_of(run)["optimizer_states"][0]["state"][0]
    rates.clear()
    outcome = train(f"resume={run}", *asked, *LONGER)
    assert outcome.code == 0, outcome.err
    assert "fresh state" not in outcome.out
    assert len(rates) == BATCHES
    for _, _, options in rates:
        assert {key: options[key] for key in expected} == expected
    config = yaml.safe_load((run / "config.yaml").read_text())["optimizer"]
    assert {key: config[key] for key in expected} == expected
    assert exp_avg.keys() == state_of(run)["optimizer_states"][0]["state"][0].keys()


@pytest.mark.parametrize(
    ("start", "asked"),
    [
        pytest.param(("scheduler=cosine",), ("scheduler=none",), marks=pytest.mark.slow),
        ((), ("scheduler=cosine",)),
        pytest.param(("scheduler=multistep",), ("scheduler=burda", "scheduler.stages=2"), marks=pytest.mark.slow),
        pytest.param(("scheduler=cosine",), ("scheduler=cosine", "optimizer.lr=0.1"), marks=pytest.mark.slow),
    ],
)
def test_a_schedule_on_resume_counts_from_the_step_of_the_run(
    train: Callable[..., Outcome], rates: Any, tmp_path: Path, start: Any, asked: Any
) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, *asked, "trainer.max_epochs=2", f"hydra.run.dir={tmp_path / 'planned'}").code == 0
    planned = [rate for _, rate, _ in rates][BATCHES:]
    assert train(*QUICK, *start, f"hydra.run.dir={run}").code == 0
    rates.clear()
    assert train(f"resume={run}", *asked, *LONGER).code == 0
    assert [rate for _, rate, _ in rates] == planned
    assert min(planned) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "asked", "reason"),
    [
        (("optimizer.weight_decay=0.1",), ("optimizer=sgd",), "SGD cannot go on with the state of Adam"),
        pytest.param((), ("optimizer=adamw",), "AdamW cannot go on with the state of Adam", marks=pytest.mark.slow),
        pytest.param(
            ("optimizer=rmsprop",),
            ("optimizer.momentum=0.9",),
            "the options need momentum_buffer",
            marks=pytest.mark.slow,
        ),
        pytest.param((), ("optimizer.amsgrad=true",), "the options need max_exp_avg_sq", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_keep_its_state_starts_afresh_and_says_so(
    train: Callable[..., Outcome], rates: Any, tmp_path: Path, start: Any, asked: Any, reason: str
) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, *start, f"hydra.run.dir={run}").code == 0
    outcome = train(f"resume={run}", *asked, *LONGER)
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.out.splitlines() if "fresh state" in line]
    assert reason in line
    assert state_of(run)["global_step"] == 2 * BATCHES


@pytest.mark.parametrize(
    ("start", "asked", "left_out", "kept"),
    [
        (
            ("optimizer.eps=1e-3", "optimizer.lr=1e-2"),
            "optimizer=sgd",
            "optimizer.eps=1e-3",
            {"optimizer": {"lr": 1e-2}},
        ),
        pytest.param(
            ("scheduler=cosine", "scheduler.final_lr=1e-5"),
            "scheduler=none",
            "scheduler.final_lr=1e-5",
            {},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("callbacks=early_stopping", "callbacks.early_stopping.patience=4"),
            "callbacks=default",
            "callbacks.early_st",
            {},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_an_option_chosen_anew_lacks_is_left_out_and_said(
    train: Callable[..., Outcome], tmp_path: Path, start: Any, asked: str, left_out: str, kept: dict[str, Any]
) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, *start, f"hydra.run.dir={run}").code == 0
    outcome = train(f"resume={run}", asked, *LONGER)
    assert outcome.code == 0, outcome.err
    lines = [line for line in outcome.out.splitlines() if line.endswith("of the run is left out")]
    assert len([line for line in lines if line.startswith(f"{asked}: has no ") and left_out in line]) == 1
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert not any(left_out in word for word in config["overrides"])
    for group, values in kept.items():
        assert {key: config[group][key] for key in values} == values
    assert len(lines) == 1
    assert train(f"resume={run}").code == 0


# A resume that fails.


def files_of(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def fails(*args: Any, **kwargs: Any) -> Any:
    raise OSError("the disk has gone")


@pytest.fixture
def refused(train: Callable[..., Outcome], tmp_path: Path) -> Callable[..., str]:
    """``refused("seed=1")`` resumes a run with these words, sees it fail and change nothing, and returns the line."""
    run = tmp_path / "run"
    assert train(*QUICK, f"hydra.run.dir={run}").code == 0

    def fail(*words: str) -> str:
        before = files_of(run)
        outcome = train(f"resume={run}", *words, *LONGER)
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1, outcome.err
        assert files_of(run) == before, words
        return outcome.error_lines[0]

    return fail


KEPT = [
    ("seed=1", "the first weights and the validation set"),
    ("data.val_size=100", "examples of the validation set"),
    ("data.binarization=threshold", "other data"),
    ("decoder_bias=data_mean", "first weights only"),
    ("network.initialization=he", "first weights only"),
    ("hydra.run.dir=other", "goes on in its own folder"),
    ("run_dir=other", "goes on in its own folder"),
    ("-m", "sweep.resume=FOLDER"),
]


def test_a_resume_that_is_refused_changes_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "the weights of another model (" in refused("latent_dim=3")
    for word, reason in KEPT[-2:]:
        assert reason in refused(word)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_each_resume_that_is_refused_changes_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "the weights of another model (" in refused("prior=mixture")
    assert "trainer.fast_dev_run" in refused("trainer.fast_dev_run=true")
    for word, reason in KEPT:
        line = refused(word)
        assert reason in line
        assert word.partition("=")[0] in line
    assert not (tmp_path / "other").exists()
    refused("data=array", f"data.root={tmp_path / 'nowhere'}")
    refused("optimizer.lr=-1")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(ImageDataModule, "train_dataloader", marks=pytest.mark.slow),
        pytest.param(VariationalModule, "configure_optimizers", marks=pytest.mark.slow),
        pytest.param(VariationalModule, "on_load_checkpoint", marks=pytest.mark.slow),
        pytest.param(VariationalModule, "on_train_start", marks=pytest.mark.slow),
        (VariationalModule, "_optimizer_step"),
    ],
)
def test_a_resume_that_fails_changes_nothing(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.setattr(owner, name, fails)
    assert "the disk has gone" in refused()


@pytest.mark.slow
def test_a_resume_from_a_truncated_checkpoint_changes_nothing(
    refused: Callable[..., str], train: Callable[..., Outcome], tmp_path: Path
) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[:3000])
    assert "last.ckpt" in refused()
    last.write_bytes(whole)
    assert train(f"resume={tmp_path / 'run'}", "trainer.max_epochs=2").code == 0


def test_weights_that_are_not_finite_are_refused_before_the_first_step(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert train(*FAST, "hydra.run.dir=run").code == 0
    for value in (float("inf"), float("nan")):
        saved = torch.load(last, weights_only=True)
        name = next(name for name, weight in saved["state_dict"].items() if weight.dim() == 2)
        saved["state_dict"][name][0, 0] = value
        torch.save(saved, last)
        before = files_of(tmp_path / "run")
        outcome = train("resume=run", "trainer.max_epochs=2")
        assert outcome.code == 1
        (line,) = outcome.error_lines
        assert f"{last}: {name} is not finite (NaN or infinity)" in line
        assert f"init_from={last.with_name('best.ckpt')}" in line
        assert files_of(tmp_path / "run") == before


def test_callbacks_that_forget_are_told_and_a_run_that_nothing_saves_is_refused(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    quick = (*FAST, "callbacks=early_stopping")
    assert train(*quick, "hydra.run.dir=run").code == 0
    before = files_of(tmp_path / "run")
    for word in ("callbacks=none", "callbacks.last_checkpoint=null"):
        outcome = train("resume=run", word, *LONGER)
        assert outcome.code == 1
        assert "callbacks.last_checkpoint: is left out, so that nothing would save" in outcome.error_lines[0]
        assert files_of(tmp_path / "run") == before
    stopping = ("callbacks.early_stopping.monitor=val/kl", "callbacks.early_stopping.mode=min")
    outcome = train("resume=run", "callbacks.checkpoint.monitor=train/elbo", *stopping, *LONGER)
    assert outcome.code == 0, outcome.err
    assert "ModelCheckpoint: monitors train/elbo (max) from now on; best.ckpt is replaced" in outcome.out
    assert "EarlyStopping: monitors val/kl (min) from now on; its patience" in outcome.out
    again = train("resume=run", "trainer.max_epochs=3")
    assert "from now on" not in again.out
    assert "stays as it is" in train("resume=run", "callbacks.checkpoint=null", *LONGER[1:]).out


def test_a_run_of_before_whose_latent_dim_did_nothing_goes_on(train: Callable[..., Outcome], tmp_path: Path) -> None:
    assert train(*FAST, "model=mhvae", "model.latent_dims=[4,3]", "hydra.run.dir=run").code == 0
    path = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"latent_dim": 2, "overrides": [*config["overrides"], "latent_dim=2"]}))
    outcome = train("resume=run", "trainer.max_epochs=2")
    assert outcome.code == 0, outcome.err


def test_a_run_of_before_that_monitors_the_worst_goes_on(train: Callable[..., Outcome], tmp_path: Path) -> None:
    assert train(*FAST, "callbacks=early_stopping", "hydra.run.dir=run").code == 0
    path = tmp_path / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["callbacks"]["early_stopping"]["mode"] = "min"
    word = "callbacks.early_stopping.mode=min"
    path.write_text(yaml.safe_dump(config | {"overrides": [*config["overrides"], word]}))
    outcome = train("resume=run", LONGER[0])
    assert outcome.code == 0, outcome.err
    assert train("resume=run", word, *LONGER).error_lines == [
        f"error: {word}: the largest val/elbo is the best; set callbacks.early_stopping.mode=max"
    ]


# Runs that ended early.


EARLY = ("callbacks=early_stopping", "callbacks.early_stopping.min_delta=1000", "trainer.max_epochs=6")


@pytest.mark.slow
def test_early_stopping_is_asked_again(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run, planned = tmp_path / "run", tmp_path / "planned"
    assert train(*QUICK, *EARLY, "callbacks.early_stopping.patience=1", f"hydra.run.dir={run}").code == 0
    assert state_of(run)["global_step"] == 2 * BATCHES
    same = train(f"resume={run}", "trainer.max_epochs=20")
    assert same.code == 0
    (line,) = [line for line in same.out.splitlines() if line.startswith("nothing was left to train")]
    assert "callbacks.early_stopping.patience than 1" in line

    larger = train(f"resume={run}", "callbacks.early_stopping.patience=2", "trainer.max_epochs=6", *LONGER[1:])
    assert larger.code == 0, larger.err
    assert train(*QUICK, *EARLY, "callbacks.early_stopping.patience=2", f"hydra.run.dir={planned}").code == 0
    assert_same(run, planned)
    assert state_of(run)["global_step"] == 3 * BATCHES

    without = train(f"resume={run}", "callbacks.early_stopping=null", "trainer.max_epochs=5", *LONGER[1:])
    assert without.code == 0, without.err
    assert "warning" not in without.err
    assert state_of(run)["global_step"] == 5 * BATCHES


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_early_stopping_expects_no_validation_of_an_epoch_that_is_cut_off(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(*FAST, "callbacks=early_stopping", "trainer.max_steps=2", f"hydra.run.dir={run}").code == 0
    assert (run / "metrics.json").is_file()


@pytest.mark.slow
def test_a_finished_run_says_that_nothing_is_left(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, f"hydra.run.dir={run}").code == 0
    assert "nothing was left to train: trainer.max_epochs=1 is reached" in train(f"resume={run}").out
    ended = train(f"resume={run}", "trainer.max_steps=4", "trainer.max_epochs=9")
    assert "nothing was left to train: trainer.max_steps=4 is reached" in ended.out
    before = files_of(run)
    (line,) = train(f"resume={run}", "trainer.max_epochs=0").error_lines
    assert "trainer.max_epochs=0: " in line
    assert "has finished epoch 1 already" in line
    assert files_of(run) == before


def test_the_last_of_several_runs_to_resume_counts(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    assert train(*QUICK, f"hydra.run.dir={run}").code == 0
    shutil.copytree(run, other)
    before = files_of(other)
    assert train(f"resume={other}", f"++resume={run}", "trainer.max_epochs=2").code == 0
    assert files_of(other) == before
    assert state_of(run)["global_step"] == 2 * BATCHES


# Runs that ended within an epoch.


@pytest.mark.parametrize(
    "words",
    [
        pytest.param((), id="plain"),
        pytest.param(
            ("callbacks=early_stopping", "callbacks.early_stopping.patience=2"),
            id="early stopping",
            marks=pytest.mark.slow,
        ),
        pytest.param(("trainer.accumulate_grad_batches=2",), id="accumulate", marks=pytest.mark.slow),
    ],
)
def test_max_steps_within_an_epoch_and_then_more_are_a_run_planned_that_long(
    train: Callable[..., Outcome], tmp_path: Path, words: tuple[str, ...]
) -> None:
    run, planned = tmp_path / "run", tmp_path / "planned"
    long = ("trainer.max_epochs=9", "trainer.max_steps=7")
    assert train(*QUICK, *words, *long, f"hydra.run.dir={planned}").code == 0
    start = (*QUICK, *words, "trainer.max_epochs=9", f"hydra.run.dir={run}")
    assert train(*start, "trainer.max_steps=2").code == 0
    for steps in (4, 7):
        assert train(f"resume={run}", f"trainer.max_steps={steps}").code == 0
    assert_same(run, planned)
    assert any(tag.startswith("val/") for tag in curves_of(run))


@pytest.mark.slow
def test_a_schedule_of_another_length_is_told(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, "scheduler=cosine", "trainer.max_steps=4", f"hydra.run.dir={run}").code == 0
    outcome = train(f"resume={run}", "trainer.max_steps=5")
    assert "the 4 steps so far followed that of a run of 4 steps, the rest that of 5" in outcome.out
    assert "scheduler:" not in train(f"resume={run}").out


@pytest.mark.slow
def test_max_time_within_an_epoch_and_then_more(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, rates: list[Any], tmp_path: Path
) -> None:
    run, planned = tmp_path / "run", tmp_path / "planned"
    assert train(*QUICK, "trainer.max_epochs=2", f"hydra.run.dir={planned}").code == 0
    rates.clear()
    limited = ("trainer.max_epochs=2", "trainer.max_time='00:00:01:00'", f"hydra.run.dir={run}")
    with monkeypatch.context() as patch:
        patch.setattr(Timer, "time_elapsed", lambda *_: 100.0 if len(rates) >= 2 else 0.0)
        limited_run = train(*QUICK, *limited)
    assert limited_run.code == 0
    assert state_of(run)["global_step"] == 2
    (line,) = [line for line in limited_run.out.splitlines() if line.startswith("ended within epoch 0")]
    assert "after 2 of 6 batches" in line
    over = train(f"resume={run}")
    assert "nothing was left to train: trainer.max_time is over" in over.out
    assert train(f"resume={run}", "trainer.max_time=null").code == 0
    # The same training; the curves keep the points of the validation with which the time was over.
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert state_of(run)[key] == state_of(planned)[key]
    found, expected = curves_of(run), curves_of(planned)
    assert found["train/loss"] == expected["train/loss"]
    assert found["val/elbo"][1:] == expected["val/elbo"]
    assert found["train/elbo"][1:] == expected["train/elbo"]
