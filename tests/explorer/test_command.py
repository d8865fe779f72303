"""`python -m vae_lab.explore`: what it prints, and mistakes in one line."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.serving import BaseWSGIServer

from tests.conftest import FAST, Outcome, trained_run
from vae_lab.explore import main


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
