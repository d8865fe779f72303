"""A resumed run gives the same result as one that was never interrupted, to the last bit of every number."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import FAST, Outcome, trained_run

from tests.training.same_run import assert_same, curves_of, state_of
from vae_lab.cli.resume import checkpoint_to_resume
from vae_lab.errors import RunError
from vae_lab.runs.folder import EVENTS, last_checkpoint
from vae_lab.training import AtomicCheckpointIO
from vae_lab.training.callbacks import LastCheckpoint
from vae_lab.training.logs import curves
from vae_lab.training.module import VariationalModule

SAVED_RUN = Path(__file__).parents[1] / "saved_runs" / "format_0" / "stopped"
EPOCHS, BATCHES = 3, 7
QUICK = (
    *(word for word in FAST if not word.startswith("debug")),
    f"trainer.max_epochs={EPOCHS}",
    f"trainer.limit_train_batches={BATCHES}",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
)
QUICK_DRAWN = (
    *(word for word in QUICK if not word.startswith("callbacks")),
    "callbacks.projector=null",
    "latent_dim=3",
    "callbacks.pictures.num_samples=4",
    "callbacks.pictures.num_reconstructions=2",
    "callbacks.pictures.num_interpolations=1",
)
"""The same with pictures, all of them small."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    return trained_run(tmp_path_factory.mktemp("uninterrupted"), *QUICK)


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, signal.Signals], None]:
    """``stopped_at(n, SIGTERM)``: the signal comes while optimizer step n, counted over the run, is taken."""

    def arm(number: int, which: signal.Signals) -> None:
        whole = VariationalModule._optimizer_step

        def step(self: VariationalModule, dataloader_iter: Any) -> Any:
            done = whole(self, dataloader_iter)
            if self.global_step == number:
                os.kill(os.getpid(), which)
            return done

        monkeypatch.setattr(VariationalModule, "_optimizer_step", step)

    return arm


SETTINGS = (
    ("model=mhvae", "objective=iwae", "optimizer=rmsprop", "scheduler=cosine", "warmup=none"),
    ("model=cvae", "warmup=linear", "callbacks=early_stopping", "callbacks.early_stopping.patience=1"),
    ("trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1", "data.horizontal_flip=true"),
)


@pytest.mark.parametrize("words", SETTINGS, ids=["mhvae", "cvae", "vae"])
def test_stopped_within_epochs_and_between(
    train: Callable[..., Outcome], stopped_at: Callable[..., None], tmp_path: Path, words: tuple[str, ...]
) -> None:
    reference, run = tmp_path / "reference", tmp_path / "run"
    assert train(*QUICK, *words, f"hydra.run.dir={reference}").code == 0

    steps = state_of(reference)["global_step"]
    stops = [2, steps // 2, steps // EPOCHS * 2]
    start = [*QUICK, *words, f"hydra.run.dir={run}"]
    for stop, which in zip(stops, (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1), strict=True):
        stopped_at(stop, which)
        outcome = train(*start)
        assert outcome.code == 128 + which, outcome.err
        assert f"python -m vae_lab.train resume={run}" in outcome.out
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == stop
        start = [f"resume={run}"]
    assert train(*start).code == 0
    assert_same(run, reference)


def test_stopped_again_before_the_first_step(
    train: Callable[..., Outcome],
    stopped_at: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    uninterrupted: Path,
) -> None:
    run = tmp_path / "run"
    stopped_at(BATCHES + 3, signal.SIGTERM)
    assert train(*QUICK, f"hydra.run.dir={run}").code == 143

    whole = LastCheckpoint.save_between_epochs

    def stopped(*args: Any) -> None:
        whole(*args)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "save_between_epochs", stopped)
        assert train(f"resume={run}").code == 143
    assert train(f"resume={run}").code == 0
    assert_same(run, uninterrupted)


def test_a_point_that_a_callback_of_lightning_writes_before_a_batch_is_not_doubled(
    train: Callable[..., Outcome], stopped_at: Callable[..., None], tmp_path: Path
) -> None:
    reference, run = tmp_path / "reference", tmp_path / "run"
    monitor = "_target_:pytorch_lightning.callbacks.LearningRateMonitor,logging_interval:step"
    words = (*QUICK, f"+callbacks.lr={{{monitor}}}")
    assert train(*words, f"hydra.run.dir={reference}").code == 0
    for stop in (2, BATCHES, BATCHES + 3):
        stopped_at(stop, signal.SIGTERM)
        assert train(*words, "resume=auto", f"hydra.run.dir={run}").code == 143
    assert train(*words, "resume=auto", f"hydra.run.dir={run}").code == 0
    assert_same(run, reference)
    assert "lr-Adam" in curves_of(run)


def test_two_epochs_and_one_more_are_three(train: Callable[..., Outcome], tmp_path: Path, uninterrupted: Path) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, "trainer.max_epochs=2", f"hydra.run.dir={run}").code == 0
    assert train(f"resume={run}", f"trainer.max_epochs={EPOCHS}").code == 0
    assert_same(run, uninterrupted)
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == EPOCHS

    again = train(f"resume={run}", f"trainer.max_epochs={EPOCHS}")  # nothing is left to do but the test
    assert again.code == 0
    assert_same(run, uninterrupted)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_stopped_within_the_test(
    train: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    uninterrupted: Path,
    which: signal.Signals,
) -> None:
    run = tmp_path / "run"
    whole = VariationalModule.test_step

    def step(self: VariationalModule, batch: Any, batch_idx: int) -> None:
        os.kill(os.getpid(), which)
        whole(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(VariationalModule, "test_step", step)
        outcome = train(*QUICK, f"hydra.run.dir={run}")
        assert outcome.code == 128 + which, outcome.err
        assert f"python -m vae_lab.train resume={run}" in outcome.out
    assert not (run / "metrics.json").exists()
    assert train(f"resume={run}").code == 0
    assert_same(run, uninterrupted)


def test_weights_in_double_precision_go_on_in_it(
    train: Callable[..., Outcome], stopped_at: Callable[..., None], tmp_path: Path
) -> None:
    reference, run = tmp_path / "reference", tmp_path / "run"
    words = (*QUICK, "trainer.precision=64-true", "average=0.8", "trainer.max_epochs=2")
    assert train(*words, f"hydra.run.dir={reference}").code == 0
    stopped_at(BATCHES + 3, signal.SIGTERM)
    assert train(*words, f"hydra.run.dir={run}").code == 143
    assert train(f"resume={run}").code == 0
    assert_same(run, reference)


def kill_after_saving(patch: pytest.MonkeyPatch, number: int) -> None:
    """The run ends at once when last.ckpt has been written after step n."""
    whole = AtomicCheckpointIO.save_checkpoint

    def save(self: AtomicCheckpointIO, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        whole(self, checkpoint, path)
        if Path(path).name == "last.ckpt" and checkpoint["global_step"] >= number:
            raise SystemExit(137)

    patch.setattr(AtomicCheckpointIO, "save_checkpoint", save)


ENDS = {
    "plain": ((), EPOCHS * BATCHES),
    "average": (("average=0.8",), EPOCHS * BATCHES),
    "within an epoch": (("trainer.max_steps=9",), 9),
    "within an epoch, average": (("trainer.max_steps=9", "average=0.8"), 9),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_last_pictures_and_points_come_before_the_last_checkpoint(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str
) -> None:
    """A run that is killed right after it has nothing left to train, so that nothing would draw or log them again."""
    reference, run = tmp_path / "reference", tmp_path / "run"
    more, last_step = ENDS[end]
    words = (*QUICK_DRAWN, *more)
    assert train(*words, "logger=many", f"hydra.run.dir={reference}").code == 0
    with monkeypatch.context() as patch:
        kill_after_saving(patch, last_step)
        assert train(*words, "logger=many", f"hydra.run.dir={run}").code == 137
    assert train(*words, "logger=many", "resume=auto", f"hydra.run.dir={run}").code == 0
    assert_same(run, reference)
    assert pictures_of(run) == pictures_of(reference)


def pictures_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "figures").iterdir()}


def test_resume_auto_is_one_command_for_a_cluster(
    train: Callable[..., Outcome], stopped_at: Callable[..., None], tmp_path: Path, uninterrupted: Path
) -> None:
    run = tmp_path / "run"
    words = (*QUICK, "resume=auto", f"hydra.run.dir={run}")
    stopped_at(9, signal.SIGTERM)
    assert train(*words).code == 143
    assert train(*words).code == 0
    assert_same(run, uninterrupted)


def test_what_cannot_be_resumed_says_so(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, "trainer.max_epochs=1", f"hydra.run.dir={run}").code == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}

    for words, message in (
        ((f"resume={tmp_path / 'nowhere'}",), "no such file or folder"),
        ((f"resume={tmp_path}",), "no run there"),
        ((*QUICK, "latent_dim=3", f"hydra.run.dir={run}"), "holds a run already"),
        ((f"resume={run}", "latent_dim=7"), "latent_dim was 10, is 7"),
        ((f"resume={run}", "model=cvae"), "model.conditional was false, is true"),
        ((f"resume={run}", "checkpoint.every_minutes=-1"), "checkpoint.every_minutes=-1: must be 0"),
        ((f"resume={run}", "trainer.max_epoch=3"), "trainer.max_epoch: "),
    ):
        outcome = train(*words)
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1
        assert message in outcome.error_lines[0], outcome.error_lines
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before

    assert train(f"resume={run}", "optimizer.lr=1e-4", "resume_changed=true", "trainer.max_epochs=2").code == 0

    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    broken = train(f"resume={run}", "optimizer.lr=1e-4", "trainer.max_epochs=2")
    assert "last.ckpt: truncated, corrupt or no checkpoint" in broken.error_lines[0]
    last.unlink()
    gone = train(f"resume={run}", "optimizer.lr=1e-4", "trainer.max_epochs=2")
    assert "no checkpoint there yet" in gone.error_lines[0]


def test_a_second_writer_of_the_last_checkpoint_is_refused(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train(*QUICK, "+callbacks.checkpoint.save_last=true", f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 1
    assert "ModelCheckpoint with save_last=true would write last.ckpt within an epoch" in outcome.error_lines[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("asked", [None, "auto"])
@pytest.mark.parametrize("name", ["checkpoints/best.ckpt", "metrics.json", "evaluation_val.json", "config.yaml"])
def test_a_new_run_writes_over_no_results_and_no_files_of_others(name: str, asked: str | None, tmp_path: Path) -> None:
    """Neither over a finished run whose last checkpoint is gone, nor over a config.yaml that is not of a run."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine: 1")
    with pytest.raises(RunError, match=f"holds {name} already"):
        checkpoint_to_resume({"resume": asked}, tmp_path)
    path.unlink()
    shutil.copy(SAVED_RUN / "config.yaml", tmp_path)
    assert checkpoint_to_resume({"resume": asked}, tmp_path) is None, "one killed before its first checkpoint restarts"


def test_a_run_killed_between_its_first_best_and_its_first_last_checkpoint_restarts(tmp_path: Path) -> None:
    shutil.copy(SAVED_RUN / "config.yaml", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    assert checkpoint_to_resume({"resume": "auto"}, tmp_path) is None
    with pytest.raises(RunError, match="resume=auto starts it again"):
        checkpoint_to_resume({"resume": None}, tmp_path)
    (tmp_path / "evaluation.json").touch()  # somebody needs these weights
    with pytest.raises(RunError, match=r"holds evaluation\.json already"):
        checkpoint_to_resume({"resume": "auto"}, tmp_path)
    (tmp_path / "evaluation.json").unlink()
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    config["callbacks"]["last_checkpoint"] = None  # it may have trained for hours
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match=r"holds checkpoints/best\.ckpt already"):
        checkpoint_to_resume({"resume": "auto"}, tmp_path)


BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a folder": ("last.ckpt is a folder", Path.mkdir),
    "a pipe": ("last.ckpt is a pipe", os.mkfifo),
    "a link to nothing": ("last.ckpt is a link to nothing", lambda path: path.symlink_to("moved/last.ckpt")),
    "a link to itself": ("last.ckpt cannot be read", lambda path: path.symlink_to("last.ckpt")),
    "no folder around it": (
        "checkpoints is a link to nothing",
        lambda path: (path.parent.rename(path.parent.with_name("c")), path.parent.symlink_to("/scratch/gone")),
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_last_checkpoint_that_is_not_a_file_is_not_counted_as_none(
    train: Callable[..., Outcome], tmp_path: Path, kind: str
) -> None:
    run, last = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    shutil.copy(SAVED_RUN / "config.yaml", run)
    message, spoil = BROKEN[kind]
    spoil(last)
    before = sorted(run.rglob("*"))
    words = (*FAST, f"hydra.run.dir={run}")
    for again in ((f"resume={run}",), (*words, "resume=auto"), words):
        outcome = train(*again)
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1, outcome.err
        assert message in outcome.error_lines[0]
        assert f"resume={run}: " in outcome.error_lines[0]
        assert sorted(run.rglob("*")) == before
    with pytest.raises(RunError, match=message):
        last_checkpoint(run)


def test_curves_are_cut_where_the_checkpoint_saw_them(tmp_path: Path) -> None:
    old, new = tmp_path / "events.out.tfevents.1", tmp_path / "events.out.tfevents.2"
    old.write_bytes(b"before")
    seen = curves.sizes(tmp_path)
    old.write_bytes(b"before and after")
    new.write_bytes(b"after")
    (tmp_path / "config.yaml").write_text("kept")
    curves.rewind(tmp_path, seen)
    assert old.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", old.name]


# Killed processes. Each attempt is a fork of a server that has imported everything, so that it starts in no time.


def run_train(folder: str, words: tuple[str, ...]) -> None:
    """The command, in a process of its own."""
    os.chdir(folder)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    sys.argv = ["train", *words]
    from vae_lab.train import main

    main()


def killed_until_done(forks: Any, run: Path, words: tuple[str, ...], kills: int, seed: int) -> None:
    """Kills the run at random moments of its training, again and again, and then lets it end."""
    chance = random.Random(seed)
    words = (*words, "resume=auto", "checkpoint.every_minutes=0.001", f"hydra.run.dir={run}")
    for _ in range(kills):
        process = forks.Process(target=run_train, args=(str(run.parent), words))
        process.start()
        wait_for_training(run, process)
        time.sleep(chance.uniform(0, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        last = run / "checkpoints" / "last.ckpt"
        if last.exists():
            torch.load(last, weights_only=True)  # never a broken one
        if process.exitcode == 0:
            break
    process = forks.Process(target=run_train, args=(str(run.parent), words))
    process.start()
    process.join()
    assert process.exitcode == 0


def killed_at_operation(folder: str, words: tuple[str, ...], number: int) -> None:
    """The command, killed before the n-th thing that it does to files: a write half done, at each place there is."""
    left = number

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*args, **kwargs)

        return instead

    for name in ("fsync", "replace", "truncate", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    run_train(folder, words)


def wait_for_training(run: Path, process: Any) -> None:
    """Until this process has opened its curves."""
    before = set(run.glob(EVENTS))
    while process.is_alive() and set(run.glob(EVENTS)) <= before:
        time.sleep(0.005)


def longer(epochs: int, batches: int) -> tuple[str, ...]:
    return (*QUICK, f"trainer.max_epochs={epochs}", f"trainer.limit_train_batches={batches}")


@pytest.mark.slow
def test_killed_runs_lose_nothing(forks: Any, train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = longer(4, 100)
    assert train(*words, f"hydra.run.dir={tmp_path / 'reference'}").code == 0
    killed_until_done(forks, tmp_path / "run", words, kills=4, seed=0)
    assert_same(tmp_path / "run", tmp_path / "reference")


@pytest.mark.parametrize(
    "operations", [range(1, 2), range(2, 12, 5), pytest.param(range(1, 16), marks=pytest.mark.slow)], ids=str
)
def test_killed_in_the_midst_of_writing(
    forks: Any, train: Callable[..., Outcome], tmp_path: Path, operations: range
) -> None:
    run = tmp_path / "run"
    words = (*QUICK, "checkpoint.every_minutes=0.0001")
    assert train(*words, f"hydra.run.dir={tmp_path / 'reference'}").code == 0
    for number in operations:
        words_again = (*words, "resume=auto", f"hydra.run.dir={run}")
        process = forks.Process(target=killed_at_operation, args=(str(tmp_path), words_again, number))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert train(*words_again).code == 0
    assert_same(run, tmp_path / "reference")
    assert [path.name for path in run.rglob(".*")] == []  # the halves of files


@pytest.mark.slow
def test_fifty_killed_runs_lose_nothing(forks: Any, train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = longer(12, 400)
    assert train(*words, f"hydra.run.dir={tmp_path / 'reference'}").code == 0
    killed_until_done(forks, tmp_path / "run", words, kills=50, seed=1)
    assert_same(tmp_path / "run", tmp_path / "reference")
