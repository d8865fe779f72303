"""A trial reports the curve that is logged, stops if others are better, and adds to its curve when resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FAST, Outcome
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

optuna = pytest.importorskip("optuna")

Train = Callable[..., Outcome]
TRIAL = ("search=optuna", "search.trial=0", "search.study=mine", "trainer.max_epochs=3", *FAST, "hydra.run.dir=run")


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    made = optuna.create_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'a.db'}", direction="maximize")
    made.ask()
    return made


def logged(run: Path) -> list[float]:
    events = EventAccumulator(str(run)).Reload()
    return [event.value for event in events.Scalars("val/elbo")]


def test_a_trial_reports_its_curve(train: Train, tmp_path: Path, study: optuna.Study) -> None:
    words = (*TRIAL, f"search.storage=sqlite:///{tmp_path / 'a.db'}")
    assert train(*words).code == 0
    curve = study.trials[0].intermediate_values
    assert list(curve) == [0, 1, 2]
    assert list(curve.values()) == pytest.approx(logged(tmp_path / "run"))
    # It goes on: what was reported stays, what follows is added.
    (tmp_path / "run" / "metrics.json").unlink()
    assert train(*words, "trainer.max_epochs=4", "resume=auto").code == 0
    longer = study.trials[0].intermediate_values
    assert list(longer) == [0, 1, 2, 3]
    assert {step: longer[step] for step in curve} == curve


def test_a_trial_that_the_pruner_stops_says_why(train: Train, tmp_path: Path, study: optuna.Study) -> None:
    better = optuna.trial.create_trial(value=0.0, intermediate_values={0: -1e9, 1: 0.0, 2: 0.0})
    study.add_trial(better)
    pruner = ("search.pruner.n_startup_trials=1", "search.pruner.n_warmup_steps=0")
    assert train(*TRIAL, f"search.storage=sqlite:///{tmp_path / 'a.db'}", *pruner).code == 0
    assert list(study.trials[0].intermediate_values) == [0, 1], "after the first validation it was the better one"
    reason = json.loads((tmp_path / "run" / "pruned.json").read_text())["reason"]
    assert reason.startswith("MedianPruner: val/elbo -")
    assert reason.endswith("after 2 validations")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_metric_that_nothing_logs(train: Train, tmp_path: Path, study: optuna.Study) -> None:
    outcome = train(*TRIAL, f"search.storage=sqlite:///{tmp_path / 'a.db'}", "search.metric=val/elb")
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert line.startswith("error: search.metric=val/elb: no validation logs it; there are val/active_units, val/")
