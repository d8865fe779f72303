"""The commands work with the lowest and with the newest version of Hydra that pyproject.toml allows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BARE

ROOT = Path(__file__).parents[2]
BOUNDS = [
    bound
    for bound in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    if bound.startswith(("hydra-core", "omegaconf"))
]
LOWEST = [re.sub(r">=([\d.]+),.*", r"==\1", bound) for bound in BOUNDS]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", params=[LOWEST, BOUNDS], ids=["lowest", "newest"])
def train(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """``train("key=value", ...)`` runs a training in an environment with these versions and all other packages."""
    environment = tmp_path_factory.mktemp("venv")
    venv.create(environment, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--pre", "--no-deps", "--target", str(site))
    done = subprocess.run((*install, *request.param), capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.fail(f"pip cannot install {request.param}; is the package index reachable? {done.stderr[-500:]}")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    folder = tmp_path_factory.mktemp("runs")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = (environment / "bin" / "python", "-m", "vae_lab.train", *words)
        variables = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_help_and_a_mistake(train: Command) -> None:
    done = train("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "latent_dim" in done.stdout
    done = train("latent_dm=3")
    assert (done.returncode, done.stderr) == (1, "error: latent_dm: no such key; did you mean latent_dim?\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("launcher=joblib", "hydra.launcher.n_jobs=1", "latent_dim=2,3"),
     ("search=optuna", "search.trials=2", "latent_dim=range(2,9)")],
    ids=["grid", "search"],
)  # fmt: skip
def test_a_sweep_of_two_jobs(train: Command, words: tuple[str, ...]) -> None:
    done = train("-m", *words, *BARE)
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if "│ finished │" in line]) == 2, done.stdout
    assert "deprecated" not in done.stderr
