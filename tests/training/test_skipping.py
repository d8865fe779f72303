from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Outcome

from tests.training.same_run import assert_same, curves_of, state_of
from tests.training.test_resume import QUICK, stopped_at
from vae_lab.training import Optimization, skipping
from vae_lab.training.optimization import refuse_scaled_gradients
from vae_lab.training.skipping import WINDOW, UnusualGradients

__all__ = ["stopped_at"]  # a fixture


def checked(unusual: UnusualGradients, norms: list[float]) -> list[int]:
    return [int(unusual.check(torch.tensor(norm))) for norm in norms]


def test_a_spike_is_skipped_and_the_next_steps_are_taken() -> None:
    unusual = UnusualGradients(20)
    assert sum(checked(unusual, [2.0] * WINDOW)) == 0
    assert checked(unusual, [39.0, 41.0, 1.0, 1000.0, 2.0]) == [0, 1, 0, 1, 0]
    assert int(unusual.skipped) == 2
    assert unusual.last.tolist() == [2.0, 40.0]


def test_it_cannot_lock() -> None:
    """The norms of openai/vdvae, issue 25: above a limit that was right before, and staying there."""
    unusual = UnusualGradients(20)
    checked(unusual, [10.0] * WINDOW)
    skipped = checked(unusual, [450.0, 420.0, 430.0] * WINDOW)
    assert skipped[:3] == [1, 1, 1]
    assert sum(skipped) <= WINDOW / 2 + 1, "half of the window later these norms are the usual ones"
    assert sum(skipped[WINDOW:]) == 0


def test_the_first_steps_are_never_skipped() -> None:
    unusual = UnusualGradients(2)
    assert sum(checked(unusual, [10.0**k for k in range(30)] + [1.0] * (WINDOW - 30))) == 0


def test_norms_that_are_not_finite_leave_the_median_as_it_is() -> None:
    unusual = UnusualGradients(20)
    checked(unusual, [1.0] * WINDOW)
    assert checked(unusual, [float("nan"), float("inf")] * WINDOW + [19.0, 21.0]) == [0] * 2 * WINDOW + [0, 1]


def test_a_resumed_run_decides_as_an_unbroken_one() -> None:
    norms = (torch.rand(400, generator=torch.Generator().manual_seed(0)) * 8).exp().tolist()
    whole, first, second = UnusualGradients(3), UnusualGradients(3), UnusualGradients(3)
    expected = checked(whole, norms)
    before = checked(first, norms[:170])
    second.restore(first.state())
    assert before + checked(second, norms[170:]) == expected
    assert 0 < sum(expected) < 300
    assert second.skipped == whole.skipped


@pytest.mark.parametrize("factor", [1, 0, -3.0])
def test_a_factor_that_skips_usual_steps_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="gradient_skip"):
        UnusualGradients(factor)


def test_a_run_skips_averages_what_it_took_and_goes_on_the_same(
    train: Callable[..., Outcome], stopped_at: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both options together: a skipped step moves neither the weights nor their average."""
    monkeypatch.setattr(skipping, "WINDOW", 3)
    words = [*QUICK, "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "average=0.9", "gradient_skip=1.02"]
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(*words, f"hydra.run.dir={reference}").code == 0
    state = state_of(reference)
    curves = curves_of(reference)
    skipped = [value for _, value in curves["train/unusual_steps"]]
    assert 0 < skipped[-1] < state["global_step"] == 14
    assert state["callbacks"]["WeightAverage"]["steps"] == state["global_step"] - skipped[-1] - 1  # the first is copied
    for (_, norm), (_, limit), before, after in zip(
        curves["train/gradient_norm"], curves["train/gradient_limit"], [0.0, *skipped], skipped, strict=False
    ):
        assert (norm > limit) == (after > before)
    stopped_at(9, signal.SIGTERM)
    assert train(*words, f"hydra.run.dir={run}").code == 143
    assert train(f"resume={run}").code == 0
    assert_same(run, reference)


def test_fp16_scales_what_would_be_judged() -> None:
    optimization = Optimization(torch.optim.Adam, gradient_skip=20)
    with pytest.raises(ValueError, match="gradient_skip=20: precision=16-mixed scales gradients"):
        refuse_scaled_gradients(optimization, torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]))
