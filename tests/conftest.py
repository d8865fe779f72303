"""Fixtures that run the real commands in this process."""

from __future__ import annotations

import os

# One thread a process, set before torch starts its own: test processes side by side would fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests import quick_hydra

quick_hydra.remember()


def pytest_collection_finish() -> None:
    """Spares the garbage collector what was imported and collected: it lives as long as this process."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Lets a run remember what is the same as in the one before, once the modules that find it are imported."""
    if "vae_lab.data.datamodule" in sys.modules:
        from tests import quick_digits

        quick_digits.remember()
    if "vae_lab.cli.check" in sys.modules:
        from tests import quick_runs

        quick_runs.remember()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Switches off what a run switches on in its process, for which hypothesis refuses to make floats."""
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
    yield
    if nextitem is None or nextitem.path != item.path:  # what is left are caches and modules, a million objects
        gc.collect()
        gc.freeze()


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """``command(main, "key=value", ...)`` runs a command of the lab in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.delenv("VAE_LAB_FULL_ERROR", raising=False)

    def run(main: Callable[[], None], *words: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["command", *words])
        full_error = os.environ["HYDRA_FULL_ERROR"]
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        finally:
            GlobalHydra.instance().clear()
            os.environ.pop("VAE_LAB_FULL_ERROR", None)
            os.environ["HYDRA_FULL_ERROR"] = full_error  # the command has set it
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def train(command: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """``train("model=cvae", ...)`` runs `python -m vae_lab.train model=cvae ...` in an empty folder."""
    from vae_lab.train import main

    return partial(command, main)


DRAWN = (
    "trainer=cpu",
    "debug=fast",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "data.batch_size=20",
    "network.widths=[16]",
)
"""A whole run with its pictures, which take most of its second or two."""

FAST = (*DRAWN, "callbacks.pictures=null", "callbacks.projector=null")
"""The same in less than half a second, without pictures."""

BARE = (*DRAWN, "callbacks=none")
"""The same without checkpoints, too."""


def trained_run(folder: Path, *words: str) -> Path:
    """Trains a run that several tests share, in this process, and returns its folder."""
    from vae_lab.train import main

    with pytest.MonkeyPatch.context() as patch:
        for key in ("HYDRA_FULL_ERROR", "VAE_LAB_FULL_ERROR"):  # the command sets them
            patch.setenv(key, "0")
        patch.setattr(sys, "argv", ["train", *words, f"hydra.run.dir={folder}"])
        main()
        GlobalHydra.instance().clear()
    return folder


@pytest.fixture(scope="session")
def forks() -> Any:
    """Context of processes that are forked from one that has imported the lab and more, which takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warm"])
    with pytest.MonkeyPatch.context() as patch:  # the server finds no other modules
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        forkserver.ensure_running()
    return context
