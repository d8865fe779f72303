"""A terminal shows bars; a file, a pipe or the log of a cluster gets whole lines, and none if they are switched off."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import FAST, Outcome

from vae_lab import encode, evaluate
from vae_lab.training.callbacks import NotebookBar, Progress, progress, with_usual_progress
from vae_lab.training.callbacks.progress import ProgressLines

WORDS = (*(word for word in FAST if "progress_bar" not in word), "trainer.limit_train_batches=4")
LENGTH = ("trainer.max_epochs=2", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2")
REDRAWN = re.compile(r"\r|\x1b|\d+%\|")


def test_what_is_piped_are_lines(
    train: Callable[..., Outcome], command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    outcome = train(*WORDS, *LENGTH, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert not REDRAWN.search(outcome.out + outcome.err)
    lines = outcome.out.splitlines()
    steps = [line for line in lines if line.startswith("epoch ")]
    assert len(steps) == 8, outcome.out
    assert "left" not in steps[0], "the first step also compiles and draws: on a laptop that was 7 days of 20 minutes"
    assert re.fullmatch(r"epoch 1 of 2, step 2 of 8, train/loss \d+\.\d{3}, left \d:\d\d:\d\d", steps[1])
    assert re.match(r"epoch 2 of 2, step 5 of 8, train/loss \S+, val/elbo -\d+\.\d{3}, train/elbo -\d+\.", steps[4])
    for of in ("validation", "test"):
        found = [line for line in lines if line.startswith(f"{of}, ")]
        assert found[0] == f"{of}, batch 1 of 2"
        assert re.fullmatch(rf"{of}, batch 2 of 2, left 0:00:00", found[1])
    few = ("num_examples=4", "num_samples=1", "batch_size=2")
    for main, what, words in (
        (evaluate.main, "test, batch 1 of 2", few),
        (encode.main, "batches, batch 1 of 2", ("batch_size=5000",)),
    ):
        outcome = command(main, "run=run", "trainer=cpu", *words)
        assert outcome.code == 0, outcome.err
        assert what in outcome.out
        assert not REDRAWN.search(outcome.out + outcome.err)


def test_the_lines_of_a_sweep_name_their_job(train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    outcome = train("-m", "latent_dim=2,3", *WORDS, "trainer.max_epochs=1", "callbacks.checkpoint=null")
    assert outcome.code == 0, outcome.err
    for name in ("latent_dim=2", "latent_dim=3"):
        for line in ("epoch 1 of 1, step 1 of 4", "validation, batch 1 of", "test, batch 1 of"):
            assert f"{name}: {line}" in outcome.out
    assert not re.search("^(epoch|validation|test), ", outcome.out, re.MULTILINE)


def test_a_line_comes_every_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines, due = ProgressLines(), []
    for _ in range(100):
        now[0] += 1
        due.append(lines._is_due())
    assert [second for second, is_due in enumerate(due, 1) if is_due] == [30, 60, 90]
    lines.disable()
    now[0] += 100
    assert not lines._is_due()


@pytest.mark.parametrize("words", [("trainer.enable_progress_bar=false",), ("callbacks.progress=null",)])
def test_what_is_switched_off_is_silent(
    train: Callable[..., Outcome], command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, words: Any
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    off = () if words[0].startswith("trainer") else ("trainer.enable_progress_bar=false",)
    outcome = train(*WORDS, *words, *off, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert not re.search("^(epoch|validation|test), ", outcome.out, re.MULTILINE)
    words = ("run=run", "trainer=cpu", "num_examples=4", "num_samples=1", "trainer.enable_progress_bar=false")
    assert "batch 1 of" not in command(evaluate.main, *words).out


def test_terminals_notebooks_and_bars_of_ones_own_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    bar, own, off = Progress(refresh_rate=7), NotebookBar(), Progress(refresh_rate=0)
    (lines,) = with_usual_progress([bar])
    (alone,) = with_usual_progress([])
    assert isinstance(lines, ProgressLines)
    assert isinstance(alone, ProgressLines), "instead of Lightning's bar"
    assert with_usual_progress([own]) == [own]
    assert with_usual_progress([off]) == [off]
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    assert [with_usual_progress([each]) for each in (bar, own)] == [[bar], [own]]
    assert with_usual_progress([]) == []


def test_a_run_without_callbacks_prints_lines(train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    words = [word for word in WORDS if not word.startswith("callbacks.")]
    outcome = train(*words, "callbacks=none", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert re.search("^epoch 1 of", outcome.out, re.MULTILINE)
    assert "it/s" not in outcome.out + outcome.err
