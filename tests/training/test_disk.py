"""A disk that is full or read-only, and curves that cannot be written: one line, and nothing is lost."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAST, Outcome, trained_run
from tensorboard.summary.writer.record_writer import RecordWriter

from tests.training.same_run import assert_same

SHORT = (
    *(word for word in FAST if not word.startswith("debug")),
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=6",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
)


def failing(operation: Callable[..., Any], after: int, code: int, concerned: Callable[..., bool]) -> Callable[..., Any]:
    """The operation, which fails for good after it has succeeded a number of times."""
    done = 0

    def instead(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        if concerned(*args):
            done += 1
            if done > after:
                raise OSError(code, os.strerror(code))
        return operation(*args, **kwargs)

    return instead


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    return trained_run(tmp_path_factory.mktemp("reference"), *SHORT)


def assert_one_line(outcome: Outcome, run: Path, reason: str) -> None:
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    (line,) = outcome.error_lines
    assert reason in line
    last = run / "checkpoints" / "last.ckpt"
    if last.exists():
        torch.load(last, weights_only=True)
        assert f"the last good checkpoint is {last}; go on with: python -m vae_lab.train resume={run}" in line
    elif not (run / "checkpoints" / "best.ckpt").exists():
        assert line.endswith("no checkpoint had been written yet")


@pytest.mark.parametrize("after", [0, 1, 20, 47])
def test_curves_that_cannot_be_written_stop_the_run_and_lose_nothing(
    train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: Path, after: int
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        write = failing(RecordWriter.write, after, errno.ENOSPC, lambda *_: True)
        patch.setattr(RecordWriter, "write", write)
        assert_one_line(train(*SHORT, f"hydra.run.dir={run}"), run, "No space left on device")
    assert train(*SHORT, "resume=auto", f"hydra.run.dir={run}").code == 0
    assert_same(run, reference)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt", "metrics.json"])
def test_a_folder_that_turns_read_only_stops_the_run_and_loses_nothing(
    train: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: Path,
    name: str,
    after: int,
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing(os.replace, after, errno.EROFS, lambda _, to: Path(to).name == name))
        outcome = train(*SHORT, f"hydra.run.dir={run}")
        if name == "metrics.json":
            assert outcome.code == (1 if after == 0 else 0)
        else:
            assert_one_line(outcome, run, f"Read-only file system: '{run / 'checkpoints' / name}'")
    assert train(*SHORT, "resume=auto", f"hydra.run.dir={run}").code == 0
    assert_same(run, reference)


@pytest.mark.parametrize("kilobytes", [2, 50, 200])
def test_files_that_can_grow_no_more(
    train: Callable[..., Outcome], tmp_path: Path, reference: Path, kilobytes: int
) -> None:
    """By the kernel's own limit: no file of this process may be longer."""
    run = tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000 * kilobytes, before[1]))
    try:
        outcome = train(*SHORT, f"hydra.run.dir={run}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert "File too large" in outcome.error_lines[0]
    assert "Traceback" not in outcome.err
    assert train(*SHORT, "resume=auto", f"hydra.run.dir={run}").code == 0
    assert_same(run, reference)
