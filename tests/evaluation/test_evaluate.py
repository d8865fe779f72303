"""The evaluation of a run, as a command."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import vae_lab
from tests.conftest import FAST, Outcome
from tests.linear_gaussian import random_model
from tests.training.processes import run_forked
from vae_lab import noise
from vae_lab.evaluate import main
from vae_lab.evaluation.code_table import CodeTable
from vae_lab.evaluation.encoding import _EncodingModule
from vae_lab.evaluation.estimator import EvaluationModule, MeanAndError
from vae_lab.settings import EncodingSettings, EvaluationSettings
from vae_lab.types import Batch

QUICK = ("trainer=cpu", "trainer.limit_test_batches=3", "trainer.enable_progress_bar=false", "num_samples=20")


@pytest.fixture
def evaluate(command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """``evaluate("run=...")`` runs `python -m vae_lab.evaluate run=...`."""
    return partial(command, main)


def trained(train: Callable[..., Outcome], folder: Path, *words: str) -> Path:
    assert train(*FAST, *words, f"hydra.run.dir={folder}").code == 0
    return folder


def result_of(run: Path, name: str = "evaluation.json") -> dict[str, Any]:
    stem = name.removesuffix(".json")
    (path,) = (run / name,) if (run / name).is_file() else run.glob(f"{stem}_[0-9]*_examples.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_the_mean_has_the_standard_error_of_its_examples() -> None:
    values = torch.randn(2, 101, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metric = MeanAndError(2)
    for batch in values.split((50, 50, 1), dim=1):
        metric.update(batch)
    means, errors, number = metric.compute()
    assert number == 101
    assert means == pytest.approx(values.mean(1).tolist(), abs=1e-12)
    assert errors == pytest.approx((values.std(1) / math.sqrt(101)).tolist(), abs=1e-12)


def test_no_two_seeds_share_the_noise_of_a_batch(tmp_path: Path) -> None:
    numbers = random_model(0)
    batch, model = Batch(numbers.data(5)[0]), numbers.model("bottom_up", widen=[2.0])
    nats, codes = set(), set()
    for seed in range(3):
        evaluation = EvaluationModule(model, EvaluationSettings(num_samples=2, elbo_samples=2, seed=seed))
        encoding = _EncodingModule(model, EncodingSettings(num_samples=2, seed=seed), CodeTable(tmp_path, 0), {})
        for index in range(3):
            evaluation.marginal.reset()
            with torch.no_grad():
                evaluation.test_step(batch, index)
                codes.add(float(encoding.predict_step(batch, index)["log_prob"].sum()))
            nats.add(evaluation.marginal.compute()[0][0])
    assert len(nats) == len(codes) == 9, "seed 0 and batch 1 had the noise of seed 1 and batch 0"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_is_evaluated(train: Callable[..., Outcome], evaluate: Callable[..., Outcome], tmp_path: Path) -> None:
    run = trained(train, tmp_path / "run", "model=cvae")
    outcome = evaluate(f"run={run}", *QUICK, "all_labels=true", "batch_size=50")
    assert outcome.code == 0, outcome.err
    assert "nll" in outcome.out
    assert "±" in outcome.out
    assert "bits, of the nll" in outcome.out, "metrics.json has those of the ELBO"
    found = result_of(run)
    assert found["num_examples"] == 150
    assert found["nll_error"] > 0
    assert 1 <= found["effective_samples"] <= 20
    assert found["elbo"] == pytest.approx(found["log_likelihood"] - found["kl"])
    assert -found["nll"] >= found["elbo"] - 0.5
    assert found["bits_per_dim"] == pytest.approx(found["nll"] / (784 * math.log(2)))
    assert {"nll_unconditional", "nll_unconditional_error", "machine", "versions"} <= set(found)

    # The same numbers by hand, from Python.
    model = vae_lab.load_run(run).model
    data = vae_lab.runs.loading.find_run(run).data(batch_size=50)
    log_probs = []
    for index, batch in zip(range(3), data.test_dataloader(), strict=False):
        x = data.transform(batch, training=False).x if batch.x.dtype == torch.uint8 else batch.x
        with noise.fixed_seed(noise.seed_of_batch(0, index), torch.device("cpu")):
            log_probs.append(model.log_marginal(x, batch.y, 20))
    assert found["nll"] == pytest.approx(-float(torch.cat(log_probs).double().mean()), rel=1e-6)

    again = {}
    for words in (("chunk=7",), ("chunk=1",), ("seed=1",)):
        assert evaluate(f"run={run}", *QUICK, "batch_size=50", *words).code == 0
        again[words] = result_of(run)["nll"]
    assert again[("chunk=7",)] == pytest.approx(found["nll"], rel=1e-6)
    assert again[("chunk=1",)] == pytest.approx(found["nll"], rel=1e-6)
    assert abs(again[("seed=1",)] - found["nll"]) > 1e-4

    assert evaluate(f"run={run}", *QUICK, "split=val", "trainer.limit_test_batches=1").code == 0
    assert result_of(run, "evaluation_val.json")["num_examples"] == 100
    assert evaluate(f"run={run}", *QUICK, "split=train").code == 0
    assert result_of(run, "evaluation_train.json")["num_examples"] == 300
    assert result_of(run)["run"]["epochs"] == 1

    assert evaluate(f"run={run}", *QUICK, "num_examples=1").code == 0
    (path,) = run.glob("evaluation_1_examples*.json")
    alone = json.loads(path.read_text())
    assert alone["num_examples"] == 1
    assert "nll_error" not in alone, "NaN is not valid JSON"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mistakes_are_named_and_nothing_is_written(
    train: Callable[..., Outcome], evaluate: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = trained(train, tmp_path / "run", "model=vae")
    for words, message in (
        ((f"run={tmp_path}",), "no run there"),
        ((f"run={run}", "num_samples=0"), "num_samples=0: must be at least 1"),
        ((f"run={run}", "chunk=-3"), "chunk=-3: must be at least 1"),
        ((f"run={run}", "num_samples=many"), "num_samples=many: must be"),
        ((f"run={run}", "split=all"), "split=all: must be"),
        ((f"run={run}", "all_labels=true"), "all_labels=true: the model is unconditional"),
        ((f"run={run}", "batch_size=0"), "batch_size=0: must be"),
        ((f"run={run}", "samples=5"), "samples: no such key"),
        ((), "run: a value must be given"),
    ):
        outcome = evaluate(*QUICK, *words)
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1
        assert message in outcome.error_lines[0]
    assert not list(run.glob("evaluation*"))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_numbers_that_cannot_be_written_are_shown(
    train: Callable[..., Outcome], evaluate: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(train, tmp_path / "run", "latent_dim=2", "logger=none")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    outcome = evaluate(f"run={run}", *QUICK)
    assert outcome.code == 1
    assert "nll" in outcome.out
    assert "written to" not in outcome.out
    assert "Read-only" in outcome.error_lines[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_processes_find_what_one_finds(
    train: Callable[..., Outcome], evaluate: Callable[..., Outcome], forks: Any, tmp_path: Path
) -> None:
    run = trained(train, tmp_path / "run", "model=mhvae")
    words = (*QUICK[1:], f"run={run}", "batch_size=50")
    assert evaluate("trainer=cpu", *words).code == 0
    one = result_of(run)
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    run_forked(forks, tmp_path, 2, *two, *words, command="evaluate")
    for name in ("nll", "nll_error", "effective_samples", "elbo", "kl_level_1", "active_units", "num_examples"):
        assert result_of(run)[name] == pytest.approx(one[name], rel=1e-5), name
