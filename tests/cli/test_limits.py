"""Limits, intervals and precisions of the Trainer do what they say, or are refused before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FAST, Outcome
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vae_lab
from vae_lab.evaluate import main as evaluate_main
from vae_lab.sample import main as sample_main

QUIET = FAST
NORMALISED = ("data=array", "data.root=own", "network.batch_norm=true", "latent_dim=2", "data.val_size=0")

REFUSED = [
    (["trainer.limit_train_batches=0"], ["trainer.limit_train_batches=0", "trainer.max_epochs=0"]),
    (["trainer.limit_test_batches=0.00001"], ["trainer.limit_test_batches=1e-05", "500 batches"]),
    (["trainer.max_epochs=null"], ["trainer.max_epochs=null", "trainer.max_steps"]),
    (["trainer.max_epochs=-1", "scheduler=cosine"], ["scheduler", "trainer.max_epochs"]),
    (["trainer.val_check_interval=0"], ["trainer.val_check_interval=0", "1 or more"]),
    (
        ["trainer.val_check_interval=3", "trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=12"],
        ["trainer.val_check_interval=3: 3 batches", "trainer.accumulate_grad_batches=2"],
    ),
    (
        ["trainer.val_check_interval=0.25", "trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=12"],
        ["trainer.val_check_interval=0.25: 3 batches", "trainer.accumulate_grad_batches=2"],
    ),
    (
        [
            "trainer.val_check_interval=4",
            "trainer.check_val_every_n_epoch=null",
            "trainer.accumulate_grad_batches=2",
            "trainer.limit_train_batches=11",
        ],
        ["trainer.check_val_every_n_epoch=null: an epoch of 11 batches", "trainer.limit_train_batches"],
    ),
    (["trainer.val_check_interval=1000"], ["trainer.val_check_interval=1000", "3 batches"]),
    (
        ["callbacks=early_stopping", "callbacks.early_stopping.monitor=nope"],
        ["early_stopping.monitor=nope", "val/elbo"],
    ),
    (["callbacks.checkpoint.monitor=test/elbo"], ["callbacks.checkpoint.monitor=test/elbo", "use val/elbo"]),
    (["callbacks.checkpoint.monitor=val/elb"], ["callbacks.checkpoint.monitor=val/elb", "val/elbo"]),
    (["callbacks.checkpoint.monitor=train/foo"], ["callbacks.checkpoint.monitor=train/foo", "train/elbo"]),
    (["callbacks.checkpoint.monitor=train/iw_bound"], ["callbacks.checkpoint.monitor=train/iw_bound", "val/iw_bound"]),
    (["callbacks.checkpoint.monitor=foo/bar"], ["callbacks.checkpoint.monitor=foo/bar", "val/elbo"]),
    (
        ["callbacks=early_stopping", "callbacks.early_stopping.monitor=train/mmd"],
        ["early_stopping.monitor=train/mmd", "train/beta"],
    ),
    (["callbacks=early_stopping", "callbacks.early_stopping.monitor=epoch"], ["early_stopping.monitor=epoch"]),
    (
        ["callbacks=early_stopping", "callbacks.early_stopping.monitor=train/loss"],
        ["callbacks.early_stopping.mode=max: the least train/loss is the best; set callbacks.early_stopping.mode=min"],
    ),
    (
        ["callbacks.checkpoint.monitor=val/iw_bound", "callbacks.checkpoint.mode=min"],
        ["callbacks.checkpoint.mode=min: the largest val/iw_bound is the best; set callbacks.checkpoint.mode=max"],
    ),
    (
        ["+callbacks.stop={_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:val/elbo}"],
        ["callbacks.stop.mode=min: the largest val/elbo is the best; set callbacks.stop.mode=max"],
    ),
    (
        ["callbacks=early_stopping", "trainer.check_val_every_n_epoch=9"],
        ["early_stopping", "trainer.check_val_every_n_epoch=9"],
    ),
    (
        ["prior=vamp", "callbacks=early_stopping", "callbacks.early_stopping.monitor=val/units_with_kl"],
        ["early_stopping.monitor=val/units_with_kl: no such metric", "val/active_units"],
    ),
    (
        ["model=mhvae", "prior=mixture", "callbacks.checkpoint.monitor=val/units_with_kl_level_3"],
        ["checkpoint.monitor=val/units_with_kl_level_3: no such metric", "val/units_with_kl_level_2"],
    ),
    (
        ["model=mhvae", "eval_samples=1", "callbacks.checkpoint.monitor=val/active_units_level_3"],
        ["checkpoint.monitor=val/active_units_level_3: no such metric", "val/units_with_kl_level_3"],
    ),
    (["trainer.min_epochs=-3"], ["trainer.min_epochs=-3: must be 0 or more"]),
    (["trainer.min_epochs=3"], ["trainer.min_epochs=3: more than trainer.max_epochs=1"]),
    (["trainer.min_steps=9", "trainer.max_steps=4"], ["trainer.min_steps=9: more than trainer.max_steps=4"]),
    (["trainer.num_nodes=2"], ["trainer.num_nodes=2", "torchrun"]),
    (["trainer.num_nodes=0"], ["trainer.num_nodes=0: must be 1 or more"]),
    (["trainer.max_time=00:00:00:00"], ["trainer.max_time=00:00:00:00: leaves no time"]),
    (["trainer.max_time=00:00:00"], ["trainer.max_time=00:00:00: ", "such as 00:02:00:00"]),
    (["trainer.accelerator=cpu", "trainer.devices=-1"], ["trainer.devices=-1: ", "1 or more"]),
    (["trainer.accelerator=xyz"], ["trainer.accelerator=xyz: ", "use trainer.accelerator=auto, or cpu"]),
    (["trainer.barebones=true"], ["trainer.barebones=true: ", "callbacks=none"]),
    (
        ["trainer.overfit_batches=2", "trainer.limit_train_batches=5"],
        ["trainer.limit_train_batches=5: not used, because trainer.overfit_batches=2 sets it; leave it out"],
    ),
    (["trainer.overfit_batches=0.0001"], ["trainer.overfit_batches=0.0001: ", "number of batches"]),
    (["trainer.gradient_clip_algorithm=foo"], ["trainer.gradient_clip_algorithm=foo: choose norm or value"]),
    (["trainer.limit_train_batches=-1"], ["trainer.limit_train_batches=-1: "]),
    (["optimizer.lr=-1"], ["optimizer.lr=-1: must be 0 or more"]),
    (["callbacks=early_stopping", "trainer.limit_val_batches=0"], ["early_stopping", "trainer.limit_val_batches=0"]),
    (["trainer.precision=16-true"], ["trainer.precision=16-true", "64-true"]),
    (["trainer.precision=bf16-true"], ["trainer.precision=bf16-true", "bf16-mixed"]),
    (["trainer.strategy=ddp_spawn"], ["trainer.strategy", "trainer=ddp"]),
    (
        ["+callbacks.x={_target_:pytorch_lightning.callbacks.GradientAccumulationScheduler,scheduling:{0:2}}"],
        ["GradientAccumulationScheduler", "trainer.accumulate_grad_batches"],
    ),
    *(
        ([f"+callbacks.x._target_=pytorch_lightning.callbacks.{name}"], [kind, remedy])
        for name, kind, remedy in (
            ("BatchSizeFinder", "BatchSizeFinder is not supported", "set data.batch_size"),
            ("LearningRateFinder", "LearningRateFinder is not supported", "set optimizer.lr"),
            ("BackboneFinetuning", "BaseFinetuning is not supported", "init_from"),
        )
    ),
    (["network.batch_norm=true", "data.batch_size=1"], ["data.batch_size=1", "batch_norm"]),
    (["trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=7"], ["data.batch_size=7", "trainer.devices"]),
]


@pytest.mark.parametrize(("words", "named"), REFUSED, ids=lambda words: " ".join(words)[:60])
def test_refused_in_one_line_and_nothing_written(
    train: Callable[..., Outcome], tmp_path: Path, words: list[str], named: list[str]
) -> None:
    outcome = train(*QUIET, "hydra.run.dir=run", *words)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1, outcome.err
    assert all(text in outcome.error_lines[0] for text in named), outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["trainer.limit_val_batches=0", "trainer.check_val_every_n_epoch=9"])
def test_a_run_without_validation_says_that_it_keeps_no_best_weights(train: Callable[..., Outcome], word: str) -> None:
    outcome = train(*QUIET, word)
    assert outcome.code == 0, outcome.err
    assert f"{word}: nothing validates, so that no best.ckpt is written" in outcome.out
    assert "ModelCheckpoint" not in outcome.err


def test_a_trainer_without_its_accelerator_is_refused(
    train: Callable[..., Outcome], command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(*QUIET, "hydra.run.dir=run").code == 0
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for outcome in (train(*QUIET, "trainer.accelerator=gpu"), command(evaluate_main, "run=run", "trainer=gpu")):
        assert outcome.code == 1
        assert outcome.error_lines == [
            "error: trainer.accelerator=gpu: No supported gpu backend found; use trainer.accelerator=auto, or cpu"
        ]


@pytest.mark.parametrize("words", [["scheduler=cosine"], ["scheduler=burda"], ["trainer.limit_train_batches=0"]])
def test_no_epochs_at_all(train: Callable[..., Outcome], tmp_path: Path, words: list[str]) -> None:
    assert train(*QUIET, "trainer.max_epochs=0", *words, "hydra.run.dir=run").code == 0
    assert "test/elbo" in json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]


def test_without_a_test_set_the_run_ends_well_and_an_evaluation_stays(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = train(*QUIET, "trainer.limit_test_batches=0", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert "not tested, because trainer.limit_test_batches=0" in outcome.out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"] == {}
    (tmp_path / "run" / "evaluation.json").write_text("good")
    refused = command(evaluate_main, "run=run", "trainer=cpu", "trainer.limit_test_batches=0", "num_samples=2")
    assert refused.code == 1
    assert "trainer.limit_test_batches=0" in refused.error_lines[0]
    assert (tmp_path / "run" / "evaluation.json").read_text() == "good"


def own_images(folder: Path, num: int) -> None:
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (num, 1, 8, 8), np.uint8)
    np.save(folder / "train_images.npy", images)
    np.save(folder / "test_images.npy", images[:6])


def test_batch_norm_and_a_last_batch_of_one(train: Callable[..., Outcome], tmp_path: Path) -> None:
    own_images(tmp_path / "own", 21)
    words = ("trainer=cpu", "trainer.max_epochs=1", "callbacks=none", "logger=none", "data.batch_size=5", *NORMALISED)
    outcome = train(*words, "hydra.run.dir=run")
    assert outcome.code == 1
    assert "data.drop_last=true" in outcome.error_lines[0]
    assert not (tmp_path / "run").exists()
    for mended in ("data.drop_last=true", "trainer.limit_train_batches=4", "data.batch_size=6"):
        assert train(*words, mended, f"hydra.run.dir={mended.partition('=')[0]}").code == 0


def test_a_small_set_has_a_point_of_the_loss_an_epoch(train: Callable[..., Outcome], tmp_path: Path) -> None:
    own_images(tmp_path / "own", 20)
    words = ("trainer=cpu", "trainer.max_epochs=6", "data=array", "data.root=own", "latent_dim=2", "data.val_size=0")
    outcome = train(*words, "data.batch_size=5", "callbacks=none", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert "logging interval" not in outcome.err
    curves = EventAccumulator(str(tmp_path / "run"))
    curves.Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == [3, 7, 11, 15, 19, 23]


@pytest.mark.filterwarnings("ignore:.*carry the estimate")
def test_double_precision_from_training_to_samples(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    model = ("model=ladder", "network.widths=[8]", "model.features=[8,8,8]")
    assert train(*QUIET, *model, "trainer.precision=64-true", "hydra.run.dir=run").code == 0
    loaded = vae_lab.load_run(tmp_path / "run")
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float64}
    exact = [weight for weight in loaded.parameters() if not torch.equal(weight, weight.float().double())]
    assert exact, "the weights were rounded to float32"
    few = ("run=run", "trainer=cpu", "trainer.limit_test_batches=1", "batch_size=10", "num_samples=5")
    assert command(evaluate_main, *few).code == 0
    assert command(sample_main, "run=run", "what=reconstructions", "num=2").code == 0
    arrays = np.load(tmp_path / "run" / "samples" / "reconstructions_num2.npz")
    assert arrays["images"].dtype == np.float64


OTHERS = [
    ("model=mhvae", "likelihood=gaussian", "data.binarization=none", "scheduler=cosine"),
    ("likelihood=categorical", "data.binarization=none", "decoder_bias=default"),
    ("likelihood=discretized_logistic", "data.binarization=none", "prior=mixture", "objective=iwae_dreg"),
    ("model=cvae", "objective=beta_tcvae", "optimizer=sgd", "trainer.gradient_clip_val=1"),
    ("prior=vamp", "prior.num_components=5", "objective=wae_mmd", "decoder_bias=data_mean"),
    ("objective=capacity", "latent_dim=2", "data.horizontal_flip=true"),
]


@pytest.mark.slow
@pytest.mark.parametrize("words", OTHERS, ids=lambda words: words[0])
def test_every_part_computes_in_double_precision(train: Callable[..., Outcome], words: tuple[str, ...]) -> None:
    outcome = train(*QUIET, "trainer.precision=64-true", *words)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_out_of_memory_names_what_to_reduce(
    train: Callable[..., Outcome],
    command: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    assert train(*QUIET, "hydra.run.dir=run").code == 0

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vae_lab.core.model.LatentVariableModel.forward", full)
    monkeypatch.setattr("vae_lab.core.model.LatentVariableModel.importance_estimate", full)
    monkeypatch.setattr("vae_lab.pictures.requested", full)
    outcomes = {
        "data.batch_size": train(*QUIET),
        "chunk": command(evaluate_main, "run=run", "trainer=cpu", "num_samples=2"),
        "num": command(sample_main, "run=run"),
    }
    for key, outcome in outcomes.items():
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1, outcome.err
        assert "out of memory" in outcome.error_lines[0]
        assert key in outcome.error_lines[0]
        assert "Traceback" not in outcome.err


def test_weights_that_do_not_fit_into_memory_are_refused_before_they_are_written(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = []
    monkeypatch.setattr("torch.nn.init.kaiming_uniform_", lambda weight, **_: drawn.append(weight.numel()))
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000000 kB\nMemAvailable:    20000 kB\n")
    monkeypatch.setattr("vae_lab.cli.weights_memory._MEMORY", meminfo)
    outcome = train(*QUIET, "latent_dim=500000", "hydra.run.dir=run")
    assert outcome.error_lines == [
        "error: not enough memory to build the model (the weights alone take 0.0641 GB or more, 0.0205 GB are free):"
        " reduce latent_dim (now 500000) or the sizes under network, likelihood, prior and model; the data's shape"
        " (1, 28, 28) and 10 classes count as well"
    ]
    assert max(drawn) < 500000, "nothing large was drawn"
    assert not Path("run").exists()
