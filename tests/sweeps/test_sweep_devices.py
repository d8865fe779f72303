"""A sweep of jobs on several devices: their processes never start the sweep again, nor write a second folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FAST, Outcome

WORDS = [word for word in FAST if word != "trainer=cpu"]


@pytest.mark.slow  # three processes that each import everything
def test_two_jobs_of_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a job of SLURM with one task, where Lightning would wait for srun to start the second process.
    slurm = {"NTASKS": "1", "NTASKS_PER_NODE": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "JOB_NAME": "sweep"}
    for key, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    words = [*WORDS, "trainer=ddp", "trainer.accelerator=cpu"]
    command = [sys.executable, "-m", "vae_lab.train", "-m", "latent_dim=2,0", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert list((tmp_path / "outputs").iterdir()) == [sweep.parent]
    jobs = {path.name.partition("latent_dim=")[2].partition(",")[0]: path for path in sweep.iterdir() if path.is_dir()}
    jobs = {key: path for key, path in jobs.items() if key}
    assert sorted(jobs) == ["0", "2"], done.stderr
    assert (jobs["2"] / "metrics.json").is_file()
    assert (jobs["2"] / "checkpoints" / "last.ckpt").is_file()
    assert "latent_dim=0" in json.loads((jobs["0"] / "failure.json").read_text())["reason"]
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_a_sweep_is_not_started_once_for_each_process(
    name: str, train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, "2")
    outcome = train("-m", "latent_dim=2,3", *FAST)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert outcome.error_lines[0].startswith("error: -m: torchrun and srun start the processes of one run")
    assert not list(tmp_path.iterdir())


def test_torchrun_needs_one_folder_for_all(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = train(*FAST)
    assert outcome.code == 1
    assert outcome.error_lines == [
        "error: hydra.run.dir: must be given to torchrun and srun, whose processes share the folder"
    ]
    assert not list(tmp_path.iterdir())
