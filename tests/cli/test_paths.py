"""Paths are typed as for any other program, printed commands can be pasted, and options stand anywhere."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, Outcome
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

import vae_lab
from vae_lab.cli.check import ConfigError
from vae_lab.cli.command import _ordered, _Parser
from vae_lab.cli.paths import PATHS, ROOTS, path_of, with_quoted_path
from vae_lab.evaluate import main as evaluate_main
from vae_lab.files import absolute
from vae_lab.report import main as report_main
from vae_lab.sample import main as sample_main
from vae_lab.train import main as train_main

ODD = 'ü [/b] it\'s #1 a=b,c (d) $x {y} "q" \\back'
QUIET = FAST
PATH = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(path=PATH, key=st.sampled_from(PATHS))
def test_any_path_reaches_the_config_as_it_was_typed(path: str, key: str) -> None:
    if path in ("null", "auto") or path[0] in "~'\"":  # of the shell, and of Hydra's grammar
        return
    word = with_quoted_path(f"{key}={path}")
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == (key, absolute(path) if key in ROOTS else path)
    assert with_quoted_path(word) == word, "a recorded word is typed again"


def test_home_existing_sweeps_and_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    assert with_quoted_path("data.root=~/x") == "data.root='/home/me/x'"
    both = f"data.root='{tmp_path}/a','{tmp_path}/b'"
    for sweep in ("a,b", "'a',b", "choice(a,./b)", f"{tmp_path}/a,b"):
        assert with_quoted_path(f"data.root={sweep}", multirun=True) == both
    assert with_quoted_path("resume=a,b", multirun=True) == "resume=a,b"
    (tmp_path / "a,b").mkdir()
    assert with_quoted_path("data.root=a,b", multirun=True) == f"data.root='{tmp_path}/a,b'"
    assert with_quoted_path("data_root=../x") == f"data_root='{tmp_path.parent}/x'"
    assert with_quoted_path("data.root=${oc.env:HOME}/x") == "data.root='${oc.env:HOME}/x'"
    (tmp_path / "${z}").mkdir()
    assert path_of(with_quoted_path("resume=${z}")) == "${z}"
    assert with_quoted_path('hydra.run.dir="/x/it\'s"') == "hydra.run.dir='/x/it\\'s'", "as Lightning repeats it"
    assert with_quoted_path("resume=auto") == "resume=auto"
    for key in PATHS:
        with pytest.raises(ConfigError, match=f"{key}=: is empty"):
            with_quoted_path(f"{key}=")


@pytest.mark.filterwarnings("ignore:.*carry the estimate")
def test_an_odd_path_from_training_to_samples(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    own = tmp_path / f"own {ODD.replace('/', '')}"
    own.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), np.uint8)
    for name in ("train", "test"):
        np.save(own / f"{name}_images.npy", images)
    run = f"runs/{ODD}"
    words = ("data=array", f"data.root={own}", "data.val_size=20", f"hydra.run.dir={run}")
    outcome = train(*QUIET, *words)
    assert outcome.code == 0, outcome.err
    logdir = next(line for line in outcome.out.splitlines() if "--logdir" in line)
    assert shlex.split(logdir)[-1] == str(tmp_path / run)
    assert train(f"resume={run}", "trainer.max_epochs=2").code == 0
    assert command(sample_main, f"run={run}", "num=2", f"out=out {ODD}").code == 0
    assert len(list((tmp_path / f"out {ODD}").iterdir())) == 2
    few = ("trainer=cpu", "trainer.limit_test_batches=1", "batch_size=5", "num_samples=50")
    assert command(evaluate_main, f"run={run}", f"data_root={own}", *few).code == 0


def test_a_printed_command_can_be_pasted(train: Callable[..., Outcome], tmp_path: Path) -> None:
    from vae_lab.training.callbacks.last_checkpoint import how_to_resume

    assert train(*QUIET, f"hydra.run.dir={ODD}").code == 0
    words = shlex.split(how_to_resume(tmp_path / ODD).partition("vae_lab.train ")[2])
    assert train(*words, "trainer.max_epochs=2").code == 0


def test_options_stand_anywhere() -> None:
    front = _ordered(["-m", "--config-dir", "mine", "model=vae", "latent_dim=2,3"])
    assert _ordered(["model=vae", "-m", "latent_dim=2,3", "--config-dir=mine"]) == front
    assert front == (["--multirun", "--config-dir=mine"], ["model=vae", "latent_dim=2,3"])
    with pytest.raises(ConfigError, match="--modle"):
        _ordered(["model=vae", "--modle"])


def test_the_options_are_those_of_hydra() -> None:
    """Fails when Hydra has another option; the newest Hydra may know more words of --info than the lowest."""
    from hydra._internal.utils import get_args_parser

    def options(parser: ArgumentParser) -> set[str]:
        return {name for action in parser._actions for name in action.option_strings}

    assert options(_Parser()) == options(get_args_parser())
    for word in ("--info=nonsense", "--cfg=nonsense", "-version"):
        with pytest.raises(ConfigError, match=r"nonsense|-version"):
            _ordered([word])


def test_hydra_applies_words_where_the_lab_admits_them() -> None:
    """Fails when Hydra moves the only inside of it that `vae_lab.cli` replaces."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    assert ConfigLoaderImpl._apply_overrides_to_config.admits is True  # type: ignore[attr-defined]
    (use,) = [
        line
        for path in Path(vae_lab.__file__).parent.rglob("*.py")
        for line in path.read_text().splitlines()
        if "hydra._internal" in line
    ]
    assert use == "from hydra._internal.config_loader_impl import ConfigLoaderImpl"


@pytest.mark.parametrize(
    ("main", "words", "named"),
    [
        (evaluate_main, ["run="], "run=: is empty"),
        (train_main, ["resume="], "resume=: is empty"),
        (report_main, [""], "is empty"),
        (train_main, ["model=vae", "-m", "latent_dim=range(2,2)"], "latent_dim=range(2,2): has no value"),
        (train_main, ["hydra.run.dir=file"], "hydra.run.dir=file: File exists"),
        (train_main, ["hydra.run.dir=dangling"], "hydra.run.dir=dangling: a link in it leads nowhere; name another"),
        (train_main, ["hydra.run.dir=dangling/x"], "hydra.run.dir=dangling/x: a link in it leads nowhere"),
        (train_main, ["hydra.run.dir=new/${z}"], "hydra.run.dir=new/${z}: there is no key z; choose a path without"),
        (train_main, ["data.root=new/${z}"], "data.root=new/${z}: there is no key z; choose a path without"),
        (train_main, ["name=a${z}"], "name=a${z}: there is no key z"),
        (train_main, ["resume=run/checkpoints/last.ckpt"], "last.ckpt: lies inside a run; resume=run names it"),
        (train_main, ["resume=run/checkpoints"], "resume=run/checkpoints: lies inside a run; resume=run names it"),
        (train_main, ["resume=run/config.yaml"], "resume=run/config.yaml: lies inside a run; resume=run names it"),
        (train_main, ["resume=nowhere"], "resume=nowhere: no such file or folder"),
        (evaluate_main, ["run=run/checkpoints"], "run=run/checkpoints: lies inside a run; run=run names it"),
        (evaluate_main, ["run=run/config.yaml"], "run=run/config.yaml: lies inside a run; run=run names it"),
        (train_main, ["hydra.run.dir=file/x"], "hydra.run.dir=file/x: Not a directory"),
        (train_main, ["-m", "seed=1", "hydra.sweep.dir=file"], "hydra.sweep.dir=file: File exists"),
        (train_main, ["data=array", "data.root=nowhere"], "data.root"),
        (train_main, ["--modle=vae"], "--modle=vae"),
    ],
)
def test_refused_in_one_line_and_nothing_left(
    command: Callable[..., Outcome], tmp_path: Path, main: Callable[[], None], words: list[str], named: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "checkpoints/last.ckpt"):
        (tmp_path / "run" / name).touch()
    before = {*tmp_path.rglob("*"), tmp_path / "outputs"}
    outcome = command(main, *words)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1, outcome.err
    assert named in outcome.error_lines[0]
    assert {*tmp_path.rglob("*")} <= before


@pytest.mark.parametrize(("words", "key"), [([], "hydra.run.dir"), (["-m", "seed=1,2"], "hydra.sweep.dir")])
def test_the_key_of_the_usual_folder_is_named_if_it_cannot_be_made(
    command: Callable[..., Outcome], tmp_path: Path, words: list[str], key: str
) -> None:
    (tmp_path / "outputs").touch()
    (line,) = command(train_main, *words).error_lines
    assert re.fullmatch(rf"error: {re.escape(key)}=outputs/\S+: Not a directory; name another folder", line)


@pytest.mark.parametrize("main", [train_main, evaluate_main])
def test_the_help_is_that_of_hydra(command: Callable[..., Outcome], tmp_path: Path, main: Callable[[], None]) -> None:
    (tmp_path / "empty").mkdir()
    words = ("trainer.max_epochs=7", "trainer=cpu")
    shown = command(main, "--help", *words)
    assert shown.code == 0, shown.err
    assert "max_epochs: 7" in shown.out
    assert ("network: conv" in shown.out) == (main is train_main), "evaluate takes no network"
    assert shown.out == command(main, "--help", "--config-dir=empty", *words).out  # which Hydra prints itself
