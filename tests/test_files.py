"""Unfinished files: what a killed process leaves is deleted, what a living one writes is not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vae_lab.files import atomic_path, remove_unfinished, unfinished_folder


@pytest.fixture
def ended() -> int:
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def part(path: Path, process: int, host: str = "") -> Path:
    return path.with_name(f".{path.name}.{host or socket.gethostname()}.{process}.part")


def test_the_next_writer_deletes_what_a_killed_one_left_and_nothing_else(tmp_path: Path, ended: int) -> None:
    path, other = tmp_path / "[a] table.npz", tmp_path / "other.npz"
    left = part(path, ended)
    kept = [part(path, os.getppid()), part(path, ended, "elsewhere"), part(other, ended), tmp_path / "mine.part"]
    for each in (left, *kept):
        each.write_text("half")
    with atomic_path(path) as unfinished:
        unfinished.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, *kept])

    left.mkdir()
    (left / "column.npy").write_text("half")
    with unfinished_folder(path) as folder:
        assert not list(folder.iterdir())
        assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([path, *kept])


def test_a_run_that_goes_on_leaves_what_another_command_still_writes(tmp_path: Path, ended: int) -> None:
    living = part(tmp_path / "export", os.getppid())
    for folder in (living, part(tmp_path / "codes" / "test.npz", ended), tmp_path / ".export.1.part"):
        folder.mkdir(parents=True)
    remove_unfinished(tmp_path)
    assert list(tmp_path.rglob("*.part")) == list(tmp_path.rglob(".*.part")) == [living]
