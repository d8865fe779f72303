"""Trained models, back from their run folders."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from vae_lab.build import build
from vae_lab.errors import RunError
from vae_lab.types import DataSpec

if TYPE_CHECKING:
    from vae_lab.core import LatentVariableModel
    from vae_lab.data import ImageDataModule

CHECKPOINTS = ("best.ckpt", "last.ckpt")
"""In the order in which they are looked for."""


@dataclass(frozen=True)
class SavedRun:
    """Where a run lies and what it was: nothing of it is built yet.

    Attributes:
        folder: of the run.
        checkpoint: the weights that are meant.
        config: the whole config, as plain containers.
    """

    folder: Path
    checkpoint: Path
    config: Mapping[str, Any]

    def model(self, packages: Sequence[str] = (), device: torch.device | str = "cpu") -> LatentVariableModel:
        """The trained model in evaluation mode, with the `spec` of its data; see `load_run`."""
        spec = self.spec(packages)
        model: LatentVariableModel = build(self.config["model"], packages)(spec=spec)
        weights = _weights(self.checkpoint)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{self.checkpoint}: the weights of another model ({reason[:200]})") from error
        model.spec = spec
        return model.to(device).eval()

    def data(self, packages: Sequence[str] = (), **changes: Any) -> ImageDataModule:
        """The data that it was trained on; ``changes`` replace settings such as ``root``."""
        data: ImageDataModule = build({**self.config["data"], **changes}, packages)
        return data

    def summary(self) -> dict[str, Any]:
        """Which training this was: its name, seed and length; what an unfinished or foreign run lacks is None."""
        trained = self.folder / "metrics.json"
        seconds = json.loads(trained.read_text(encoding="utf-8"))["training_seconds"] if trained.is_file() else None
        epochs = self.config.get("trainer", {}).get("max_epochs")
        return {
            "name": self.config.get("name"),
            "seed": self.config.get("seed"),
            "epochs": epochs,
            "training_seconds": seconds,
        }

    def spec(self, packages: Sequence[str] = ()) -> DataSpec:
        """What the model was built for: written in the config, or, in older runs, told by the data."""
        if "spec" not in self.config:
            return self.data(packages).spec
        spec = dict(self.config["spec"])
        return DataSpec(tuple(spec["shape"]), spec["num_classes"], spec["support"])


def find_run(path: str | Path) -> SavedRun:
    """A run by its folder, or by one of its checkpoints.

    Raises:
        RunError: where there is no run, no checkpoint or no readable config, naming the path.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        folder = path
        found = [path / "checkpoints" / name for name in CHECKPOINTS if (path / "checkpoints" / name).is_file()]
        if not (folder / "config.yaml").is_file():
            raise RunError(f"run={path}: no run there; a run folder holds config.yaml")
        if not found:
            raise RunError(
                f"run={path}: no checkpoint in {path / 'checkpoints'}; nothing was trained, or nothing saved"
            )
        checkpoint = found[0]
    elif path.is_file():
        checkpoint, folder = path, path.parent.parent
        if not (folder / "config.yaml").is_file():
            raise RunError(
                f"run={path}: no config.yaml in {folder}; a checkpoint lies in the folder checkpoints of its run"
            )
    else:
        raise RunError(f"run={path}: no such file or folder")
    return SavedRun(folder, checkpoint, _config(folder / "config.yaml"))


def load_run(path: str | Path, packages: Sequence[str] = (), device: torch.device | str = "cpu") -> LatentVariableModel:
    """The trained model of a run, ready to use, with the `DataSpec` of its data as ``model.spec``.

    Nothing in the run is executed: weights are read as bare tensors, and the model is rebuilt only from classes of
    vae_lab and torch.nn, or of ``packages``.

    Args:
        path: a run folder, whose best weights by val/elbo are taken, or a checkpoint in it.
        packages: further packages whose classes the run's config may name.
        device: where the model shall be.

    Raises:
        RunError: in one line, for a missing, broken or foreign run.

    A run of some seconds, then its model:

    >>> import subprocess, sys, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> words = ["model=cvae", "debug=fast", "trainer=cpu", f"hydra.run.dir={folder}"]
    >>> done = subprocess.run([sys.executable, "-m", "vae_lab.train", *words], capture_output=True)
    >>> import torch, vae_lab
    >>> model = vae_lab.load_run(folder)
    >>> model.spec
    DataSpec(shape=(1, 28, 28), num_classes=10, support='binary')
    >>> x, y = torch.rand(4, 1, 28, 28).round(), torch.tensor([3, 1, 4, 1])
    >>> model.encode(x, y)[0].shape  # the mean of each latent level, nearest the data first
    torch.Size([4, 10])
    >>> model.generate(4, y).mean.shape
    torch.Size([4, 1, 28, 28])
    >>> model.reconstruct(x, y).mean.shape
    torch.Size([4, 1, 28, 28])
    >>> model.log_marginal(x, y, num_samples=50).shape  # nats
    torch.Size([4])
    """
    return find_run(path).model(packages, device)


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(config, dict) or not {"model", "data"} <= set(config):
        raise RunError(f"{path}: not the config of a run; model and data are missing")
    return config


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, tensors on the CPU; reading it executes nothing.

    Raises:
        RunError: for a file that is no checkpoint of vae_lab, or not a whole one.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd pickles: they are refused anyway
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            checkpoint["state_dict"].items()
    except Exception as error:  # of a corrupt file anything may come
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: truncated, corrupt or no checkpoint of vae_lab ({reason})") from error
    return checkpoint


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the model in a checkpoint."""
    state = read_checkpoint(path)["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
