"""Trained models, back from their run folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vae_lab.errors import RunError, one_line
from vae_lab.files import why_not_a_file
from vae_lab.nested import value_at
from vae_lab.runs.build import build, package_names, usual_defaults
from vae_lab.runs.checkpoints import Weights, check_sizes, check_weights, load_weights, model_weights, read_checkpoint
from vae_lab.runs.folder import BEST, CHECKPOINTS, CONFIG, LAST, METRICS, WEIGHTS, is_export, is_run, why_no_run
from vae_lab.runs.reading import record_of
from vae_lab.runs.saved_arrays import saved_arrays
from vae_lab.runs.untrusted import read_yaml
from vae_lab.types import DataSpec, listed

if TYPE_CHECKING:
    from vae_lab.core import LatentVariableModel
    from vae_lab.data import ImageDataModule
    from vae_lab.runs.run import Run


@dataclass(frozen=True)
class SavedRun:
    """A run on disk, of which nothing is built yet.

    Attributes:
        folder: run folder.
        checkpoint: checkpoint of the run whose weights are meant, or model.safetensors of an exported run.
        config: whole config, as plain containers.
    """

    folder: Path
    checkpoint: Path
    config: Mapping[str, Any]

    def model(
        self, packages: Sequence[str] = (), device: torch.device | str = "cpu", weights: Weights = "average"
    ) -> LatentVariableModel:
        """Returns the trained model in evaluation mode, with the `spec` of its data; see `vae_lab.load_run`."""
        return self.model_and_step(packages, device, weights)[0]

    def model_and_step(
        self, packages: Sequence[str] = (), device: torch.device | str = "cpu", weights: Weights = "average"
    ) -> tuple[LatentVariableModel, int | None]:
        """Returns the model and the step of the training after which its weights were saved; None for an exported run.

        Both are of one reading of the checkpoint: a training may save others meanwhile.
        """
        # Here and not above: a report reads checkpoints, but builds no model.
        from vae_lab.core import LatentVariableModel  # noqa: PLC0415

        spec = self.spec(packages)
        checkpoint = read_checkpoint(self.checkpoint)
        tensors, step = model_weights(checkpoint, self.checkpoint, weights), checkpoint.get("global_step")
        del checkpoint  # the state of its optimizer is twice as large
        with self._naming_the_config():
            make = build(self.config["model"], packages)
            check_sizes(self.checkpoint, tensors, lambda: make(spec=spec))
            model = make(spec=spec)
        if not isinstance(model, LatentVariableModel):
            raise RunError(f"{self.folder / CONFIG}: {type(model).__name__} is not a LatentVariableModel")
        load_weights(model, tensors, self.checkpoint)
        model.spec = spec
        return model.to(device).eval(), step if isinstance(step, int) else None

    def takes_raw(self, weights: Weights) -> bool:
        """True if these are the weights of the last step of a run that has averaged ones, too."""
        return weights == "raw" and self.config.get("average") is not None and not is_export(self.folder)

    def is_tested(self, weights: Weights = "average") -> bool:
        """True if metrics.json is of these weights: those that a folder stands for, averaged if the run averages."""
        if is_export(self.folder):
            return True
        return not self.takes_raw(weights) and self.checkpoint.resolve() == find_checkpoint(self.folder)[1].resolve()

    def data(self, packages: Sequence[str] = (), root: str | None = None, **changes: Any) -> ImageDataModule:
        """Returns the data that it was trained on.

        Args:
            packages: see `load_run`.
            root: folder of the data; None: where the run found them.
            changes: further settings that replace those of the run.
        """
        from vae_lab.data import ImageDataModule  # noqa: PLC0415

        changes |= {"root": root} if root else {}
        node = {**self.config["data"], **changes}
        if value_at(self.config, "choices.data") == "loader":
            node = saved_arrays(self.folder, self.config, changes)
        with self._naming_the_config():
            data = build(node, packages)
        if not isinstance(data, ImageDataModule):
            raise RunError(f"{self.folder / CONFIG}: {type(data).__name__} is not an ImageDataModule")
        if recorded := self.recorded_spec():
            data.keep_scaling(recorded, classes=True)
        return data

    def check_resumed_data(self, data: DataSpec) -> None:
        """Checks that the run can go on with data of this spec: the same shape and classes by name.

        Raises:
            RunError: naming the first difference.
        """
        spec = self.recorded_spec()
        if spec is None:
            return
        try:
            spec.check_data(replace(data, support=spec.support), f"resume={self.folder}: ")
            self.check_numbers(data, f"resume={self.folder}: ")
        except ValueError as error:
            raise RunError(str(error)) from error

    def check_numbers(self, data: DataSpec, source: str) -> None:
        """Raises ValueError for labels such as 1, 2, 3 beside a model of 0, 1, 2.

        Of a model with names `DataSpec.check_data` compares these; older runs did not record theirs.
        """
        if value_at(self.config, "spec.class_names") != []:
            return
        own = tuple(map(str, range(data.num_classes)))
        if data.class_names not in ((), own) and all(map(str.isdecimal, data.class_names)):
            found = f"{listed(data.class_names)}; number them alike"
            raise ValueError(
                f"{source}the model was trained for the labels {listed(own)}, but those of the data are {found}"
            )

    def summary(self) -> dict[str, Any]:
        """Returns name, seed and length of the training; None for each that an unfinished or foreign run lacks."""
        return {
            "name": self.config.get("name"),
            "seed": self.config.get("seed"),
            "epochs": value_at(self.config, "trainer.max_epochs"),
            "training_seconds": record_of(self.folder / METRICS).get("training_seconds"),
        }

    def spec(self, packages: Sequence[str] = ()) -> DataSpec:
        """Returns what the model was built for, from the config or, in older runs, from the data."""
        return self.recorded_spec() or self.data(packages).spec

    def recorded_spec(self) -> DataSpec | None:
        """Returns the spec in the config; None for an older run, whose config has none."""
        if "spec" not in self.config:
            return None
        with self._naming_the_config():
            return DataSpec.from_plain(self.config["spec"])

    @contextmanager
    def _naming_the_config(self) -> Iterator[None]:
        """Context manager that reports in one line whatever a constructor raises for a wrong config."""
        try:
            yield
        except RunError:
            raise
        except Exception as error:
            raise RunError(f"{self.folder / CONFIG}: {one_line(error, 300)}") from error


def find_run(path: str | Path, key: str = "run") -> SavedRun:
    """Returns a run by its folder, or by one of its checkpoints.

    Args:
        key: key of the command line that names it, for messages.

    Raises:
        RunError: if there is no run, no checkpoint or no readable config; it names the path.
    """
    folder, checkpoint = find_checkpoint(path, key)
    return SavedRun(folder, checkpoint, _config(folder / CONFIG))


def find_checkpoint(path: str | Path, key: str = "run") -> tuple[Path, Path]:
    """Returns folder and checkpoint of a run, after a look at its config.yaml; arguments and errors as `find_run`."""
    path = Path(path).expanduser()
    if not os.path.lexists(path):
        raise RunError(f"{key}={path}: no such file or folder")
    if path.is_dir() and path.parent.name != CHECKPOINTS:
        if not is_run(path):
            raise RunError(f"{key}={path}: {why_no_run(path, key)}")
        folder, checkpoint = path, _tested(path, key)
    else:
        folder, checkpoint = path.parent if path.name == WEIGHTS else path.parent.parent, path
        if path.name == CONFIG:
            raise RunError(f"{key}={path}: {why_no_run(path, key)}")
        if not is_run(folder):
            raise RunError(
                f"{key}={path}: no {CONFIG} in {folder}; a checkpoint lies in the folder {CHECKPOINTS} of its run"
            )
    _check_is_file(path, checkpoint, key)
    return folder, checkpoint


def _tested(run: Path, key: str) -> Path:
    """Returns the checkpoint of a run that is tested: the best, or the last; or the weights of an exported run.

    Where the one is missing the other is taken. A broken one is not passed over.
    """
    names = (LAST, BEST) if _tests_the_last(run) else (BEST, LAST)
    for checkpoint in (*(run / CHECKPOINTS / name for name in names), run / WEIGHTS):
        if os.path.lexists(checkpoint):
            return checkpoint
    raise RunError(f"{key}={run}: no checkpoint in {run / CHECKPOINTS}; nothing was trained, or nothing saved")


def _tests_the_last(run: Path) -> bool:
    try:
        return bool(value_at(read_yaml(run / CONFIG), "test_checkpoint") == "last")
    except (OSError, ValueError):  # whoever reads more of it says what is wrong
        return False


def _check_is_file(path: Path, checkpoint: Path, key: str) -> None:
    """Raises RunError for a checkpoint that is a folder, a pipe or a link to nothing: reading it might never end."""
    if problem := why_not_a_file(checkpoint):
        others = [other for name in (BEST, LAST) if (other := checkpoint.with_name(name)).is_file()]
        remedy = f"; {key}={others[0]} takes other weights" if others else ""
        raise RunError(f"{key}={path}: {checkpoint.name} {problem}, not a checkpoint{remedy}")


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = read_yaml(path)
    except ValueError as error:
        raise RunError(str(error)) from error
    if not isinstance(config, dict) or not {"model", "data"} <= set(config):
        raise RunError(f"{path}: not the config of a run; model and data are missing")
    return config


def load_run(
    path: str | Path,
    packages: Sequence[str] = (),
    device: torch.device | str = "cpu",
    weights: Weights = "average",
) -> Run:
    """Returns a trained run, ready to use.

    Nothing in the run is executed: weights are read as bare tensors, and the model is rebuilt only from classes of
    vae_lab and torch.nn, or of ``packages``.

    Args:
        path: run folder, whose tested weights are taken (the best by val/elbo, or with test_checkpoint=last the last),
            or a checkpoint in it; or an exported run, such as a folder that was downloaded from the Hugging Face Hub.
        packages: further packages whose classes the run's config may name.
        device: device that the model is moved to.
        weights: average, or raw for the weights of the last step, of a run that averages its weights; any other run
            has one set of weights, and either gives it.

    Raises:
        RunError, TypeError, ValueError: in one line, for a missing, broken or foreign run, or arguments of other kinds.

    A run of some seconds, then what it has learned:

    >>> import subprocess, sys, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> words = ["model=cvae", "debug=fast", "trainer=cpu", f"hydra.run.dir={folder}"]
    >>> done = subprocess.run([sys.executable, "-m", "vae_lab.train", *words], capture_output=True)
    >>> import numpy as np, vae_lab
    >>> run = vae_lab.load_run(folder)
    >>> run  # doctest: +ELLIPSIS
    Run(conditional VAE on mnist (1 x 28 x 28, 10 classes), test ELBO -... nats per example, folder ...)
    >>> x, y = np.random.default_rng(0).integers(0, 2, (4, 28, 28)), [3, 1, 4, 1]
    >>> run.encode(x, y)[0].mean.shape  # of the first level, nearest the data
    (4, 10)
    >>> run.sample(4, y="3").shape
    (4, 1, 28, 28)
    >>> run.reconstruct(x, y).shape
    (4, 1, 28, 28)
    >>> run.log_prob(x, y, num_samples=50).shape  # nats per example
    (4,)
    >>> run.model.spec  # doctest: +ELLIPSIS
    DataSpec(shape=(1, 28, 28), num_classes=10, support='binary', class_names=('0', '1', ..., '9'), ...)
    """
    # Here and not above: a report reads checkpoints, but builds no model.
    from vae_lab.runs.own_units import check_device  # noqa: PLC0415
    from vae_lab.runs.run import Run  # noqa: PLC0415

    if not isinstance(path, str | os.PathLike) or not str(path):
        raise TypeError(f"run={path!r}: must be the path of a run folder or of a checkpoint")
    check_device(device)
    names = package_names(packages)
    check_weights(weights)
    saved = find_run(path)
    with usual_defaults():
        model = saved.model(names, device, weights)
    return Run(model, saved.config, saved.folder, tested=saved.is_tested(weights))
