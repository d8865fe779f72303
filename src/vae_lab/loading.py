"""Trained models, back from their run folders."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vae_lab.build import build
from vae_lab.errors import RunError
from vae_lab.types import DataSpec
from vae_lab.untrusted import read_json, read_yaml

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
        # Here and not above: a report reads checkpoints, but builds no model.
        from vae_lab.core import LatentVariableModel  # noqa: PLC0415

        spec = self.spec(packages)
        weights = _weights(self.checkpoint)
        with self._naming_the_config():
            make = build(self.config["model"], packages)
            _check_sizes(self.checkpoint, weights, lambda: make(spec=spec))
            model = make(spec=spec)
        if not isinstance(model, LatentVariableModel):
            raise RunError(f"{self.folder / 'config.yaml'}: {type(model).__name__} is no LatentVariableModel")
        _load(model, weights, self.checkpoint)
        model.spec = spec
        return model.to(device).eval()

    def data(self, packages: Sequence[str] = (), **changes: Any) -> ImageDataModule:
        """The data that it was trained on; ``changes`` replace settings such as ``root``."""
        from vae_lab.data import ImageDataModule  # noqa: PLC0415

        with self._naming_the_config():
            data = build({**self.config["data"], **changes}, packages)
        if not isinstance(data, ImageDataModule):
            raise RunError(f"{self.folder / 'config.yaml'}: {type(data).__name__} is no ImageDataModule")
        return data

    def check_resumed_data(self, data: DataSpec) -> None:
        """Checks that the run can go on with data of this spec: the same shape and classes by name.

        Raises:
            RunError: naming the first difference.
        """
        if "spec" not in self.config:
            return
        spec = self.spec()
        try:
            spec.check_data(replace(data, support=spec.support), f"resume={self.folder}: ")
        except ValueError as error:
            raise RunError(str(error)) from error

    def summary(self) -> dict[str, Any]:
        """Which training this was: its name, seed and length; what an unfinished or foreign run lacks is None."""
        try:
            seconds = read_json(self.folder / "metrics.json")["training_seconds"]
        except (OSError, ValueError, TypeError, KeyError):
            seconds = None
        trainer = self.config.get("trainer")
        return {
            "name": self.config.get("name"),
            "seed": self.config.get("seed"),
            "epochs": trainer.get("max_epochs") if isinstance(trainer, Mapping) else None,
            "training_seconds": seconds,
        }

    def spec(self, packages: Sequence[str] = ()) -> DataSpec:
        """What the model was built for: written in the config, or, in older runs, told by the data."""
        if "spec" not in self.config:
            return self.data(packages).spec
        with self._naming_the_config():
            return DataSpec.from_plain(self.config["spec"])

    @contextmanager
    def _naming_the_config(self) -> Iterator[None]:
        """Says in one line what is wrong with the config: with a stranger's, a constructor may fail in any way."""
        try:
            yield
        except RunError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise RunError(f"{self.folder / 'config.yaml'}: {reason}") from error


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
    >>> model.spec  # doctest: +ELLIPSIS
    DataSpec(shape=(1, 28, 28), num_classes=10, support='binary', class_names=('0', '1', ..., '9'))
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
        config = read_yaml(path)
    except ValueError as error:
        raise RunError(str(error)) from error
    if not isinstance(config, dict) or not {"model", "data"} <= set(config):
        raise RunError(f"{path}: not the config of a run; model and data are missing")
    return config


def read_checkpoint(path: Path, parts: Sequence[str] = ("state_dict",)) -> dict[str, Any]:
    """What a checkpoint holds, tensors on the CPU; reading it executes nothing.

    Args:
        path: of the checkpoint.
        parts: that it must have.

    Raises:
        RunError: for a file that is no checkpoint of vae_lab, or not a whole one.
    """
    try:
        _check_packing(path)
        with warnings.catch_warnings(action="ignore"):  # of odd pickles: they are refused anyway
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = [part for part in parts if part not in checkpoint]
        if missing or not isinstance(checkpoint["state_dict"], Mapping):
            raise ValueError(f"it lacks {' and '.join(missing) or 'weights'}")
    except Exception as error:  # of a corrupt file anything may come
        reason = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: truncated, corrupt or no checkpoint of vae_lab ({reason})") from error
    return checkpoint


def _check_packing(path: Path) -> None:
    """Refuses a packed archive, which torch would unpack: a few kilobytes may become more than any memory holds."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError("it is compressed, which no checkpoint is")


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the model in a checkpoint."""
    state = read_checkpoint(path)["state_dict"]
    weights = {str(name).removeprefix("model."): value for name, value in state.items() if _is_of_model(name)}
    odd = next((name for name, value in weights.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        raise RunError(f"{path}: truncated, corrupt or no checkpoint of vae_lab ({odd} is no tensor)")
    return weights


def _is_of_model(name: Any) -> bool:
    return isinstance(name, str) and name.startswith("model.")


def _check_sizes(path: Path, weights: Mapping[str, torch.Tensor], make: Callable[[], Any]) -> None:
    """Refuses a config whose model has not the sizes of the weights, before the model takes any memory."""
    try:
        with torch.device("meta"):
            expected = make().state_dict()
    except (NotImplementedError, RuntimeError):  # of another package: its constructor computes with its tensors
        return
    for name, value in expected.items():
        if name in weights and weights[name].shape != value.shape:
            shapes = f"{tuple(weights[name].shape)}, the config makes it {tuple(value.shape)}"
            raise RunError(f"{path}: the weights of another model ({name} is {shapes})")


def _load(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: the weights of another model ({reason[:200]})") from error
