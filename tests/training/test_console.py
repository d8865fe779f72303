"""Tests the lines of a run on the screen, its bar, and its row in HPARAMS of TensorBoard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.hparams.backend_context import _sort_and_reduce_to_hparams_limit

from tests.conftest import FAST, Outcome
from vae_lab import compose, load_run
from vae_lab.distributions import Bernoulli
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.training.callbacks import Progress
from vae_lab.training.description import _readable, activation_bytes, description
from vae_lab.types import DataSpec

LENGTH = ("trainer.limit_train_batches=3", "latent_dim=2", "model=vae")


def test_a_conditional_model_is_called_that(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train(*FAST, "model=cvae", f"hydra.run.dir={tmp_path / 'run'}")
    assert "\nmodel        conditional VAE, " in outcome.out
    assert repr(load_run(tmp_path / "run")).startswith("Run(conditional VAE on mnist (")


def test_the_start_and_the_end_of_a_run(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train(*FAST, *LENGTH, "objective=factor_vae", f"hydra.run.dir={tmp_path / 'run'}")
    start = outcome.out.splitlines()
    assert start[0] == f"run folder   {tmp_path / 'run'}"
    assert re.fullmatch(r"device       cpu, \d+ threads?, precision 32-true", start[1])
    assert re.fullmatch(r"model        VAE, 26,\d\d\d parameters; a step keeps about .* per example", start[2])
    assert re.fullmatch(r"objective    [\d,]+ parameters of its own, trained with those of the model", start[3])
    assert start[4].startswith("data         mnist")
    assert start[6:8] == [
        "writes       config.yaml, metrics.json, checkpoints (best by val/elbo, last)",
        "curves       TensorBoard (with settings and result)",
    ]
    rows = [re.split(r" *│ *", line)[1] for line in start if line.startswith("│")]
    assert rows[:3] == ["elbo", "log_likelihood", "kl"]


@pytest.mark.parametrize(
    ("words", "written", "curves"),
    [
        (("callbacks=none", "logger=none"), "no checkpoints: it cannot be resumed or opened", "none, because"),
        (("logger=csv", *FAST, "callbacks.checkpoint=null"), "checkpoints (last)", "metrics.csv"),
        (
            ("logger=many", "callbacks=default", "callbacks.pictures.early_steps=false"),
            "pictures in figures/ (every 5 epochs, at the end), checkpoints (best by val/elbo, last)",
            "TensorBoard (with settings and result), metrics.csv",
        ),
    ],
)
def test_what_will_be_written_is_said(words: tuple[str, ...], written: str, curves: str) -> None:
    run = compose(*words)
    shown = description(run.trainer, run.module, run.data, Path("here"), selects=True).splitlines()
    assert shown[-2] == f"writes       config.yaml, metrics.json, {written}"
    assert shown[-1].startswith(f"curves       {curves}")


@pytest.mark.parametrize(
    ("words", "is_long"),
    [
        (("experiment=deep_mnist_gpu",), True),
        (("experiment=deep_mnist_gpu", "trainer.max_steps=100"), False),
        (("experiment=deep_mnist_gpu", "trainer.limit_train_batches=1"), False),
        (("experiment=deep_mnist_gpu", "trainer.max_epochs=-1", "scheduler=none"), False),
        (("experiment=deep_mnist_gpu", 'trainer.max_time="00:00:05:00"'), False),
        (("model=cvae",), False),
    ],
    ids=str,
)
def test_a_long_run_for_a_cpu_says_so(words: tuple[str, ...], is_long: bool, tmp_path: Path) -> None:
    found = compose(*words, "trainer.accelerator=cpu", "logger=none", f"hydra.run.dir={tmp_path}")
    data, module, trainer = found.data, found.module, found.trainer
    data.prepare_data()
    data.setup("fit")
    (line,) = [line for line in description(trainer, module, data, tmp_path, False).splitlines() if "device " in line]
    assert line.endswith("; a long run for a CPU, faster on a GPU: the first steps show the time left") == is_long


def test_what_a_pass_keeps_is_counted() -> None:
    widths = [50, 30]
    model = VAE(DataSpec((1, 4, 5), support="binary"), 3, MlpArchitecture(widths), Bernoulli)
    before = torch.get_rng_state()
    found = activation_bytes(model, 1)
    assert torch.equal(torch.get_rng_state(), before)
    # At least the hidden activations of encoder and decoder and the data, in four bytes; at most some copies of them.
    least = 4 * (2 * sum(widths) + 20)
    assert least <= found <= 4 * least
    assert activation_bytes(model, 2) > found
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("size", "shown"), [(1.3e4, "13 kB"), (1.64e6, "1.6 MB"), (2.44e9, "2.4 GB"), (5e10, "50 GB")])
def test_bytes_are_readable(size: float, shown: str) -> None:
    assert _readable(size) == shown


def test_the_bar_shows_the_time_left_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ten(Trainer):
        global_step = 10
        estimated_stepping_batches = 100

    now = [50.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    bar, trainer = Progress(), Ten(logger=False, enable_checkpointing=False, enable_model_summary=False)
    bar._started = (0, now[0])
    now[0] += 20
    assert bar.get_metrics(trainer, None)["left"] == "0:03:00"  # 90 steps of 2 s
    trainer.estimated_stepping_batches = float("inf")
    assert "left" not in bar.get_metrics(trainer, None)


def hparams(run: Path) -> tuple[list[str], list[str], dict[str, float]]:
    """Settings in the order in which TensorBoard shows them, titles of metrics in theirs, and the values of these."""
    events = EventAccumulator(str(run)).Reload()
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    _sort_and_reduce_to_hparams_limit(experiment)
    metrics = experiment.metric_infos
    values = {metric.display_name: events.Scalars(metric.name.tag)[-1].value for metric in metrics}
    return [info.name for info in experiment.hparam_infos], [metric.display_name for metric in metrics], values


@pytest.mark.slow
def test_what_is_swept_comes_first_and_names_the_folders(train: Callable[..., Outcome], tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    words = (*FAST, "trainer.limit_train_batches=1", "latent_dim=2,3")
    outcome = train("-m", *words, "seed=0", "data.drop_last=false", f"hydra.sweep.dir={sweep}")
    assert outcome.code == 0, outcome.err
    jobs = {path.parent.name: path.parent for path in sweep.glob("*/config.yaml")}
    assert set(jobs) == {"latent_dim=2", "latent_dim=3"}
    settings, metrics, values = hparams(jobs["latent_dim=2"])
    assert settings[0] == "latent_dim"
    assert "data.drop_last" not in settings  # all jobs share it
    assert metrics[0] == "test/elbo"
    recorded = json.loads((jobs["latent_dim=2"] / "metrics.json").read_text())["metrics"]
    assert values == pytest.approx(recorded)
    larger = train("-m", *words, "seed=0,1", "data.drop_last=false", f"sweep.resume={sweep}")
    assert "2 of 4 jobs are finished already" in larger.out
    names = {path.parent.name for path in sweep.glob("*/config.yaml")}
    assert names == {*jobs, "latent_dim=2,seed=1", "latent_dim=3,seed=1"}
