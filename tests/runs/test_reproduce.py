"""`python -m vae_lab.reproduce` trains a run again: equal to the last bit here, else by how much and why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import FAST, Outcome, trained_run
from vae_lab.cli.repeated_words import started_with
from vae_lab.reproduce import main, show
from vae_lab.runs.reproduction import Reproduction, compared
from vae_lab.train import main as train

WORDS = (*FAST, "logger=none", "model=cvae", "latent_dim=2", "seed=3", "trainer.limit_train_batches=3")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("runs") / "run", *WORDS)


@pytest.mark.slow
def test_a_run_is_reproduced_to_the_last_bit_also_moved(
    run: Path, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "moved")
    outcome = command(main, "run=moved")
    assert outcome.code == 0, outcome.err
    assert "reproduced   to the last bit: " in outcome.out
    assert compared(run, tmp_path / "moved_again").equal
    assert not compared(run, tmp_path / "moved_again").circumstances
    assert "out=moved: exists already" in command(main, "run=moved", "out=moved").err


def altered(run: Path, folder: Path, change: Callable[[dict], None]) -> Path:
    """A copy of a run whose record is changed."""
    copy = Path(shutil.copytree(run, folder))
    record = json.loads((copy / "metrics.json").read_text())
    change(record)
    (copy / "metrics.json").write_text(json.dumps(record))
    return copy


def test_a_difference_that_changes_nothing_is_no_reason(capsys: pytest.CaptureFixture[str]) -> None:
    for different, word in ((0, "although"), (1, "why")):
        show(Reproduction({}, 3, different, 0.1, [], ["git.commit was a, is b"]), Path("again"))
        assert f"\n{word:<13}git.commit was a, is b\n" in capsys.readouterr().out


def test_what_differs_is_named(run: Path, tmp_path: Path) -> None:
    def change(record: dict) -> None:
        record["metrics"]["test/elbo"] += 0.5
        record["versions"]["torch"] = "1.0"
        record["machine"]["threads"] = 64
        del record["machine"]["cpus"]
        record["fingerprints"]["val"] = "other"

    again = altered(run, tmp_path / "again", change)
    path = again / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if name.endswith("weight"))
    checkpoint["state_dict"][name].view(-1)[0] += 0.25
    torch.save(checkpoint, path)
    found = compared(run, again)
    assert not found.equal
    assert (found.different, found.data) == (1, ["val"])
    assert found.largest == pytest.approx(0.25, rel=1e-5)
    was, now = found.metrics["test/elbo"]
    assert now - was == pytest.approx(0.5)
    assert [line.partition(" was ")[0] for line in found.circumstances] == ["machine.threads", "versions.torch"]


def test_equal_runs_are_equal(run: Path, tmp_path: Path) -> None:
    assert compared(run, altered(run, tmp_path / "again", lambda record: None)).equal


def test_a_likelihood_that_the_data_chose_is_chosen_again(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.random.default_rng(0).normal(size=(60, 3)))
    words = [word for word in FAST if not word.startswith("data.")]
    run = trained_run(tmp_path / "run", *words, "data=array", f"data.root={tmp_path}", "latent_dim=2", "logger=none")
    again = trained_run(tmp_path / "again", *started_with(run))
    assert compared(run, again).equal, "a table has a scale for each column, which likelihood=gaussian has not"


def test_words_that_new_runs_are_refused_are_repeated(
    command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = np.random.default_rng(0).integers(0, 2, (60, 4, 4)).astype(np.uint8) * 255
    for name in ("train.npy", "test.npy"):
        np.save(tmp_path / name, digits)
    words = [word for word in WORDS if not word.startswith(("data.", "model=", "latent_dim="))]
    words += ["model=mhvae", "model.latent_dims=[4,3]", "callbacks=early_stopping", f"data.root={tmp_path}"]
    of_before = ("latent_dim=2", "callbacks.early_stopping.mode=min", "data.images.test_fraction=0.3")
    trained_run(tmp_path / "run", *words, "data=array", "data.val_size=10")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    config["overrides"] += of_before
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))

    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(
        subprocess, "run", lambda words, env, **_: started.append((words, env)) or SimpleNamespace(returncode=1)
    )
    command(main, "run=run")
    ((called, env),) = started
    with pytest.MonkeyPatch.context() as patch:
        for key in env.keys() - os.environ.keys():
            patch.setenv(key, env[key])
        outcome = command(train, *called[3:])
    assert outcome.code == 0, outcome.err
    assert compared(tmp_path / "run", tmp_path / "run_again").equal
    for word in of_before:
        assert word.split("=")[0] in command(train, *words, "data=array", "data.val_size=10", word).err


def test_the_run_is_repeated_and_not_its_words(
    run: Path, command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first weights come from where they came from, and the user's own configs are found."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"overrides": [*config["overrides"], "init_from=src"], "init_from": "/far/away/src"}
    shutil.copytree(run, tmp_path / "moved")
    (tmp_path / "moved" / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "src").mkdir()
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: started.append(words) or SimpleNamespace(returncode=1))
    outcome = command(main, "run=moved", "-cd", str(tmp_path), "hydra.searchpath=[file://src]")
    assert "could not be trained again" in outcome.err
    (words,) = started
    assert [word for word in words if word.startswith("init_from")] == ["init_from='/far/away/src'"]
    assert words[-3:] == ["hydra.searchpath=[file://src]", "-cd", str(tmp_path)]
    assert not (tmp_path / "moved_again").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("run=nowhere",), "run=nowhere: no such file or folder"),
        (("run=unfinished",), "run=unfinished: not finished, because there is no metrics.json; resume=unfinished"),
        (("run=hostile",), "its record of the command line holds"),
        (("run=unfinished", "num_samples=3"), "num_samples: no such key"),
    ],
)
def test_a_mistake_ends_in_one_line(
    run: Path, command: Callable[..., Outcome], tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    shutil.copytree(run, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "metrics.json").unlink()
    hostile = tmp_path / "hostile"
    shutil.copytree(run, hostile)
    text = (hostile / "config.yaml").read_text().replace("- seed=3", "- optimizer._target_=os.system")
    (hostile / "config.yaml").write_text(text)
    outcome = command(main, *words)
    assert outcome.code == 1
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"unfinished", "hostile"}
