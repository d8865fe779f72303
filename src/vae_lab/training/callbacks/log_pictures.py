"""Pictures of the model while it trains, in the loggers and as PNG files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.errors import RunError
from vae_lab.pictures import Album, save_picture
from vae_lab.pictures.album import Picture
from vae_lab.pictures.columns import check_columns
from vae_lab.runs.folder import FIGURES
from vae_lab.training.averaging import shown_weights
from vae_lab.training.logs.loggers import publish_image
from vae_lab.training.trainer_parts import datamodule_of
from vae_lab.types import DataSpec


def model_of(module: LightningModule) -> LatentVariableModel:
    model = module.model
    assert isinstance(model, LatentVariableModel)
    return model


def data_of(trainer: Trainer, callback: Callback) -> Any:
    """Returns the data module of a run.

    Raises:
        RunError: for a loader, or a data module of another kind, of which nothing can be drawn.
    """
    data = datamodule_of(trainer)
    if not (hasattr(data, "spec") and hasattr(data, "examples")):
        name = type(callback).__name__
        raise RunError(f"callbacks: {name} draws the examples of a data module with spec and examples; leave it out")
    return data


class Pictures(Callback):
    """Draws fixed noise and fixed test examples repeatedly, so that one sees the model learn.

    Samples and reconstructions at steps 1, 2, 4, 8, ... of the first epoch; every picture that suits the model
    (`vae_lab.pictures.Album`) each few epochs and at the end. They go to the loggers, and the last of each to
    ``figures/`` in the run's folder.

    The module trained has a ``model``; its data module has ``spec`` and ``examples(num, split)``.

    Args:
        every_n_epochs: epochs from one drawing of all pictures to the next; 0: only at the end.
        early_steps: draw at steps 1, 2, 4, ... of the first epoch.
        num_samples: samples drawn from the prior, or a few more for whole rows.
        num_examples: test examples that are encoded, for the scatter of codes and the order of latent dimensions.
        num_reconstructions: examples that are shown beside their reconstructions.
        num_interpolations: pairs of examples that are shown with images between.
        max_classes: largest number of classes that are drawn of a conditional model; the first ones.
        temperature: temperature of the samples; see `LatentVariableModel.generate`.
        seed: seed of the noise.
        columns: names of the two columns of a table that scatters show; empty: those with most variance.

    Raises:
        ValueError: for a number outside its range.
    """

    pass_safe = True

    def __init__(
        self,
        every_n_epochs: int = 5,
        early_steps: bool = True,
        num_samples: int = 64,
        num_examples: int = 1000,
        num_reconstructions: int = 32,
        num_interpolations: int = 8,
        max_classes: int = 10,
        temperature: float = 1.0,
        seed: int = 0,
        columns: Sequence[str] = (),
    ) -> None:
        _check_least(0, every_n_epochs=every_n_epochs, temperature=temperature)
        _check_least(1, num_samples=num_samples, num_examples=num_examples, num_reconstructions=num_reconstructions)
        _check_least(1, num_interpolations=num_interpolations, max_classes=max_classes)
        self.every_n_epochs = every_n_epochs
        self.early_steps = early_steps
        self.num_examples = num_examples
        self.max_classes = max_classes
        self.settings: dict[str, Any] = {
            "num_samples": num_samples,
            "num_reconstructions": num_reconstructions,
            "num_interpolations": num_interpolations,
            "temperature": temperature,
            "seed": seed,
            "columns": tuple(columns),
        }
        self._album: Album | None = None
        self._next_early_step = 1
        self._drawn_at: dict[str, int] = {}
        self._warned = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._next_early_step = _power_of_two_after(trainer.global_step)
        self._drawn_at = {}
        if trainer.is_global_zero:
            data = data_of(trainer, self)
            classes = min(data.spec.num_classes, self.max_classes)
            self._album = Album(data.examples(self.num_examples, split="test"), classes, **self.settings)
            _check_album(self._album, data.spec)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.early_steps or trainer.current_epoch > 0:
            return
        # Not "is a power of two": with several optimizers the step advances by more than 1 a batch.
        if trainer.global_step >= self._next_early_step:
            self._next_early_step = _power_of_two_after(trainer.global_step)
            self._draw("quick", trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.every_n_epochs and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw("quick", trainer, pl_module)
            self._draw("others", trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw("quick", trainer, pl_module)
        self._draw("others", trainer, pl_module)
        self._album = None

    def _draw(self, which: Literal["quick", "others"], trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws a part of the album, once a step: the last batch, the epoch and the training may end together."""
        if self._drawn_at.get(which) == trainer.global_step:
            return
        self._drawn_at[which] = trainer.global_step
        model = model_of(pl_module)
        with shown_weights(trainer, pl_module, model):
            if self._album is not None:  # in the first process
                draw = self._album.quick if which == "quick" else self._album.others
                self._publish(trainer, draw(model))

    def _publish(self, trainer: Trainer, pictures: Iterable[Picture]) -> None:
        for tag, picture in pictures:
            for logger in trainer.loggers:
                publish_image(logger, tag, picture, trainer.global_step)
            self._save(picture, Path(trainer.default_root_dir) / FIGURES, tag)

    def _save(self, picture: Tensor, folder: Path, tag: str) -> None:
        """Saves a picture; a full disk never ends the training, and is warned of once."""
        try:
            save_picture(picture, folder, tag)
        except OSError as error:
            if not self._warned:
                warnings.warn(f"the picture {tag} cannot be written in {folder}: {error}", stacklevel=2)
            self._warned = True


def _check_album(album: Album, spec: DataSpec) -> None:
    """Refuses columns that do not exist, and says once if the data cannot be drawn."""
    check_columns(spec, album.columns)
    if not album.drawable:
        warnings.warn(f"data of shape {spec.shape} cannot be drawn: the pictures show codes alone", stacklevel=1)


def _power_of_two_after(step: int) -> int:
    """Returns the smallest of 1, 2, 4, 8, ... above ``step``."""
    return 1 << step.bit_length()


def _check_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name}={value}: must be {least} or more")
