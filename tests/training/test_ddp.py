"""Several processes compute what one computes at the same total batch."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Outcome

from tests.training.own_posterior import FILE, LaplacePosterior
from tests.training.processes import (
    SIZES,
    end_after,
    free_port,
    outcome,
    run,
    run_forked,
    start,
    step_of,
    stopped_after,
)
from tests.training.same_run import assert_same

TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
LINUX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells which process is whose")


@pytest.mark.slow
def test_the_loss_does_not_depend_on_the_number_of_processes(
    train: Callable[..., Outcome], forks: Any, tmp_path: Path
) -> None:
    words = (*SIZES, "model=mhvae", "trainer.limit_test_batches=3")
    assert train("trainer=cpu", *words, f"hydra.run.dir={tmp_path / 'one'}").code == 0
    one = outcome(tmp_path / "one")
    for number in (2, 3):
        several = ("trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={number}")
        run_forked(forks, tmp_path, number, *several, *words, f"hydra.run.dir={tmp_path / str(number)}")
        many = outcome(tmp_path / str(number))
        assert len(many["curves"]["train/loss"]) == 12
        for tag in ("train/loss", "train/elbo", "val/elbo", "val/kl_level_1", "val/iw_bound"):
            assert many["curves"][tag] == pytest.approx(one["curves"][tag], rel=1e-5), tag
        for tag in ("test/elbo", "test/kl", "test/log_likelihood"):
            assert many["metrics"][tag] == pytest.approx(one["metrics"][tag], rel=1e-5), tag


DEEP = ("model=deep", "model.levels=[1,1]", "model.channels=[1,2]", "model.widths=[4,6]", "model.top_width=8")


@pytest.mark.slow
def test_a_deep_model_with_averaged_weights_does_not_depend_on_the_number_of_processes(
    train: Callable[..., Outcome], forks: Any, tmp_path: Path
) -> None:
    sizes = [word for word in SIZES if not word.startswith("network")]
    words = (*sizes, *DEEP, "average=0.9", "gradient_skip=20", "trainer.log_every_n_steps=1")
    assert train("trainer=cpu", *words, f"hydra.run.dir={tmp_path / 'one'}").code == 0
    run_forked(forks, tmp_path, 2, *TWO, *words, f"hydra.run.dir={tmp_path / 'two'}")
    one, two = outcome(tmp_path / "one"), outcome(tmp_path / "two")
    for tag in ("train/loss", "train/gradient_norm", "train/elbo", "val/elbo", "val/kl_top"):
        assert two["curves"][tag] == pytest.approx(one["curves"][tag], rel=1e-4), tag
    assert two["metrics"]["test/elbo"] == pytest.approx(one["metrics"]["test/elbo"], rel=1e-5)


WHOLE_BATCH = (
    *(word for word in SIZES if not word.startswith(("trainer.max_ep", "trainer.limit_train", "data."))),
    *("data=array", "data.root=own", "data.batch_size=84", "likelihood=bernoulli", "network=mlp", "latent_dim=4"),
    *("trainer.max_epochs=1", "trainer.limit_test_batches=1"),
)
"""A run of two full batches and a short one, which validates its learned weights."""


@pytest.mark.slow
def test_a_posterior_that_draws_by_torch_draws_other_noise_in_each_process(tmp_path: Path) -> None:
    own = f"posterior._target_={LaplacePosterior.__module__}.LaplacePosterior"
    words = (*SIZES, "posterior=gaussian", own, "trainer.limit_test_batches=3")
    found = {}
    for name, devices in (("one", ("trainer=cpu",)), ("two", TWO)):
        there = {"PYTHONPATH": str(Path(__file__).parents[2]), FILE: str(tmp_path / f"{name}_noise")}
        process = start(tmp_path / name, *devices, *words, **there)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "draws random numbers by torch" not in errors
        found[name] = outcome(tmp_path / name)["metrics"]["test/elbo"]
    first, second = (torch.load(tmp_path / f"two_noise{rank}") for rank in (0, 1))
    assert first.shape == second.shape == (1, 42, *first.shape[2:])
    assert not torch.isclose(first, second).any()
    assert abs(found["two"] - found["one"]) < 0.02 * abs(found["one"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "objective", "bound"),
    [
        (("trainer=ddp", "compile=true", "trainer.precision=64-true"), "objective=beta_tcvae", 1e-6),
        (("trainer=ddp", "trainer.precision=64-true"), "objective=info_vae", 1e-6),
        (("trainer=ddp", "trainer.precision=64-true"), "objective=factor_vae", 1e-6),
        (("trainer=fsdp",), "objective=info_vae", 1e-5),  # Lightning shards no float64
    ],
)
def test_statistics_of_a_batch_are_those_of_one_process_uncompiled(
    train: Callable[..., Outcome], forks: Any, tmp_path: Path, words: tuple[str, ...], objective: str, bound: float
) -> None:
    """Curves keep float32; with statistics of half a batch in each process they differ beyond the bound."""
    (tmp_path / "own").mkdir()
    for split, size in (("train", 200), ("val", 50), ("test", 20)):
        images = np.random.default_rng(size).integers(0, 2, (size, 12, 12), np.uint8)
        np.save(tmp_path / "own" / f"{split}_images.npy", images)
    precision = [word for word in words if "precision" in word]
    outcome_of_one = train("trainer=cpu", "compile=false", objective, *precision, *WHOLE_BATCH, "hydra.run.dir=one")
    assert outcome_of_one.code == 0, outcome_of_one.err
    run_forked(forks, tmp_path, 2, *words, *TWO[1:], objective, *WHOLE_BATCH, "hydra.run.dir=two")
    one, two = outcome(tmp_path / "one"), outcome(tmp_path / "two")
    assert len(one["curves"]["train/loss"]) == 3
    for tag, points in one["curves"].items():
        assert two["curves"][tag] == pytest.approx(points, rel=bound, abs=bound), tag


@pytest.mark.slow
def test_balanced_classes_in_two_processes_resume_within_an_epoch(
    train: Callable[..., Outcome], forks: Any, tmp_path: Path
) -> None:
    rng, counts = np.random.default_rng(0), (400, 90, 14)
    (tmp_path / "own").mkdir()
    np.save(tmp_path / "own" / "train_images.npy", rng.integers(0, 2, (sum(counts), 6, 6), np.uint8))
    np.save(tmp_path / "own" / "train_labels.npy", rng.permutation(np.repeat(np.arange(3), counts)))
    words = ("data=array", "data.root=own", "data.balance=true", "data.val_size=50", "data.batch_size=42")
    words = (*words, "model=cvae", "latent_dim=3", "network.widths=[8]", "trainer.enable_progress_bar=false")
    words = (*words, "callbacks.pictures=null", "callbacks.projector=null", "trainer.log_every_n_steps=1")
    assert train("trainer=cpu", *words, "trainer.max_epochs=2", "hydra.run.dir=one").code == 0
    run_forked(forks, tmp_path, 2, *TWO, *words, "trainer.max_epochs=2", "hydra.run.dir=whole")
    run_forked(forks, tmp_path, 2, *TWO, *words, "trainer.max_epochs=2", "trainer.max_steps=14", "hydra.run.dir=part")
    assert step_of(tmp_path / "part") == 14, "within the second epoch of 10 steps"
    run_forked(forks, tmp_path, 2, "resume=part", "trainer.max_steps=-1")
    assert_same(tmp_path / "part", tmp_path / "whole")
    one, two = outcome(tmp_path / "one"), outcome(tmp_path / "whole")
    for tag in ("train/loss", "val/elbo"):
        assert two["curves"][tag] == pytest.approx(one["curves"][tag], rel=1e-5), tag


@pytest.mark.slow
def test_two_nodes_of_two_processes_by_torchrun_are_one_process(tmp_path: Path) -> None:
    words = (*SIZES, "trainer.limit_test_batches=3")
    one = run(tmp_path / "one", "trainer=cpu", *words)
    port = free_port()
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2")
    nodes = [
        start(
            tmp_path / "many",
            *words,
            *TWO,
            "trainer.num_nodes=2",
            by=(*torchrun, "--master-addr=localhost", f"--master-port={port}", f"--node-rank={rank}", "-m"),
        )
        for rank in range(2)
    ]
    for node in nodes:
        _, errors = node.communicate(timeout=300)
        assert node.returncode == 0, errors
    many = outcome(tmp_path / "many")
    assert many["curves"]["train/loss"] == pytest.approx(one["curves"]["train/loss"], rel=1e-5)
    assert many["metrics"]["test/elbo"] == pytest.approx(one["metrics"]["test/elbo"], rel=1e-5)


@pytest.mark.slow
def test_two_tasks_of_slurm_are_one_process_and_answer_its_signal(tmp_path: Path) -> None:
    words = (*(word for word in SIZES if not word.startswith("callbacks")), *TWO, "resume=auto")
    words = (*words, "callbacks.pictures=null", "callbacks.projector=null", "trainer.limit_test_batches=3")
    folder, port = tmp_path / "run", str(free_port())

    def srun(*more: str) -> list[subprocess.Popen[str]]:
        shared = {"SLURM_JOB_ID": "4242", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
        shared |= {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "MASTER_PORT": port}
        return [start(folder, *words, *more, **shared, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in ("0", "1")]

    tasks = srun("checkpoint.every_minutes=0.001", "trainer.limit_train_batches=80")
    while step_of(folder) <= 5 and tasks[0].poll() is None:
        time.sleep(0.01)
    for task in tasks:
        task.send_signal(signal.SIGUSR1)
    ends = [task.communicate(timeout=120) for task in tasks]
    assert [task.returncode for task in tasks] == [128 + signal.SIGUSR1] * 2, ends
    assert "stopped by SIGUSR1" in ends[0][0]
    assert not list(tmp_path.rglob("hpc_ckpt*")), "Lightning has not answered in its own way"

    tasks = srun("checkpoint.every_minutes=0.001", "trainer.limit_train_batches=80")
    for task in tasks:
        _, errors = task.communicate(timeout=300)
        assert task.returncode == 0, errors
    words = tuple(word for word in words if word not in TWO)
    one = run(tmp_path / "one", "trainer=cpu", *words, "trainer.limit_train_batches=80")
    assert len(one["curves"]["train/loss"]) == 160
    assert outcome(folder)["curves"]["train/loss"] == pytest.approx(one["curves"]["train/loss"], rel=1e-4)


@LINUX
@pytest.mark.slow
def test_two_processes_that_were_stopped_and_killed_end_as_if_they_never_had_been(tmp_path: Path) -> None:
    sizes = (word for word in SIZES if not word.startswith(("trainer.limit_train", "callbacks")))
    no_pictures = ("callbacks.pictures=null", "callbacks.projector=null", "trainer.limit_test_batches=2")
    words = (*sizes, *TWO, *no_pictures, "trainer.limit_train_batches=200", "checkpoint.every_minutes=0.001")
    reference, folder = tmp_path / "reference", tmp_path / "run"
    run(reference, *words)

    stopped_after(folder, 5, *words)
    code, _, errors = end_after(folder, step_of(folder) + 20, signal.SIGKILL, f"resume={folder}")
    assert code != 0
    assert "Traceback" not in errors
    assert 25 < step_of(folder) < 400, "it was ended on its way"
    run(folder, f"resume={folder}")
    assert_same(folder, reference)
