"""One process at a time writes to a run or a sweep; a lock dies with the process that holds it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import FAST, Outcome

from vae_lab.errors import RunError
from vae_lab.runs.locks import NAME, RANKS, check_free, locked

HOLD = "import sys, time; from pathlib import Path; from vae_lab.runs.locks import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(100)"


@pytest.fixture
def hold() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """``hold(folder)`` starts a process that holds a folder."""
    started = []

    def start(folder: Path) -> subprocess.Popen[str]:
        folder.mkdir(exist_ok=True)
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def named(process: subprocess.Popen[str]) -> str:
    return rf"process {process.pid} on {re.escape(socket.gethostname())} \(since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\)"


def test_the_second_is_told_who_holds_it_until_that_one_dies(
    tmp_path: Path, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    process = hold(tmp_path)
    for attempt in (lambda: locked(tmp_path).__enter__(), lambda: check_free(tmp_path)):
        with pytest.raises(RunError, match=named(process)):
            attempt()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    check_free(tmp_path)
    with locked(tmp_path):
        assert (tmp_path / NAME).is_file()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [(), ("resume=auto",), ("resume",)])
def test_a_run_that_is_being_trained_is_refused(
    train: Callable[..., Outcome], tmp_path: Path, hold: Callable[[Path], subprocess.Popen[str]], words: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("overrides: [model=vae]\n")
    process = hold(run)
    before = {path: path.read_bytes() for path in run.iterdir()}
    again = (f"resume={run}",) if words == ("resume",) else (*FAST, f"hydra.run.dir={run}", *words)
    outcome = train(*again)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert re.search(f"{run}: {named(process)}", outcome.error_lines[0])
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_a_sweep_that_runs_is_not_resumed(
    train: Callable[..., Outcome], tmp_path: Path, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "multirun.yaml").write_text("")
    process = hold(sweep)
    outcome = train("-m", *FAST, "latent_dim=2,3", f"sweep.resume={sweep}")
    assert outcome.code == 1
    assert re.search(f"{sweep}: {named(process)}", outcome.error_lines[0])
    assert sorted(path.name for path in sweep.iterdir()) == [NAME, "multirun.yaml"]


def test_a_job_that_another_process_trains_is_left_alone(
    train: Callable[..., Outcome], tmp_path: Path, hold: Callable[[Path], subprocess.Popen[str]]
) -> None:
    sweep, job = tmp_path / "sweep", tmp_path / "sweep" / "latent_dim=2"
    job.mkdir(parents=True)
    (job / "config.yaml").write_text("model: {}\ndata: {}\noverrides: [latent_dim=2]\n")
    process = hold(job)
    outcome = train("-m", "latent_dim=2", f"hydra.sweep.dir={sweep}")
    assert outcome.code == 1
    assert re.search(named(process), outcome.error_lines[0])
    assert sorted(path.name for path in job.iterdir()) == [NAME, "config.yaml"]


@pytest.mark.parametrize("rank", RANKS)
def test_only_the_first_process_of_a_run_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str) -> None:
    with locked(tmp_path):
        monkeypatch.setenv(rank, "1")
        with locked(tmp_path):
            pass
        monkeypatch.setenv(rank, "0")
        with pytest.raises(RunError, match=f"process {os.getpid()} on"):
            locked(tmp_path).__enter__()


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*args: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="cannot be locked"), locked(tmp_path):
        pass


def test_what_cannot_be_a_lock_is_named(tmp_path: Path) -> None:
    path = tmp_path / NAME
    for make, remove in ((path.mkdir, path.rmdir), (lambda: path.symlink_to(tmp_path / "x"), path.unlink)):
        make()
        with pytest.raises(RunError, match=f"{NAME}: a folder or a link, which cannot lock .*; remove it"):
            locked(tmp_path).__enter__()
        remove()
    assert list(tmp_path.iterdir()) == []
