"""Trained models, back from their run folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vae_lab.devices import check_device
from vae_lab.errors import RunError
from vae_lab.files import why_not_a_file
from vae_lab.runs.build import build, package_names
from vae_lab.runs.checkpoints import Weights, check_sizes, check_weights, load_weights, model_weights, read_checkpoint
from vae_lab.runs.folder import why_no_run
from vae_lab.runs.untrusted import read_json, read_yaml
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

    def model(
        self, packages: Sequence[str] = (), device: torch.device | str = "cpu", weights: Weights = "average"
    ) -> LatentVariableModel:
        """The trained model in evaluation mode, with the `spec` of its data; see `load_run`."""
        # Here and not above: a report reads checkpoints, but builds no model.
        from vae_lab.core import LatentVariableModel  # noqa: PLC0415

        spec = self.spec(packages)
        tensors = model_weights(read_checkpoint(self.checkpoint), self.checkpoint, weights)
        with self._naming_the_config():
            make = build(self.config["model"], packages)
            check_sizes(self.checkpoint, tensors, lambda: make(spec=spec))
            model = make(spec=spec)
        if not isinstance(model, LatentVariableModel):
            raise RunError(f"{self.folder / 'config.yaml'}: {type(model).__name__} is no LatentVariableModel")
        load_weights(model, tensors, self.checkpoint)
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


def find_run(path: str | Path, key: str = "run") -> SavedRun:
    """A run by its folder, or by one of its checkpoints.

    Args:
        path: of either.
        key: key of the command line that names it, for messages.

    Raises:
        RunError: where there is no run, no checkpoint or no readable config, naming the path.
    """
    path = Path(path).expanduser()
    if not os.path.lexists(path):
        raise RunError(f"{key}={path}: no such file or folder")
    if path.is_dir() and path.parent.name != "checkpoints":
        folder = path
        if not (folder / "config.yaml").is_file():
            raise RunError(f"{key}={path}: {why_no_run(path, key)}")
        checkpoint = _newest(folder, key)
    else:
        checkpoint, folder = path, path.parent.parent
        if path.name == "config.yaml":
            raise RunError(f"{key}={path}: {why_no_run(path, key)}")
        if not (folder / "config.yaml").is_file():
            raise RunError(
                f"{key}={path}: no config.yaml in {folder}; a checkpoint lies in the folder checkpoints of its run"
            )
    _check_is_file(path, checkpoint, key)
    return SavedRun(folder, checkpoint, _config(folder / "config.yaml"))


def _newest(folder: Path, key: str) -> Path:
    """The first of `CHECKPOINTS` that a run has, whatever it is: a broken one is not passed over for the next."""
    for name in CHECKPOINTS:
        checkpoint = folder / "checkpoints" / name
        if os.path.lexists(checkpoint):
            return checkpoint
    raise RunError(f"{key}={folder}: no checkpoint in {folder / 'checkpoints'}; nothing was trained, or nothing saved")


def _check_is_file(path: Path, checkpoint: Path, key: str) -> None:
    """Raises RunError for a checkpoint that is a folder, a pipe or a link to nothing: reading it might never end."""
    if problem := why_not_a_file(checkpoint):
        others = [checkpoint.with_name(name) for name in CHECKPOINTS if checkpoint.with_name(name).is_file()]
        remedy = f"; {key}={others[0]} takes other weights" if others else ""
        raise RunError(f"{key}={path}: {checkpoint.name} {problem}, not a checkpoint{remedy}")


def load_run(
    path: str | Path,
    packages: Sequence[str] = (),
    device: torch.device | str = "cpu",
    weights: Weights = "average",
) -> LatentVariableModel:
    """The trained model of a run, ready to use, with the `DataSpec` of its data as ``model.spec``.

    Nothing in the run is executed: weights are read as bare tensors, and the model is rebuilt only from classes of
    vae_lab and torch.nn, or of ``packages``.

    Args:
        path: a run folder, whose best weights by val/elbo are taken, or a checkpoint in it.
        packages: further packages whose classes the run's config may name.
        device: where the model shall be.
        weights: average or raw, the weights of the last step, for a run that averages its weights; any other run has
            one set of weights, and either gives it.

    Raises:
        RunError, TypeError, ValueError: in one line, for a missing, broken or foreign run, or arguments of other kinds.

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
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise TypeError(f"run={path!r}: must be the path of a run folder or of a checkpoint")
    check_device(device)
    names = package_names(packages)
    check_weights(weights)
    return find_run(path).model(names, device, weights)


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = read_yaml(path)
    except ValueError as error:
        raise RunError(str(error)) from error
    if not isinstance(config, dict) or not {"model", "data"} <= set(config):
        raise RunError(f"{path}: not the config of a run; model and data are missing")
    return config
