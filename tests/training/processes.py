"""The command in processes of its own, as Lightning and torchrun start further ones like it."""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.training.same_run import curves_of

SIZES = (
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=6",
    "trainer.limit_val_batches=4",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "data.batch_size=84",
    "data.val_size=290",  # the last validation batch is short and cannot be halved or cut in three
    "data.horizontal_flip=true",
    "network.widths=[32]",
    "callbacks=none",
)
PYTHON = (sys.executable, "-m")


def start(folder: Path, *words: str, by: tuple[str, ...] = PYTHON, **environment: str) -> subprocess.Popen[str]:
    """Trains in this folder, with the words of the command, what runs it, and further variables of its environment."""
    command = (*by, "vae_lab.train", *words, f"hydra.run.dir={folder}")
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, cwd=folder.parent, env=os.environ | environment
    )


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Curves and metrics of a whole run."""
    process = start(folder, *words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return outcome(folder)


def outcome(folder: Path) -> dict[str, Any]:
    """Curves, by tag, and metrics of a run."""
    curves = {tag: [value for _, value in points] for tag, points in curves_of(folder).items()}
    return {"curves": curves, "metrics": json.loads((folder / "metrics.json").read_text())["metrics"]}


def step_of(folder: Path) -> int:
    """Optimizer steps that the last checkpoint has behind it."""
    last = folder / "checkpoints" / "last.ckpt"
    return int(torch.load(last, weights_only=True)["global_step"]) if last.is_file() else 0


def other_process(process: subprocess.Popen[str]) -> int:
    """The second process of a run."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[-1:]
    return int(child)


def stopped_after(folder: Path, step: int, *words: str) -> None:
    """SIGTERM to the second process of two, as `end_after`: both save, and the first says how to go on."""
    code, out, errors = end_after(folder, step, signal.SIGTERM, *words)
    assert code == 128 + signal.SIGTERM, errors
    assert f"resume={folder}" in out


def end_after(folder: Path, step: int, number: signal.Signals, *words: str) -> tuple[int, str, str]:
    """Sends a signal to the second process of two once a checkpoint is beyond a step; what became of the first."""
    process = start(folder, *words)
    while step_of(folder) <= step and process.poll() is None:
        time.sleep(0.01)
    os.kill(other_process(process), number)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def run_forked(forks: Any, folder: Path, number: int, *words: str, command: str = "train") -> None:
    """Runs a command in processes of one run, started as torchrun starts them, but as forks: none imports anything.

    Args:
        forks: the fixture of that name.
        folder: working directory of the processes, and where their output goes.
        number: number of processes.
        words: words of the command.
        command: the module of the command.
    """
    shared = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "forks"}
    shared |= {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port()}
    started = []
    for rank in range(number):
        environment = {key: str(value) for key, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
        started.append(forks.Process(target=_command, args=(folder, command, words, environment)))
        started[-1].start()
    for process in started:
        process.join(300)
    errors = [(folder / f"process_{rank}.txt").read_text() for rank in range(number)]
    assert [process.exitcode for process in started] == [0] * number, errors


def _command(folder: Path, command: str, words: tuple[str, ...], environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ |= environment
    sys.stdout = sys.stderr = open(f"process_{environment['RANK']}.txt", "w", buffering=1)  # noqa: SIM115
    sys.argv = [command, *words]
    importlib.import_module(f"vae_lab.{command}").main()
    atexit._run_exitfuncs()  # a process of multiprocessing ends without them, and so would the group of processes
