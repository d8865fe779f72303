"""Numbers are shown of the weights that they were found with, and of no others."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Outcome

import vae_lab
from tests.training.test_resume import QUICK, stopped_at
from vae_lab.core import LatentVariableModel
from vae_lab.data import ArrayFiles, ImageDataModule
from vae_lab.data.arrays import Arrays
from vae_lab.data.scaling import scaling_of
from vae_lab.distributions import Gaussian
from vae_lab.evaluate import main as evaluate
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.runs.loading import find_run
from vae_lab.runs.reading import read_run
from vae_lab.types import DataSpec

__all__ = ["stopped_at"]  # a fixture


@pytest.fixture
def run(train: Callable[..., Outcome], tmp_path: Path) -> Path:
    """A run of one epoch of seven steps, with an evaluation of its best weights."""
    folder = tmp_path / "run"
    assert train(*QUICK, "trainer.max_epochs=1", "average=0.9", f"hydra.run.dir={folder}").code == 0
    return folder


def test_a_run_that_goes_on_sets_its_old_numbers_aside(
    run: Path, train: Callable[..., Outcome], command: Callable[..., Outcome], stopped_at: Any
) -> None:
    words = ("num_samples=2", "elbo_samples=2", "batch_size=1000", "trainer=cpu")
    assert command(partial(evaluate), f"run={run}", *words).code == 0
    assert "nll" in vae_lab.load_run(run).metrics
    before = json.loads((run / "metrics.json").read_text())
    assert before["step"] == json.loads((run / "evaluation.json").read_text())["step"] == 7
    stopped_at(10, signal.SIGTERM)
    assert train(f"resume={run}", "trainer.max_epochs=3").code == 143
    found = read_run(run)
    assert found is not None
    assert (found.state, found.metrics) == ("unfinished", {})
    assert json.loads((run / "metrics_step_7.json").read_text()) == before
    assert (run / "evaluation_step_7.json").is_file()
    assert train(f"resume={run}").code == 0
    metrics = vae_lab.load_run(run).metrics
    assert "nll" not in metrics
    assert metrics["elbo"] == json.loads((run / "metrics.json").read_text())["metrics"]["test/elbo"]
    assert train(f"resume={run}").code == 0  # nothing is left to train: the numbers stay
    assert not list(run.glob("*_step_21.json"))


def test_weights_that_were_not_tested_have_no_metrics(run: Path) -> None:
    assert "elbo" in vae_lab.load_run(run).metrics
    assert "test ELBO" in repr(vae_lab.load_run(run))
    for other in (vae_lab.load_run(run, weights="raw"), vae_lab.load_run(run / "checkpoints" / "last.ckpt")):
        assert other.metrics == {}
        assert "ELBO" not in repr(other)


def test_a_folder_stands_for_the_weights_that_are_tested(train: Callable[..., Outcome], tmp_path: Path) -> None:
    assert train(*QUICK, "test_checkpoint=last", f"hydra.run.dir={tmp_path}").code == 0
    assert find_run(tmp_path).checkpoint.name == "last.ckpt"
    assert "elbo" in vae_lab.load_run(tmp_path).metrics
    assert vae_lab.load_run(tmp_path / "checkpoints" / "best.ckpt").metrics == {}


def vae(scale: float) -> VAE:
    torch.manual_seed(0)
    likelihood = partial(Gaussian, scale=scale)
    return VAE(DataSpec((1, 3, 3), support="real"), 2, MlpArchitecture([4]), likelihood)


def test_weights_do_not_bring_a_fixed_scale_along() -> None:
    model, other = vae(0.1), vae(1.0)
    model.load_state_dict(other.state_dict())
    scale = model.likelihood(torch.zeros(1, 2)).base_dist.scale
    assert torch.allclose(scale, torch.tensor(0.1))
    x = torch.ones(1, 1, 3, 3)
    assert torch.equal(model.posterior.chain.links[0].net(x), other.posterior.chain.links[0].net(x))


@pytest.mark.parametrize("chunk", [1, 7, 5000])
def test_many_weights_far_from_zero_are_averaged_exactly(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    log_weights = -700_000 + torch.randn(5000, 1, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    given = iter(log_weights.split(chunk))

    class Terms:
        def __init__(self) -> None:
            self.log_weight = next(given)

    monkeypatch.setattr(LatentVariableModel, "__call__", lambda *_, **__: Terms())
    found = vae(1.0).importance_estimate(torch.zeros(1, 1, 3, 3), None, 5000, chunk)
    exact = log_weights.double().logsumexp(0) - np.log(5000)
    assert abs(float(found.log_prob) - float(exact)) < 0.05  # a step of float32 here is 0.0625


def test_places_that_are_never_known_do_not_move_the_mean() -> None:
    x = np.random.default_rng(0).normal(290, 3, (50, 1, 4, 6)).astype(np.float32)
    x[..., :3] = np.nan
    x[:20, 0, 0, 4] = np.nan
    scaling = scaling_of(Arrays(x), np.arange(50))
    assert scaling.mean[0] == pytest.approx(np.nanmean(x, dtype=np.float64), abs=1e-6)
    assert scaling.scale[0] == pytest.approx(np.nanstd(x, dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize("first", ["spec", "setup"])
def test_the_support_holds_whatever_is_read_first(tmp_path: Path, first: str) -> None:
    rng = np.random.default_rng(0)
    for name, num in (("train", 60), ("test", 20)):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (num, 1, 6, 6), np.uint8))
    data = ImageDataModule(ArrayFiles, str(tmp_path), support="real", val_size=10)
    if first == "spec":
        assert data.spec.support == "real"
    data.setup()
    assert float(next(iter(data.train_dataloader())).x.max()) > 200
    assert data.spec.scaling.mean[0] > 100
