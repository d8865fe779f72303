"""Launchers: what each gives its jobs, and what is left of a sweep whose processes are killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BARE, FAST, Outcome
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from vae_lab.cli.messages import EXTRAS
from vae_lab.runs import folder as runs
from vae_lab.sweeps import machine
from vae_lab.sweeps.machine import ShareMachine, jobs_at_once, visible_gpus

Train = Callable[..., Outcome]
QUICK = BARE
IN_PROCESS = ("launcher=joblib", "hydra.launcher.n_jobs=1")
"""joblib runs the jobs of one worker in the process itself."""


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that take no time."""

    def fit(trainer: Any, module: Any, data: Any, record: Any, *_: Any) -> None:
        runs.save_config(record.run, record.config)
        (record.run / "metrics.json").write_text('{"metrics": {"test/elbo": -100.0}}')

    monkeypatch.setattr("vae_lab.training.fit", fit)


def rows(outcome: Outcome) -> list[list[str]]:
    lines = [line for line in outcome.out.splitlines() if "│ latent_dim=" in line]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.mark.parametrize("launcher", EXTRAS)
def test_a_missing_launcher_says_what_to_install(
    train: Train, launcher: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Plugins.instance()  # has them all stored
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{launcher}.yaml", raising=False)
    outcome = train("-m", f"launcher={launcher}", "latent_dim=2,3", *QUICK)
    assert outcome.code == 1
    extra, package = EXTRAS[launcher]
    assert outcome.err.splitlines() == [f"error: launcher={launcher}: needs {package}; pip install 'vae-lab[{extra}]'"]
    assert not list(tmp_path.iterdir())


def test_without_a_sweep_it_says_so(train: Train, tmp_path: Path) -> None:
    outcome = train("launcher=joblib", *QUICK)
    assert outcome.code == 1
    assert outcome.error_lines == ["error: launcher=joblib: runs the jobs of a sweep; add -m (one job is a sweep, too)"]
    assert train("sweep=latent_dim", *QUICK).error_lines == [
        "error: sweep=latent_dim: gives the values of a sweep; add -m"
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("instant")
def test_the_launcher_is_no_part_of_a_job(train: Train, tmp_path: Path) -> None:
    assert train("-m", *IN_PROCESS, "latent_dim=2,3", *QUICK, "hydra.sweep.dir=joblib").code == 0
    assert len(list((tmp_path / "joblib").glob("*/metrics.json"))) == 2
    outcome = train("-m", "latent_dim=2,3", *QUICK, "sweep.resume=joblib")
    assert [row[1] for row in rows(outcome)] == ["skipped", "skipped"]


@pytest.mark.usefixtures("instant")
def test_a_launcher_that_fails_leaves_a_report(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra_plugins.hydra_joblib_launcher import joblib_launcher

    launch = joblib_launcher.JoblibLauncher.launch

    def dying(self: Any, job_overrides: Any, initial_job_idx: int) -> None:
        launch(self, job_overrides[:1], initial_job_idx)
        raise RuntimeError("A worker was killed.\nMore about it.")

    for cls in (joblib_launcher.JoblibLauncher, Plugins.instance().class_name_to_class[
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
    ]):  # fmt: skip
        monkeypatch.setattr(cls, "launch", dying)
    outcome = train("-m", *IN_PROCESS, "latent_dim=2,3", *QUICK, "hydra.sweep.dir=s")
    assert outcome.code == 1
    assert outcome.error_lines == ["error: launcher=joblib: RuntimeError: A worker was killed."]
    assert rows(outcome) == [
        ["latent_dim=2", "finished", "-100.000"],
        ["latent_dim=3", "not run", "it left nothing behind"],
    ]
    assert (tmp_path / "s" / "report.md").is_file()
    monkeypatch.undo()


def test_the_plugins_cost_other_hydra_programs_little() -> None:
    code = "import sys, hydra_plugins.vae_lab_sweepers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith(("vae_lab", "torch", "pydantic"))]


# What a job gets of the machine.


@pytest.mark.parametrize(
    ("gpus", "cores", "expected"),
    [(0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 4, 2), (0, 8, 4), (1, 64, 1), (8, 4, 8)],
)
def test_jobs_at_once(monkeypatch: pytest.MonkeyPatch, gpus: int, cores: int, expected: int) -> None:
    monkeypatch.setattr(machine, "visible_gpus", lambda: [str(i) for i in range(gpus)])
    monkeypatch.setattr(machine, "_cores", lambda: cores)
    assert jobs_at_once() == expected
    assert ShareMachine(expected).threads == max(1, cores // expected)


def test_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5a,3")
    assert visible_gpus() == ["GPU-5a", "3"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def job_on_a_gpu(share: ShareMachine, seconds: float) -> tuple[str, str, float, float]:
    share.on_job_start(None)  # type: ignore[arg-type]
    began = time.monotonic()
    time.sleep(seconds)
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"], began, time.monotonic()


def test_each_job_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from joblib import Parallel, delayed

    monkeypatch.setattr(machine, "visible_gpus", lambda: ["5", "GPU-7"])
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(machine, "_cores", lambda: 6)
    share = ShareMachine(jobs_at_once=2)
    share.locks = tmp_path
    lengths = [0.6, 0.1, 0.1, 0.1, 0.3, 0.1]
    done = Parallel(n_jobs=2, batch_size=1)(delayed(job_on_a_gpu)(share, length) for length in lengths)
    assert {gpu for gpu, *_ in done} == {"5", "GPU-7"}
    for name in ("5", "GPU-7"):
        spans = sorted((began, ended) for gpu, _, began, ended in done if gpu == name)
        assert all(ended <= next_began for (_, ended), (next_began, _) in itertools.pairwise(spans))


# SLURM, with programs of its names that only write down what they are asked.

SBATCH = """#!/bin/sh
cp "$1" {folder}/submitted.sh
echo "Submitted batch job 7"
"""
SACCT = """#!/bin/sh
echo "JobID|State|NodeList"
for i in 0 1; do echo "7_$i|{state}|node1"; done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    texts = {"sbatch": SBATCH.format(folder=tmp_path), "sacct": SACCT.format(state="NODE_FAIL"), "srun": "#!/bin/sh\n"}
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return tmp_path / "submitted.sh"


def test_what_slurm_is_asked_for(train: Train, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)
    words = ("hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90", "hydra.sweep.dir=s")
    outcome = train("-m", "launcher=submitit_slurm", "latent_dim=2,3", *QUICK, *words)
    script = slurm.read_text()
    for line in (
        "partition=gpu",
        "time=90",
        "gpus-per-node=1",
        "cpus-per-task=4",
        "array=0-1%2",
        "signal=USR2@120",
        "requeue",
    ):
        assert f"#SBATCH --{line}\n" in script, script
    assert outcome.code == 1
    assert len(outcome.error_lines) == 2, "both jobs are told, not the first alone"
    assert all("launcher=submitit_slurm: UncompletedJobError" in line for line in outcome.error_lines)
    assert [row[1] for row in rows(outcome)] == ["not run", "not run"]


def test_without_slurm_one_line(train: Train) -> None:
    pytest.importorskip("submitit")
    outcome = train("-m", "launcher=submitit_slurm", "latent_dim=2,3", *QUICK)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert "srun" in outcome.error_lines[0]


# A process killed in the middle.

LONG = (*FAST, "trainer.max_epochs=200", "latent_dim=2,3")


def sweep(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vae_lab.train", "-m", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_job(process: subprocess.Popen[str], folder: Path, name: str) -> None:
    """SIGKILL to the process that trains the job, once it has a checkpoint."""
    while process.poll() is None:
        for job in folder.glob(name):
            events = next(job.glob("events.*"), None)
            if events and (job / "checkpoints" / "last.ckpt").is_file() and not (job / "metrics.json").exists():
                os.kill(int(events.name.split(".")[-2]), signal.SIGKILL)
                return
        time.sleep(0.05)
    raise AssertionError(process.communicate()[0])


def results(folder: Path) -> dict[str, float]:
    found = {path.parent.name: json.loads(path.read_text())["metrics"] for path in folder.glob("*/metrics.json")}
    return {name: metrics["test/elbo"] for name, metrics in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_killed_job_is_finished_by_resuming(launcher: str, train: Train, tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{EXTRAS[launcher][0]}_launcher")
    assert train("-m", *LONG, "hydra.sweep.dir=undisturbed").code == 0
    process = sweep(tmp_path, f"launcher={launcher}", *LONG, "hydra.sweep.dir=s")
    kill_job(process, tmp_path / "s", "*latent_dim=3*")
    out, _ = process.communicate()
    assert (tmp_path / "s" / "report.md").is_file(), out
    if launcher == "ray":  # which starts the job again by itself
        assert process.returncode == 0, out
    else:
        assert process.returncode == 1, out
        assert f"error: launcher={launcher}: " in out
        assert "unfinished" in out
        resumed = sweep(tmp_path, f"launcher={launcher}", *LONG, "sweep.resume=s")
        assert resumed.communicate()[0]
        assert resumed.returncode == 0
    assert results(tmp_path / "s") == results(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_jobs_of_a_killed_sweep_save_and_stop(number: signal.Signals, train: Train, tmp_path: Path) -> None:
    """Otherwise they would train on for hours, unseen, and the resumed sweep could not have them."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert train("-m", *LONG, "hydra.sweep.dir=undisturbed").code == 0
    words = ("launcher=joblib", "hydra.launcher.n_jobs=2", *LONG)
    process, folder = sweep(tmp_path, *words, "hydra.sweep.dir=s"), tmp_path / "s"
    while len(list(folder.glob("*/checkpoints/last.ckpt"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()  # joblib's processes keep it open for some minutes
    deadline = time.monotonic() + 60
    while list(folder.glob("*/.lock")):  # of the jobs
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not results(folder)
    resumed = sweep(tmp_path, *words, "sweep.resume=s")
    assert "0 of 2 jobs are finished already" in resumed.communicate()[0]
    assert resumed.returncode == 0
    assert results(folder) == results(tmp_path / "undisturbed")
