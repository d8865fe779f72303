"""`python -m vae_lab.explore`: what it prints, and mistakes in one line."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from werkzeug.serving import BaseWSGIServer

from tests.conftest import FAST, Outcome, trained_run
from tests.explorer.asking import Page
from vae_lab.cli.overrides import quoted_names
from vae_lab.explore import main
from vae_lab.explorer.words import condition_words
from vae_lab.pictures.classes import class_of
from vae_lab.pictures.conditions import conditions_of
from vae_lab.types import DataSpec


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("runs") / "vae", *FAST, "model=vae", "latent_dim=2", "logger=none")


@pytest.fixture(autouse=True)
def serve_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseWSGIServer, "serve_forever", lambda self, *_: self.server_close())


def test_it_prints_the_address(command: Callable[..., Outcome], run: Path) -> None:
    found = command(main, f"run={run}", "port=0", "num_examples=20")
    assert found.code == 0, found.err
    first, second = found.out.splitlines()
    assert re.fullmatch(r"open +http://127\.0\.0\.1:\d+/#token=[\w-]{32}", first)
    assert second == "for this machine alone; Ctrl-C ends it"


def test_data_that_are_gone_are_said_and_the_page_is_served(
    command: Callable[..., Outcome], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vae_lab.explorer import explored

    monkeypatch.setattr(explored, "_examples", lambda *_: (_ for _ in ()).throw(OSError("the disk is gone")))
    found = command(main, f"run={run}", "port=0")
    assert found.code == 0, found.err
    assert found.out.startswith("warning: run=")
    assert "no examples; the disk is gone" in found.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=nowhere"], "run=nowhere: no such file or folder"),
        (["run={run}", "run2=nowhere"], "run=nowhere: no such file or folder"),
        (["run={run}", "run2={run}"], "run2={run}: is run itself; name another"),
        (["run={run}", "port=70000"], "port=70000: must be from 0 to 65535"),
        (["run={run}", "num_examples=0"], "num_examples=0: must be at least 1"),
        (["run={run}", "split=tset"], "split=tset: must be one of train, val, test"),
        (["run={run}", "weights=best"], "weights=best: must be one of average, raw"),
        ([], "run: a value must be given"),
    ],
)
def test_mistakes_are_one_line(command: Callable[..., Outcome], run: Path, words: list[str], said: str) -> None:
    found = command(main, *(word.format(run=run) for word in words))
    assert found.code == 1
    assert found.error_lines == [f"error: {said.format(run=run)}"]


def test_a_port_in_use_is_one_line(command: Callable[..., Outcome], run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = command(main, f"run={run}", f"port={port}", "num_examples=20")
    assert found.code == 1
    (line,) = found.error_lines
    assert line.startswith(f"error: port={port}: cannot be used")
    assert line.endswith("port=0 takes a free one")


ODD = ("a+b", "a:b", "C++", "with space", "größe", "it's", 'say "x"', "[x]", "{x}", "null", "a,b", "${x}", "x=1", " x")


@pytest.mark.parametrize("name", ODD)
def test_a_condition_of_any_name_is_read_back_from_the_shell_as_it_was(name: str) -> None:
    classes = DataSpec((2,), 2, "real", class_names=("other", name))
    attributes = DataSpec((2,), 0, "real", attributes=(name, "plain"), numbers=(f"{name} cm", "x"))
    for spec, y in (
        (classes, torch.tensor([1])),
        (attributes, torch.tensor([[1.0, 1.0, 0.1, -3e-7]])),
        (attributes, torch.tensor([[1.0, 0.0, 1 / 3, 2e12]])),
        (replace(attributes, numbers=()), torch.tensor([[1.0, 0.0]])),
        (replace(attributes, numbers=()), torch.tensor([[0.0, 0.0]])),
    ):
        (word,) = shlex.split(" ".join(map(shlex.quote, condition_words(spec, y))))
        node = OmegaConf.create({"y": OverridesParser.create().parse_override(quoted_names(word)).value()})
        given = OmegaConf.to_container(node, resolve=True)["y"]
        if not spec.vector_condition:
            assert class_of(spec, given[0] if isinstance(given, list) else given) == 1
            continue
        (condition,) = conditions_of(spec, given)
        assert torch.equal(condition.row(), y[0])


def test_the_command_names_whole_paths(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    page = Page(Path(run.name), data_root="data")
    words = shlex.split(page.ask("samples", num=1, seed=0)["command"])
    assert f"run={run}" in words
    assert f"data_root={run.parent / 'data'}" in words
