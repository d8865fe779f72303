"""`compose` gives the objects that the command would train, and leaves Hydra as it was."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from conftest import BARE, FAST, Outcome
from hydra import compose as hydra_compose
from hydra import initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime

import vae_lab
from vae_lab.cli.check import ConfigError
from vae_lab.errors import RunError
from vae_lab.fitting import compose
from vae_lab.runs.checkpoints import read_checkpoint

WORDS = ("model=cvae", "latent_dim=3", *BARE)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hydra_of_somebody_else(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "theirs.yaml").write_text("answer: 42\n")
    with initialize_config_dir(str(tmp_path), job_name="theirs", version_base="1.2"):
        HydraConfig.instance().set_config(hydra_compose("theirs", return_hydra_config=True))
        yield
    HydraConfig.instance().cfg = None


def test_the_objects_train(tmp_path: Path) -> None:
    run = vae_lab.compose(*WORDS, "trainer.max_steps=2", "hydra.run.dir=${name}/x")
    run.trainer.fit(run.module, datamodule=run.data)
    assert run.trainer.global_step == 2
    assert run.module.model.conditional
    assert run.config["run_dir"] == str(tmp_path / "cvae-mnist" / "x")
    assert run.config["choices"]["model"] == "cvae"
    assert run.config["overrides"] == [*WORDS, "trainer.max_steps=2"]


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    runs = compose(*WORDS), compose(*WORDS)
    folders = [Path(run.config["run_dir"]) for run in runs]
    assert folders[0] != folders[1]
    assert all(folder.is_dir() for folder in folders)
    del runs
    gc.collect()
    assert not any(folder.exists() for folder in folders), "nothing was written there"
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "mine" / "checkpoints" / "best.ckpt").touch()
    with pytest.raises(RunError, match="mine: holds checkpoints/best"):
        compose(*WORDS, "hydra.run.dir=mine")


def test_it_trains_the_weights_of_the_command(train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = ("model=ladder", "seed=5", *FAST, "trainer.max_epochs=1")
    run = compose(*words, "hydra.run.dir=mine")
    run.trainer.fit(run.module, datamodule=run.data)
    assert train(*words, "hydra.run.dir=theirs").code == 0
    mine, theirs = (
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in ("mine", "theirs")
    )
    assert mine.keys() == theirs.keys()
    for name, weight in mine.items():
        assert torch.equal(theirs[name], weight), name
    recorded = yaml.safe_load((tmp_path / "theirs" / "config.yaml").read_text())
    assert run.config["overrides"] == recorded["overrides"]
    assert run.config["model"] == recorded["model"]


def test_the_latent_dim_may_be_the_size_of_any_level() -> None:
    run = compose("model=mhvae", "latent_dim=4", 'model.latent_dims=["${latent_dim}",3]')
    assert run.config["model"]["latent_dims"] == [4, 3]


def test_twice_gives_the_same() -> None:
    first, second = (compose(*WORDS).module.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_hydra_is_as_it_was(hydra_of_somebody_else: None) -> None:
    def state() -> tuple[object, ...]:
        found = GlobalHydra.instance(), GlobalHydra.instance().hydra, HydraConfig.instance().cfg
        return (*map(id, found), version.getbase(), JobRuntime.instance().get("name"))

    before = state()
    compose(*WORDS)
    with pytest.raises(ConfigError):
        compose("model=vea")
    assert state() == before
    assert HydraConfig.get().job.name == "theirs"
    assert hydra_compose("theirs").answer == 42


def test_nothing_stays_if_hydra_is_not_used() -> None:
    compose(*WORDS)
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()


@pytest.mark.parametrize(
    ("words", "kind", "line"),
    [
        (["latnt_dim=4"], ConfigError, "latnt_dim: no such key; did you mean latent_dim?"),
        (["model=vea"], ConfigError, "model=vea: no such option; did you mean vae?"),
        (["latent_dim=["], ConfigError, "latent_dim=[: not of the form"),
        (["latent_dim=x"], ConfigError, "latent_dim=x: must be an integer"),
        (["model=deep", "network=conv"], RunError, "network=conv: vae_lab.models.Deep does not use it"),
        ([["model=cvae"]], ConfigError, "['model=cvae']: must be a string such as 'model=cvae'; compose(*words)"),
        (["resume=auto"], RunError, "resume=auto: only for python -m vae_lab.train"),
        (["sweep=latent_dim"], RunError, "sweep=latent_dim: gives the values of a sweep; use python -m vae_lab.train"),
        (["launcher=joblib"], RunError, "launcher=joblib: runs the jobs of a sweep; use python -m vae_lab.train -m"),
        (["search=optuna"], RunError, "search=optuna: searches with the jobs of a sweep; use python -m vae_lab.train"),
        (["sweep.resume=x"], RunError, "sweep.resume=x: resumes a sweep; use python -m vae_lab.train -m"),
        (["init_from=run"], RunError, "init_from=run: only for python -m vae_lab.train"),
    ],
)
def test_a_mistake_is_an_error_of_one_line(words: list[object], kind: type[Exception], line: str) -> None:
    with pytest.raises(kind) as caught:
        compose(*words)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_the_package_loads_neither_hydra_nor_torch() -> None:
    code = "import sys, vae_lab; print({'hydra', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
