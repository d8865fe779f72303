"""search=optuna: what is searched, what becomes of each trial, and that a stopped search resumes exactly."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import BARE, Outcome
from hydra.core.override_parser.overrides_parser import OverridesParser

import vae_lab.training
from vae_lab.errors import RunError
from vae_lab.runs import folder as runs
from vae_lab.sweeps.pruning import Pruning
from vae_lab.sweeps.search_space import search_space
from vae_lab.sweeps.study import open_storage

optuna = pytest.importorskip("optuna")

Train = Callable[..., Outcome]
QUICK = BARE
SEARCH = ("-m", "search=optuna", "latent_dim=range(2,64)", "optimizer.lr=tag(log,interval(1e-4,1e-1))", *QUICK)
HERE = ("hydra.sweep.dir=s", "search.trials=4")


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> dict[int, BaseException]:
    """Trainings that take no time: curves that are best at latent_dim=20; errors by the number of the trial."""
    raises: dict[int, BaseException] = {}

    def fit(trainer: Any, module: Any, data: Any, record: Any, *_: Any) -> None:
        runs.save_config(record.run, record.config)
        error = raises.get(record.config["search"]["trial"])
        if error and not isinstance(error, SystemExit):
            raise error
        (pruning,) = [callback for callback in trainer.callbacks if isinstance(callback, Pruning)]
        lightning = SimpleNamespace(
            sanity_checking=False,
            is_global_zero=True,
            strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
        )
        pruning.on_fit_start(lightning, module)
        for step in range(4):
            if error and step == 2:
                raise error
            metric = record.config["search"]["metric"]
            lightning.callback_metrics = {metric: value_of(record.config["latent_dim"]) - abs(step - 2)}
            pruning.on_validation_end(lightning, module)
        (record.run / "metrics.json").write_text('{"metrics": {"test/elbo": -100.0}}')

    monkeypatch.setattr(vae_lab.training, "fit", fit)
    return raises


def value_of(latent_dim: int) -> float:
    return -100.0 - abs(latent_dim - 20)


def study(folder: Path) -> Any:
    return optuna.load_study(study_name="vae_lab", storage=f"sqlite:///{folder / 'optuna.db'}")


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in study(folder).trials]


# The space.


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a=range(2,64)", "IntDistribution(high=63, log=False, low=2, step=1)"),
        ("a=range(10,0,-3)", "IntDistribution(high=10, log=False, low=1, step=3)"),
        ("a=range(0,1,0.25)", "FloatDistribution(high=0.75, log=False, low=0.0, step=0.25)"),
        ("a=tag(log,range(1,100))", "IntDistribution(high=99, log=True, low=1, step=1)"),
        ("a=interval(0,1)", "FloatDistribution(high=1.0, log=False, low=0.0, step=None)"),
        ("a=tag(log,interval(1e-4,1e-2))", "FloatDistribution(high=0.01, log=True, low=0.0001, step=None)"),
        ("a=int(interval(16,512))", "IntDistribution(high=512, log=False, low=16, step=1)"),
        ("a=tag(log,int(interval(16,512)))", "IntDistribution(high=512, log=True, low=16, step=1)"),
        ("a=vae,cvae", "CategoricalDistribution(choices=('vae', 'cvae'))"),
        ("a=[16,8],[32]", "CategoricalDistribution(choices=('[16,8]', '[32]'))"),
        ("+a=1,null", "CategoricalDistribution(choices=('1', 'null'))"),
    ],
)
def test_the_space_is_written_as_overrides(word: str, expected: str) -> None:
    ((key, distribution),) = search_space(OverridesParser.create().parse_overrides([word, "b=1"])).items()
    assert key == word.partition("=")[0]
    assert str(distribution) == expected


@pytest.mark.parametrize("word", ["a=range(3,3)", "a=interval(2,1)", "a=tag(log,interval(0,1))"])
def test_an_impossible_space_is_refused(word: str) -> None:
    with pytest.raises(RunError, match=re.escape(word)):
        search_space(OverridesParser.create().parse_overrides([word]))


# Trials.


def test_a_search_ends_with_its_best_trial(train: Train, tmp_path: Path, curves: dict[int, BaseException]) -> None:
    curves[2] = ValueError("no")
    pruner = ("search.pruner.n_startup_trials=2", "search.pruner.n_warmup_steps=0", "search.trials=5")
    outcome = train(*SEARCH, "model=vae,cvae", "hydra.sweep.dir=s", *pruner)
    assert outcome.code == 1, "one has failed"
    assert outcome.error_lines == ["error: no"]
    trials = study(tmp_path / "s").trials
    assert len(trials) == 5
    assert trials[2].state.name == "FAIL"
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED", "FAIL"}
    for trial in trials:
        (folder,) = (tmp_path / "s").glob(f"trial_{trial.number:03d},*")
        assert f"latent_dim={trial.params['latent_dim']}," in folder.name
        config = runs.yaml.safe_load((folder / "config.yaml").read_text())
        assert config["latent_dim"] == trial.params["latent_dim"]
        assert config["optimizer"]["lr"] == trial.params["optimizer.lr"]
        assert config["choices"]["model"] == trial.params["model"]
        assert (folder / "pruned.json").is_file() == (trial.state.name == "PRUNED")
        if trial.state.name == "COMPLETE":
            assert trial.value == value_of(trial.params["latent_dim"]), "the best validation, not the last"
    best = max((t for t in trials if t.state.name == "COMPLETE"), key=lambda trial: trial.value)
    line = f"best trial {best.number}: val/elbo {best.value:.3f} with latent_dim={best.params['latent_dim']}"
    report = (tmp_path / "s" / "report.md").read_text()
    for text in (outcome.out, report):
        assert line in text
        assert f"optuna-dashboard sqlite:///{tmp_path}/s/optuna.db" in text
    assert "pruned" in report
    assert "│ pruned" in outcome.out


@pytest.mark.slow
def test_pruned_trials_are_no_failure(train: Train, tmp_path: Path, curves: dict[int, BaseException]) -> None:
    pruner = ("search.pruner.n_startup_trials=1", "search.pruner.n_warmup_steps=0")
    assert train(*SEARCH, "hydra.sweep.dir=s", "search.trials=4", *pruner).code == 0
    assert set(states(tmp_path / "s")) == {"COMPLETE", "PRUNED"}
    before = states(tmp_path / "s")
    outcome = train(*SEARCH, "search.trials=5", *pruner, "sweep.resume=s")
    assert outcome.code == 0
    assert states(tmp_path / "s")[:4] == before, "what is done stays"
    assert len(states(tmp_path / "s")) == 5


@pytest.mark.slow
def test_a_stopped_search_goes_on_as_if_it_never_was(
    train: Train, tmp_path: Path, curves: dict[int, BaseException]
) -> None:
    words = (*SEARCH, "search.trials=3")
    assert train(*words, "hydra.sweep.dir=whole").code == 0
    curves[1] = SystemExit(143)
    assert train(*words, "hydra.sweep.dir=s").code == 143
    assert states(tmp_path / "s") == ["COMPLETE", "RUNNING"]
    curves.clear()
    outcome = train(*words, "sweep.resume=s")
    assert outcome.code == 0, outcome.err
    whole, resumed = study(tmp_path / "whole").trials, study(tmp_path / "s").trials
    numbers = [[(t.params, t.value, t.intermediate_values) for t in trials] for trials in (whole, resumed)]
    assert numbers[0] == numbers[1]
    assert len(list((tmp_path / "s").glob("trial_*"))) == 3


@pytest.mark.slow
def test_a_trial_in_a_shared_study_is_taken_up_where_its_sweep_was_moved_to(
    train: Train, tmp_path: Path, curves: dict[int, BaseException]
) -> None:
    shared = (*SEARCH, "search.trials=3", f"search.storage=sqlite:///{tmp_path / 'mine.db'}")
    curves[1] = SystemExit(143)
    assert train(*shared, "hydra.sweep.dir=s").code == 143
    curves.clear()
    (tmp_path / "s").rename(tmp_path / "moved")
    assert train(*shared, "hydra.sweep.dir=other").code == 0, "another sweep leaves it alone"
    storage = f"sqlite:///{tmp_path / 'mine.db'}"

    def states() -> list[str]:
        return [trial.state.name for trial in optuna.load_study(study_name="vae_lab", storage=storage).trials]

    assert states() == ["COMPLETE", "RUNNING", "COMPLETE"]
    outcome = train(*shared, "sweep.resume=moved")
    assert outcome.code == 0, outcome.err
    assert states() == ["COMPLETE"] * 3
    assert len(list((tmp_path / "moved").glob("trial_001*"))) == 1


def test_minimising_takes_the_least(train: Train, tmp_path: Path, curves: dict[int, BaseException]) -> None:
    words = ("search.trials=1", "search.metric=val/kl", "search.direction=minimize")
    assert train(*SEARCH, "hydra.sweep.dir=s", *words).code == 0
    (trial,) = study(tmp_path / "s").trials
    assert trial.value == value_of(trial.params["latent_dim"]) - 2


def test_a_journal_file_is_a_storage(train: Train, tmp_path: Path, curves: dict[int, BaseException]) -> None:
    assert train(*SEARCH, "search.trials=2", "search.storage=mine.log", "search.study=mine").code == 0
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "mine.log")))
    assert len(optuna.load_study(study_name="mine", storage=storage).trials) == 2


# Mistakes.

MISTAKES = [
    (["search.trials=0"], ["search.trials=0", "1 or more"]),
    (["search.at_once=0"], ["search.at_once=0", "1 or more"]),
    (["search.direction=up"], ["search.direction=up", "maximize"]),
    (["search.direction=minimize"], ["search.direction=minimize: the largest val/elbo is the best", "=maximize"]),
    (["search.metric=test/elbo"], ["search.metric=test/elbo", "validation", "test set"]),
    (["trainer.limit_val_batches=0"], ["search.metric=val/elbo: trainer.limit_val_batches=0 validates nothing"]),
    (["search.metric=val/elb"], ["search.metric=val/elb", "no validation logs it", "val/elbo"]),
    (["search.storage=sqlite:////nowhere/at/all.db"], ["search.storage=sqlite:////nowhere/at/all.db", "cannot be"]),
    (["search.storage=nosql://x"], ["search.storage=nosql://x", "cannot be opened"]),
    (["model=vae,cvaee"], ["model=cvaee", "did you mean cvae"]),
    (["optimizer.lr=tag(log,interval(0,1))"], ["optimizer.lr=tag(log,interval(0,1))", "low"]),
]


@pytest.mark.usefixtures("curves")
@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=lambda value: value[0])
def test_one_line(train: Train, words: list[str], named: list[str]) -> None:
    outcome = train(*SEARCH, *HERE, *words)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    for text in named:
        assert text in outcome.error_lines[0]


@pytest.mark.usefixtures("curves")
def test_nothing_to_search(train: Train) -> None:
    outcome = train("-m", "search=optuna", "latent_dim=3", *QUICK)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert "nothing to search" in outcome.error_lines[0]


@pytest.mark.slow
@pytest.mark.usefixtures("curves")
def test_a_study_is_of_one_search(train: Train) -> None:
    shared = ("search.storage=sqlite:///shared.db", "search.trials=1")
    assert train(*SEARCH, *shared).code == 0
    outcome = train(*SEARCH, *shared, "latent_dim=range(2,32)", "seed=1", "search.direction=minimize")
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert "search.study=vae_lab: is of another search" in line
    for key in ("space", "fixed", "direction"):
        assert f"{key} was " in line
    assert train(*SEARCH, *shared, "search.study=other", "seed=1").code == 0


def test_without_a_sweep_it_says_so(train: Train, tmp_path: Path) -> None:
    outcome = train("search=optuna", *QUICK)
    assert outcome.error_lines == ["error: search=optuna: searches with the jobs of a sweep; add -m"]
    assert not list(tmp_path.iterdir())


def test_without_optuna_it_says_what_to_install(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    outcome = train(*SEARCH)
    assert outcome.code == 1
    assert outcome.error_lines == ["error: search=optuna: needs optuna; pip install 'vae-lab[optuna]'"]


def test_nothing_else_waits_for_optuna() -> None:
    code = "import sys, vae_lab.train, vae_lab.sweeps.callback, vae_lab.sweeps.launchers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"optuna", "sqlalchemy", "ray", "submitit"}.isdisjoint(done.stdout.split())


# Several processes.


def test_a_new_database_is_made_by_several_at_once(tmp_path: Path) -> None:
    for number in range(2):
        name = f"sqlite:///{tmp_path / f'{number}.db'}"
        start = threading.Barrier(8)

        def opened(_: int, name: str = name, start: threading.Barrier = start) -> int:
            start.wait()
            return len(open_storage(name).get_all_studies())

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(opened, range(8))) == [0] * 8


def search(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vae_lab.train", *SEARCH, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_two_processes_work_on_one_study(tmp_path: Path) -> None:
    shared = ("search.storage=sqlite:///shared.db", "search.study=both", "search.trials=10")
    processes = [search(tmp_path, *shared, f"hydra.sweep.dir={name}") for name in ("a", "b")]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    trials = optuna.load_study(study_name="both", storage=f"sqlite:///{tmp_path / 'shared.db'}").trials
    assert 10 <= len(trials) <= 11, "the last may be asked for twice"
    assert len({str(trial.params) for trial in trials}) == len(trials)
    folders = [sorted(path.name[:9] for path in (tmp_path / name).glob("trial_*")) for name in ("a", "b")]
    assert all(folders), "both took part"
    assert sorted(folders[0] + folders[1]) == [f"trial_{number:03d}" for number in range(len(trials))]


@pytest.mark.slow
def test_a_killed_search_goes_on(train: Train, tmp_path: Path) -> None:
    words = ("search.trials=3", "trainer.max_epochs=60", "callbacks=default", "callbacks.pictures=null",
             "callbacks.projector=null", "search.pruner._target_=optuna.pruners.NopPruner",
             "~search.pruner.n_startup_trials", "~search.pruner.n_warmup_steps")  # fmt: skip
    assert train(*SEARCH, *words, "hydra.sweep.dir=undisturbed").code == 0
    process = search(tmp_path, *words, "hydra.sweep.dir=s")
    while not list((tmp_path / "s").glob("trial_001*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert states(tmp_path / "s") == ["COMPLETE", "RUNNING"]
    assert train(*SEARCH, *words, "sweep.resume=s").code == 0
    before, after = study(tmp_path / "undisturbed").trials, study(tmp_path / "s").trials
    assert [(t.params, t.intermediate_values) for t in before] == [(t.params, t.intermediate_values) for t in after]
    tests = [
        [json.loads(path.read_text())["metrics"] for path in sorted((tmp_path / name).glob("*/metrics.json"))]
        for name in ("undisturbed", "s")
    ]
    assert tests[0] == tests[1]
