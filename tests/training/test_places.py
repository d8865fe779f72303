"""A run is the same from every working directory: no path in it depends on where it was started."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import FAST, Outcome

from tests.training.same_run import assert_same
from vae_lab import evaluate, sample
from vae_lab.data.sets.published_files import locate
from vae_lab.files import absolute
from vae_lab.runs import folder as runs

WORDS = (
    *(word for word in FAST if not word.startswith("debug")),
    "data=array",
    "latent_dim=2",
    "trainer.limit_train_batches=2",
    "logger=none",
)
ONE, TWO = "trainer.max_epochs=1", "trainer.max_epochs=2"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Command = Callable[..., Outcome]


def arrays(root: Path, seed: int = 0, size: int = 4) -> Path:
    root.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        np.save(root / f"{split}_images.npy", rng.integers(0, 256, (60, size, size), np.uint8))
    return root


def config_of(run: Path) -> dict[str, object]:
    found = yaml.safe_load((run / "config.yaml").read_text())
    assert isinstance(found, dict)
    return found


def root_of(run: Path) -> str:
    data = config_of(run)["data"]
    assert isinstance(data, dict)
    return str(data["root"])


@pytest.fixture
def home(train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data, beside which others lie; the `train` fixture has gone to tmp_path before."""
    folder = tmp_path / "home"
    arrays(folder / "data")
    (tmp_path / "away").mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    monkeypatch.chdir(folder)
    return folder


WRITTEN = {
    "typed": ["data.root=../home/./data"],
    "of the home folder": ["data.root=~/data"],
    "by an interpolation": ["data.root=${oc.env:NAME}"],
    "by the environment": [],
    "by default": [],
}


@pytest.mark.parametrize("how", WRITTEN)
def test_a_run_goes_on_from_another_working_directory(
    train: Command, home: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("NAME", "data")
    if how == "by the environment":
        monkeypatch.setenv("VAE_LAB_DATA", "../home/data")
    run = home / "run"
    assert train(*WORDS, ONE, *WRITTEN[how], "hydra.run.dir=run").code == 0
    assert root_of(run) == str(home / "data")
    monkeypatch.chdir(home.parent / "away")
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    monkeypatch.delenv("NAME")
    outcome = train("resume=../home/run", TWO)
    assert outcome.code == 0, outcome.err
    assert "data.root" not in outcome.out
    assert root_of(run) == str(home / "data")


def test_it_ends_as_in_its_own_directory(
    train: Command, command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(*WORDS, TWO, "data.root=data", "hydra.run.dir=reference").code == 0
    assert train(*WORDS, ONE, "data.root=data", "hydra.run.dir=run").code == 0
    away = home.parent / "away"
    arrays(away / "data", seed=1)  # which are not those of the run
    monkeypatch.chdir(away)
    assert train(f"resume={home / 'run'}", TWO).code == 0
    assert_same(home / "run", home / "reference")
    few = (f"run={home / 'run'}", "trainer=cpu", "trainer.enable_progress_bar=false", "elbo_samples=1", "num_samples=1")
    outcome = command(evaluate.main, *few)
    assert outcome.code == 0, outcome.err
    assert json.loads((home / "run" / "evaluation.json").read_text())["data_root"] == str(home / "data")
    outcome = command(sample.main, f"run={home / 'run'}", "what=reconstructions", "num=2", "out=pictures")
    assert outcome.code == 0, outcome.err
    outcome = command(evaluate.main, *few, "data_root=data")  # that of the directory that the user is in
    assert outcome.code == 0, outcome.err
    (filed,) = (home / "run").glob("evaluation_data_*.json")
    record = json.loads(filed.read_text())
    assert (record["data_root"], record["data"]["root"], record["own_data"]) == (*[str(away / "data")] * 2, False)


def test_data_that_have_moved_are_named_on_resume(train: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(*WORDS, ONE, "data.root=data", "hydra.run.dir=run").code == 0
    before = config_of(home / "run")
    monkeypatch.chdir(home.parent / "away")
    (home / "data").rename("here")
    lost = train("resume=../home/run", TWO)
    assert lost.code == 1
    assert f"data.root={home / 'data'}: no such file or folder" in lost.error_lines[0]
    arrays(Path("larger"), size=5)
    other = train("resume=../home/run", TWO, "data.root=larger")
    assert other.code == 1
    assert "shape" in other.error_lines[0]
    assert config_of(home / "run") == before
    found = train("resume=../home/run", TWO, "data.root=here")
    assert found.code == 0, found.err
    assert f"data.root={Path('here').absolute()}: the run goes on with the data there; so far" in found.out
    assert "data changed" not in found.out
    assert root_of(home / "run") == str(Path("here").absolute())
    monkeypatch.chdir(home)
    x = np.load(home.parent / "away" / "here" / "train_images.npy")
    np.save(home.parent / "away" / "here" / "train_images.npy", x[::-1])
    same = train("resume=run", "trainer.max_epochs=3")
    assert same.code == 0, "the new place is kept"
    assert "data changed train, val: other examples than the run had so far" in same.out
    (home / "run" / "metrics.json").unlink()  # as if it had been killed
    np.save(home.parent / "away" / "here" / "train_images.npy", x)
    killed = train("resume=run", "trainer.max_epochs=4")
    assert "data changed train, val: other examples than the run had so far" in killed.out


def test_a_run_of_an_older_version_goes_on_where_it_was_started(
    train: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(*WORDS, ONE, "data.root=data", "hydra.run.dir=run").code == 0
    config = config_of(home / "run")
    assert isinstance(config["data"], dict)
    assert isinstance(config["overrides"], list)
    config["data"]["root"] = "data"
    config["overrides"] = ["data.root=data" if "data.root" in word else word for word in config["overrides"]]
    (home / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = train("resume=run", TWO)
    assert outcome.code == 0, outcome.err
    assert root_of(home / "run") == str(home / "data")
    monkeypatch.chdir(home.parent / "away")
    assert train("resume=../home/run", "trainer.max_epochs=3").code == 0, "its relative word is not typed again"


def test_embedded_data_need_no_folder(train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAE_LAB_DATA", raising=False)
    assert train(*FAST, "hydra.run.dir=run").code == 0
    assert root_of(tmp_path / "run") == str(tmp_path / "data")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    outcome = train("resume=../run", TWO)
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "data").exists()


def test_a_run_in_the_folder_of_its_data(train: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(*WORDS, ONE, "hydra.run.dir=.").code == 0
    assert root_of(home) == str(home / "data")
    monkeypatch.chdir(home.parent / "away")
    assert train("resume=../home", TWO).code == 0
    assert runs.relative_to_run({"run_dir": "/r", "data": {"root": "/r/data"}})["data"]["root"] == "/r/data"


@pytest.mark.slow
def test_a_sweep_goes_on_from_another_working_directory(
    train: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays(home / "other", seed=1)
    words = ("-m", *WORDS, ONE)
    assert train(*words, "data.root=data,other", "hydra.sweep.dir=sweep").code == 0
    jobs = sorted(path.parent for path in (home / "sweep").glob("*/config.yaml"))
    assert sorted(map(root_of, jobs)) == [str(home / "data"), str(home / "other")]
    (jobs[0] / "metrics.json").unlink()
    monkeypatch.chdir(home.parent / "away")
    outcome = train(*words, "data.root=../home/data,../home/other", "sweep.resume=../home/sweep")
    assert outcome.code == 0, outcome.err
    assert "1 of 2 jobs are finished already" in outcome.out
    assert (jobs[0] / "metrics.json").is_file()
    outcome = train(f"resume={jobs[1]}", TWO)
    assert outcome.code == 0, outcome.err
    assert sorted(map(root_of, jobs)) == [str(home / "data"), str(home / "other")]


def test_published_data_are_found_in_todays_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "now" / "set").mkdir(parents=True)
    (tmp_path / "now" / "set" / "file").touch()
    monkeypatch.setenv("VAE_LAB_DATA", str(tmp_path / "now"))
    found = locate("it", str(tmp_path / "of_another_machine"), "set", ["file"], lambda _: pytest.fail("downloads"))
    assert found == tmp_path / "now" / "set"


def test_a_path_above_a_link_is_that_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    assert absolute("link/../x") == str(tmp_path / "a" / "x")
    assert absolute("link/x") == str(tmp_path / "link" / "x"), "the link may point elsewhere later"
    assert absolute("a/../x/") == str(tmp_path / "x")
    assert absolute(str(tmp_path)) == str(tmp_path)
    assert absolute("~") == os.path.expanduser("~")
