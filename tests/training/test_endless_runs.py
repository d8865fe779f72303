"""Runs with trainer.max_epochs=-1 end by another limit, or say that they do not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from pytorch_lightning import Trainer

from tests.conftest import BARE, Outcome
from vae_lab.training.plan import _check_length


@pytest.mark.parametrize(
    "limit", [pytest.param("trainer.max_time='00:00:00:01'", marks=pytest.mark.slow), "trainer.max_steps=4"]
)
def test_a_run_without_a_last_epoch_ends_by_its_other_limit(train: Callable[..., Outcome], limit: str) -> None:
    outcome = train(*BARE, "trainer.max_epochs=-1", limit, "logger=none")
    assert outcome.code == 0, outcome.err
    assert "trains without end" not in outcome.out


def test_a_run_without_end_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    module = SimpleNamespace(optimization=SimpleNamespace(scheduler=None))
    _check_length(Trainer(max_epochs=-1, logger=False, accelerator="cpu"), module)  # type: ignore[arg-type]
    assert "trainer.max_epochs=-1: trains without end; Ctrl-C saves and stops it" in capsys.readouterr().out
