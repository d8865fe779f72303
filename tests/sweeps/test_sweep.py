"""Sweeps survive failing jobs, can be resumed, and end in a report; no two of them share a folder."""

from __future__ import annotations

import datetime
import gc
import json
import re
import string
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import BARE, Outcome
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

import vae_lab.training
from hydra_plugins.vae_lab_sweepers import GridSweeper
from vae_lab.evaluate import main as evaluate_main
from vae_lab.runs import folder as runs
from vae_lab.runs.folder import make_unique_folder
from vae_lab.sweeps.jobs import MAX_NAME_LENGTH, folder_name
from vae_lab.train import main as train_main

Train = Callable[..., Outcome]
QUICK = BARE


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, BaseException]]:
    """Trainings that take no time: what `fit` would leave behind, or an error that a test asks for by latent_dim.

    Their reports have no charts, which take longer than all the rest.
    """
    raises: dict[int, BaseException] = {}

    def fit(trainer: Any, module: Any, data: Any, record: Any, *_: Any) -> None:
        runs.save_config(record.run, record.config)
        if error := raises.get(record.config["latent_dim"]):
            raise error
        how = {"skipped_steps": 0, "selection": "validation set", "fingerprints": {}, "step": 1}
        runs.save_metrics(record.run, {"test/elbo": -100.0}, record.seed, 1.0, **how)

    monkeypatch.setattr(vae_lab.training, "fit", fit)
    monkeypatch.setattr("vae_lab.reports.page.charts", lambda comparison: [])
    return raises


def jobs_of(folder: Path) -> dict[str, Path]:
    """The job folders of a sweep by the latent_dim in their names."""
    jobs = [path for path in folder.glob("[!.]*") if "latent_dim" in path.name]
    return {re.findall(r"latent_dim=(\d+)", path.name)[0]: path for path in jobs}


def only_sweep(root: Path) -> Path:
    (folder,) = (root / "outputs" / "sweeps").iterdir()
    return folder


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_a_sweep_goes_on_past_a_failing_job_and_is_resumed(train: Train, tmp_path: Path) -> None:
    outcome = train("-m", "latent_dim=2,0,4", *QUICK)
    assert outcome.code == 1
    assert outcome.error_lines == ["error: latent_dim=0: every level needs at least 1 dimension"]
    assert "Traceback" not in outcome.err
    sweep = only_sweep(tmp_path)
    jobs = jobs_of(sweep)
    assert {dim for dim, job in jobs.items() if (job / "metrics.json").is_file()} == {"2", "4"}
    failure = json.loads((jobs["0"] / "failure.json").read_text())
    assert failure["reason"] == "latent_dim=0: every level needs at least 1 dimension"
    assert failure["type"] == "ValueError"
    assert set(failure["overrides"]) >= {"latent_dim=0", "trainer=cpu", "debug=fast"}
    assert not (jobs["0"] / "failure.txt").exists(), "expected errors need no traceback"
    assert [re.findall(r"latent_dim=(\d) +│ (\w+) +│ (\S+)", line)[0] for line in table(outcome)] == [
        ("2", "finished", elbo(jobs["2"])),
        ("0", "failed", "latent_dim=0:"),
        ("4", "finished", elbo(jobs["4"])),
    ]
    assert "2 finished, 1 failed" in (sweep / "report.md").read_text()

    # Resumed, in another order of words: what is finished stays as it is, what is broken is repeated from scratch.
    before = stamps(jobs["2"])
    whole = elbo(jobs["4"])
    (jobs["4"] / "metrics.json").write_text('{"metrics": {"test/el')
    curves = sorted(path.name for path in jobs["4"].glob("events*"))
    assert curves
    outcome = train("-m", *QUICK, "latent_dim=2,0,4", f"sweep.resume={sweep}")
    assert outcome.code == 1, "latent_dim=0 fails again"
    assert only_sweep(tmp_path) == sweep
    assert jobs_of(sweep) == jobs
    assert "1 of 3 jobs are finished already" in outcome.out
    assert [re.findall(r"│ (skipped|finished|failed)", line)[0] for line in table(outcome)] == [
        "skipped", "failed", "finished",
    ]  # fmt: skip
    assert stamps(jobs["2"]) == before
    assert elbo(jobs["4"]) == whole
    assert len(list(jobs["4"].glob("events*"))) == len(curves), "no curve twice"
    assert not set(curves) & {path.name for path in jobs["4"].glob("events*")}


def table(outcome: Outcome) -> list[str]:
    return [line for line in outcome.out.splitlines() if "│ latent_dim=" in line]


def elbo(job: Path) -> str:
    return f"{json.loads((job / 'metrics.json').read_text())['metrics']['test/elbo']:.3f}"


def test_resuming_repeats_only_what_is_not_finished(
    train: Train, tmp_path: Path, instant: dict[int, BaseException]
) -> None:
    instant[32] = ValueError("no")
    assert train("-m", "sweep=latent_dim", *QUICK).code == 1
    sweep = only_sweep(tmp_path)
    jobs = jobs_of(sweep)
    assert set(jobs) == {"2", "8", "32"}
    (jobs["8"] / "metrics.json").unlink()
    (jobs["8"] / "notes.txt").write_text("of the user")
    before = stamps(jobs["2"]) | stamps(jobs["32"])

    # Another grid in the same folder, its values set one by one and not by the group.
    outcome = train("-m", "latent_dim=2,8,4", *QUICK, f"sweep.resume={sweep}")
    assert outcome.code == 0, "the job that failed is none of this sweep"
    assert "1 of 3 jobs are finished already" in outcome.out
    assert "another grid: 1 jobs are new, and 1 in the folder are not of this sweep" in outcome.out
    assert jobs_of(sweep).keys() == {"2", "8", "32", "4"}
    assert jobs_of(sweep).items() >= jobs.items()
    assert stamps(jobs["2"]) | stamps(jobs["32"]) == before
    assert {path.name for path in jobs["8"].iterdir()} == {"config.yaml", "metrics.json", "notes.txt"}
    assert len(table(outcome)) == 3
    assert "4 runs: 3 finished, 1 failed" in (sweep / "report.md").read_text()


def test_a_sweep_is_resumed_by_its_folder_alone(
    train: Train, tmp_path: Path, instant: dict[int, BaseException]
) -> None:
    instant[8] = ValueError("no")
    assert train("-m", "latent_dim=2,8", "seed=3", *QUICK, "hydra.sweep.dir=s").code == 1
    instant.clear()
    outcome = train("-m", "sweep.resume=s")
    assert outcome.code == 0
    assert "goes on with latent_dim=2,8 seed=3 trainer=cpu" in outcome.out
    assert "1 of 2 jobs are finished already" in outcome.out
    assert train("-m", "sweep.resume=s", "latent_dim=2,4").code == 0
    jobs = jobs_of(tmp_path / "s")
    assert jobs.keys() == {"2", "8", "4"}
    assert yaml.safe_load((jobs["4"] / "config.yaml").read_text())["seed"] == 3
    assert "goes on in its own folder" in train("-m", "sweep.resume=s", "hydra.sweep.dir=t").error_lines[0]
    assert not (tmp_path / "t").exists()

    run = jobs["4"].relative_to(tmp_path)
    before = sorted((tmp_path / run).iterdir())
    outcome = train("-m", "latent_dim=2,4", *QUICK, f"hydra.sweep.dir={run}")
    assert outcome.code == 1
    assert "holds a run; " in outcome.error_lines[0], "whose reports would count the jobs as its own"
    assert sorted((tmp_path / run).iterdir()) == before

    outcome = train("latent_dim=2", *QUICK, "hydra.run.dir=s")
    assert outcome.code == 1
    assert "s: holds a sweep; " in outcome.error_lines[0], "whose reports would count the run as a job"
    assert not (tmp_path / "s" / "config.yaml").exists()

    record = (tmp_path / "s" / "multirun.yaml").read_text()
    (tmp_path / "s" / "multirun.yaml").write_text(record.replace("latent_dim=2,4", "data._target_=os.system,a.b"))
    assert "names something to be called" in train("-m", "sweep.resume=s").error_lines[0]


@pytest.mark.parametrize("broken", ["metrics.json", "checkpoints/best.ckpt"])
def test_a_job_with_results_that_cannot_go_on_is_moved_aside(
    train: Train, tmp_path: Path, instant: dict[int, BaseException], broken: str
) -> None:
    words = ("-m", "latent_dim=2,3", *QUICK)
    assert train(*words, "hydra.sweep.dir=s").code == 0
    job = jobs_of(tmp_path / "s")["2"]
    (job / "metrics.json").unlink()
    (job / "samples").mkdir()
    (job / "samples" / "mine.txt").touch()
    (job / broken).parent.mkdir(exist_ok=True)
    (job / broken).touch()
    outcome = train(*words, "sweep.resume=s")
    assert outcome.code == 0
    assert "what was there is in" in outcome.out
    assert json.loads((job / "metrics.json").read_text())["metrics"] == {"test/elbo": -100.0}
    aside = job.with_name(f".{job.name}_broken")
    assert {path.name for path in (aside / "samples").iterdir()} == {"mine.txt"}
    assert (aside / broken).is_file()
    before = stamps(job)
    train(*words, "sweep.resume=s")
    assert stamps(job) == before, "it is finished now"


def test_an_unexpected_error_leaves_its_traceback(
    train: Train, tmp_path: Path, instant: dict[int, BaseException]
) -> None:
    instant[3] = KeyError("an unexpected key")
    outcome = train("-m", "latent_dim=3,4", *QUICK)
    assert outcome.code == 1
    assert outcome.error_lines == ["error: KeyError: 'an unexpected key'"]
    jobs = jobs_of(only_sweep(tmp_path))
    assert {dim for dim, job in jobs.items() if (job / "metrics.json").is_file()} == {"4"}
    failure = json.loads((jobs["3"] / "failure.json").read_text())
    assert (failure["type"], failure["reason"]) == ("KeyError", "KeyError: 'an unexpected key'")
    assert "raise error" in (jobs["3"] / "failure.txt").read_text()


def test_a_job_leaves_its_memory_to_the_next(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[weakref.ref[Any]] = []
    still_there = []

    def fit(trainer: Any, module: Any, *_: Any) -> None:
        still_there.append(sum(model() is not None for model in models))
        models.append(weakref.ref(module.model))
        raise KeyError("with a traceback, whose frames hold the model")

    monkeypatch.setattr(vae_lab.training, "fit", fit)
    gc.disable()
    try:
        train("-m", "latent_dim=2,3", *QUICK)
    finally:
        gc.enable()
    assert still_there == [0, 0]


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interrupt_stops_the_sweep(
    train: Train, tmp_path: Path, instant: dict[int, BaseException], stop: BaseException, code: int
) -> None:
    instant[3] = stop
    outcome = train("-m", "latent_dim=3,4", *QUICK)
    assert outcome.code == code
    assert set(jobs_of(only_sweep(tmp_path))) == {"3"}
    assert not list(tmp_path.rglob("failure.json"))


def test_a_bug_at_the_end_of_a_sweep_is_no_mere_warning(
    train: Train, instant: dict[int, BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(folder: Path) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("vae_lab.reports.page.write_report", bug)
    outcome = train("-m", "latent_dim=2", *QUICK)
    assert outcome.code == 1
    assert "TypeError: a bug" in outcome.err


def test_a_pruned_job_is_not_repeated(train: Train, tmp_path: Path, instant: dict[int, BaseException]) -> None:
    assert train("-m", "latent_dim=2", *QUICK, "hydra.sweep.dir=s").code == 0
    (job,) = jobs_of(tmp_path / "s").values()
    (job / "metrics.json").rename(job / "pruned.json")
    before = stamps(job)
    assert train("-m", "latent_dim=2", *QUICK, "sweep.resume=s").code == 0
    assert stamps(job) == before


@pytest.mark.parametrize(
    "words",
    [
        ("latent_dim=0", "hydra.run.dir=a/b"),
        ("latent_dim=0",),
        ("-m", "latent_dim=3", "search=optuna", "hydra.sweep.dir=a/b"),
        ("-m", "latent_dim=2,3", "model.nope=1"),
    ],
)
def test_what_is_refused_leaves_no_folder(train: Train, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert train(*words, *QUICK).code == 1
    assert [path.name for path in tmp_path.rglob("*")] in ([], ["outputs"], ["outputs", "sweeps"])


@pytest.mark.usefixtures("instant")
def test_a_folder_that_an_experiment_names_is_the_one(train: Train, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nhydra: {run: {dir: kept}}\n")
    words = (*QUICK, "-cd", str(tmp_path / "conf"), "experiment=mine")
    assert train(*words).code == 0
    assert "kept: holds metrics.json already" in train(*words, "resume=auto").error_lines[0]
    assert {path.name for path in tmp_path.iterdir()} == {"conf", "kept"}


@pytest.mark.parametrize("main", [evaluate_main, train_main])
def test_what_is_refused_leaves_the_users_empty_folder(
    command: Callable[..., Outcome], tmp_path: Path, main: Callable[[], None]
) -> None:
    words = ["run=nope"] if main is evaluate_main else ["latent_dim=0", "hydra.run.dir=."]
    assert command(main, *words).code == 1
    assert tmp_path.is_dir()


def test_a_launcher_gets_batches_of_the_chosen_size() -> None:
    sweeper = GridSweeper(max_batch_size=2)
    launched: list[tuple[int, Any]] = []
    replaced = {
        "launcher": SimpleNamespace(
            launch=lambda batch, initial_job_idx: launched.append((initial_job_idx, batch)) or []
        ),
        "validate_batch_is_legal": lambda batch: None,
        "_save_config": lambda: None,
    }
    vars(sweeper).update(replaced)
    sweeper._run(OverridesParser.create().parse_overrides(["a=1,2", "+b=range(3,5)", "~c", "d=[x,y]"]))
    jobs = [[f"a={a}", f"+b={b}", "~c=null", "d=[x,y]"] for a in (1, 2) for b in (3, 4)]
    assert launched == [(0, jobs[:2]), (2, jobs[2:])]


def test_the_same_job_twice_is_run_once(train: Train, tmp_path: Path, instant: dict[int, BaseException]) -> None:
    outcome = train("-m", "latent_dim=2,2", *QUICK)
    assert outcome.code == 0
    assert len(list(tmp_path.rglob("metrics.json"))) == 1


def test_a_job_never_takes_the_folder_of_another(
    train: Train, tmp_path: Path, instant: dict[int, BaseException]
) -> None:
    outcome = train("-m", "latent_dim=2,3", *QUICK, "hydra.sweep.subdir=same")
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert "holds another run" in outcome.error_lines[0]
    (job,) = tmp_path.rglob("metrics.json")
    assert yaml.safe_load((job.parent / "config.yaml").read_text())["latent_dim"] == 2

    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    outcome = train("-m", "latent_dim=2", *QUICK, f"hydra.sweep.dir={mine}", "hydra.sweep.subdir=.")
    assert outcome.code == 1
    assert "each job needs a folder of its own" in outcome.error_lines[0]
    assert (mine / "thesis.txt").read_text() == "mine"


MISTAKES = [
    (["-m", "sweep.resume=nowhere"], ["sweep.resume=nowhere", "no such folder"]),
    (["-m", "sweep.resume=empty"], ["sweep.resume=empty", "no sweep there"]),
    (["sweep.resume=empty"], ["sweep.resume=empty", "add -m"]),
    (["-m", "hydra.sweep.dir=old"], ["hydra.sweep.dir=old", "sweep.resume=old"]),
    (["-m", "sweep.resum=x"], ["sweep.resum", "did you mean sweep.resume"]),
    (["-m", "hydra.sweeper.max_batch_size=0"], ["hydra.sweeper.max_batch_size=0", "1 or more"]),
    (["-m", "optimizer.lr=interval(1e-4,1e-2)"], ["optimizer.lr=interval(1e-4,1e-2)", "search=optuna"]),
]


@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=" ".join)
def test_one_line(train: Train, tmp_path: Path, words: list[str], named: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "multirun.yaml").touch()
    outcome = train(*words, "latent_dim=2", *QUICK)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    for text in named:
        assert text in outcome.error_lines[0]
    assert not list(tmp_path.glob("outputs/*/*/*"))


def test_the_key_and_the_group_of_sweeps_are_shown(train: Train) -> None:
    shown = train("--cfg", "job", "sweep=latent_dim", "sweep.resume=old").out
    assert yaml.safe_load(shown)["sweep"] == {"resume": "old"}
    assert yaml.safe_load(train("--cfg", "hydra", "sweep=latent_dim").out)["hydra"]["sweeper"]["params"] == {
        "latent_dim": "2,8,32"
    }
    assert "resume: null" in train("--help").out


# Folders.


@given(st.text(max_size=400) | st.text(alphabet="a/ .,=-[]é'", max_size=400))
def test_names_are_safe(overrides: str) -> None:
    name = folder_name(overrides)
    assert 0 < len(name) <= MAX_NAME_LENGTH
    assert set(name) <= set(string.ascii_letters + string.digits + "_.,=+-[]")
    assert name == folder_name(overrides)
    assert name[0] not in ".-"


@given(st.lists(st.text(alphabet="a/ .,=-[]é'", max_size=300), unique=True, max_size=20))
def test_names_are_unique(several: list[str]) -> None:
    assert len({folder_name(overrides) for overrides in several}) == len(several)


def test_names_are_readable() -> None:
    assert folder_name("latent_dim=2,network.widths=[16,8],seed=0") == "latent_dim=2,network.widths=[16,8],seed=0"
    assert re.fullmatch(r"data\.root=-x-y,latent_dim=2-[0-9a-f]{8}", folder_name("data.root=/x/y,latent_dim=2"))
    assert folder_name("a=" + 300 * "b").startswith("a=" + 180 * "b")
    assert folder_name("") == "defaults"


def test_odd_words_make_folders_of_their_own(train: Train, tmp_path: Path, instant: dict[int, BaseException]) -> None:
    assert train("-m", f"name='a b',a/b,'a,b',{300 * 'x'}", *QUICK).code == 0
    assert len(list(only_sweep(tmp_path).glob("*/metrics.json"))) == 4


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        claimed = list(pool.map(make_unique_folder, [tmp_path / "runs" / "now"] * 64))
    assert len(set(claimed)) == 64
    assert {path.name for path in claimed} == {"now", *(f"now_{i}" for i in range(1, 64))}
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make_unique_folder(tmp_path / "file" / "now")


def test_two_of_the_same_second_do_not_share_a_folder(
    train: Train, tmp_path: Path, instant: dict[int, BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Stopped:
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr("hydra.core.utils.datetime", Stopped)
    for _ in range(2):
        assert train("model=vae", *QUICK).code == 0
        assert train("-m", "latent_dim=2", *QUICK).code == 0
    expected = {"2026-01-02_03-04-05", "2026-01-02_03-04-05_1"}
    assert {path.name for path in (tmp_path / "outputs" / "vae-mnist").iterdir()} == expected
    assert {path.name for path in (tmp_path / "outputs" / "sweeps").iterdir()} == expected
    assert len(list(tmp_path.rglob("metrics.json"))) == 4
    # A folder of the user's own choice is taken as it is.
    (tmp_path / "mine").mkdir()
    assert train(*QUICK, "hydra.run.dir=mine").code == 0
    assert (tmp_path / "mine" / "metrics.json").is_file()
    assert not (tmp_path / "mine_1").exists()


def test_a_path_is_taken_as_it_lies_on_the_disk(command: Callable[..., Outcome], tmp_path: Path) -> None:
    folder = tmp_path / "sweeps of mine" / "latent_dim=2,network.widths=[16]"
    folder.mkdir(parents=True)
    outcome = command(evaluate_main, f"run={folder}")
    assert outcome.code == 1
    assert outcome.error_lines == [f"error: run={folder}: no run there; a run folder holds config.yaml"]
