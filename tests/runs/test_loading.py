"""Models come back from their runs, and nothing in a run is executed."""

from __future__ import annotations

import contextlib
import doctest
import io
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vae_lab
import vae_lab.runs.loading
from tests.conftest import FAST, Outcome, trained_run
from vae_lab.errors import RunError
from vae_lab.runs.build import build


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional hierarchy whose prior is made of its posterior, hardly trained; not to be changed."""
    words = ("model=mhvae", "model.conditional=true", "prior=vamp", "prior.num_components=7")
    return trained_run(tmp_path_factory.mktemp("trained") / "run", *FAST, *words)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, for a test to break."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_the_model_comes_back_with_its_weights(run: Path) -> None:
    for path in (run, str(run), run / "checkpoints" / "best.ckpt"):
        model = vae_lab.load_run(path).model
        assert model.spec == vae_lab.types.DataSpec((1, 28, 28), 10, "binary", tuple("0123456789"))
        assert not model.training
        saved = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for name, value in model.state_dict().items():
            assert torch.equal(value, saved[f"model.{name}"])
    x, y = torch.rand(3, 1, 28, 28).round(), torch.tensor([1, 2, 3])
    assert [tuple(level.shape) for level in model.encode(x, y)] == [(3, 64), (3, 32), (3, 10)]
    assert model.log_marginal(x, y, num_samples=4).shape == (3,)


def test_the_example_of_the_documentation_runs(train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.run

    def run(command: Sequence[str], **options: Any) -> Any:
        """In this process, as another one would import everything again, and without pictures, which take longest."""
        if command[0] == "git":  # the run notes the commit
            return start(command, **options)
        assert command[:3] == [sys.executable, "-m", "vae_lab.train"]
        with contextlib.redirect_stdout(io.StringIO()):  # captured, as the example asks
            assert train(*command[3:], "callbacks.pictures=null", "callbacks.projector=null").code == 0
        return None

    monkeypatch.setattr("subprocess.run", run)
    assert doctest.testmod(vae_lab.runs.loading, raise_on_error=True).attempted > 5


def test_an_older_run_without_a_spec_asks_its_data(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    spec = vae_lab.load_run(run).spec
    del config["spec"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert vae_lab.load_run(run).spec == spec


def broken(run: Path, how: str) -> tuple[Path, str]:  # noqa: PLR0911
    """A path that cannot be loaded, and what the message must say."""
    checkpoint, config = run / "checkpoints" / "best.ckpt", run / "config.yaml"
    if how == "missing":
        return run / "nowhere", "no such file or folder"
    if how == "no run":
        (run.parent / ".hydra").mkdir()
        (run.parent / ".hydra" / "config.yaml").touch()  # which other programs have, too
        return run.parent, f"no run there, but 1 below it; run={run} names the newest"
    if how == "no checkpoint":
        for path in (run / "checkpoints").iterdir():
            path.unlink()
        return run, "no checkpoint in"
    if how == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
        return run, "truncated, corrupt or no checkpoint"
    if how == "empty":
        checkpoint.write_bytes(b"")
        return run, "truncated, corrupt or no checkpoint"
    if how == "other model":
        content = yaml.safe_load(config.read_text())
        content["model"]["latent_dims"] = [8, 4]
        config.write_text(yaml.safe_dump(content))
        return run, "the weights of another model"
    if how == "not yaml":
        config.write_text("model: [")
        return run, "not readable as YAML"
    config.write_text("- 1\n")
    return run, "not the config of a run"


@pytest.mark.parametrize(
    "how", ["missing", "no run", "no checkpoint", "truncated", "empty", "other model", "not yaml", "no config"]
)
def test_what_cannot_be_loaded_is_named_in_one_line(run: Path, how: str) -> None:
    path, message = broken(run, how)
    with pytest.raises(RunError, match=message) as raised:
        vae_lab.load_run(path)
    assert "\n" not in str(raised.value)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_a_malicious_checkpoint_is_not_executed(run: Path, tmp_path: Path) -> None:
    marker = tmp_path / "exploded"
    for save in (
        lambda path: path.write_bytes(pickle.dumps(Bomb(marker))),
        lambda path: torch.save({"state_dict": Bomb(marker)}, path),
    ):
        save(run / "checkpoints" / "best.ckpt")
        with pytest.raises(RunError, match="corrupt or no checkpoint"):
            vae_lab.load_run(run)
        assert not marker.exists()


def test_packages_that_the_caller_names_are_trusted() -> None:
    with pytest.raises(RunError, match=r"name its package if you trust it: packages=\[collections\]$"):
        build({"_target_": "collections.Counter"})
    assert build({"_target_": "collections.Counter"}, ["collections"]) == {}
