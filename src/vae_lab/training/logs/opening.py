"""Delays what a run writes in its folder until it has started: a failed start leaves the folder as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from vae_lab.runs.folder import EVENTS, HPARAMS
from vae_lab.training.callbacks import LastCheckpoint
from vae_lab.training.lightning_loop import ends_within_epoch, position, skip_after_epoch
from vae_lab.training.trainer_parts import callbacks_of, first_callback

_EARLY_FILES = (EVENTS, HPARAMS)
"""Files that Lightning's logger creates before the run has started."""


class Opening(Callback):
    """Writes the beginning of a run once its first step is taken, or before its first checkpoint.

    It is the first callback. So it also has the run saved before others log anything of the step or the epoch that
    comes: a resumed run calls them again there. At the end of an epoch that is cut off (by max_steps or max_time) it
    has the run saved as it stands, before anything is averaged, drawn or counted.

    Args:
        run: path of the run folder.
        write: function that writes the beginning; it is called with the files of earlier attempts.
    """

    pass_safe = True

    def __init__(self, run: Path, write: Callable[[frozenset[Path]], None]) -> None:
        self.run = run
        self.write = write
        self._before = self._early_files()
        self._opened = False

    def open(self) -> None:
        """Writes the beginning, the first time that it is called."""
        if not self._opened:
            self._opened = True
            self.write(self._before)

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Context manager that removes what a failed start has left in the run folder."""
        try:
            yield
        except BaseException:
            if not self._opened:
                for path in self._early_files() - self._before:
                    path.unlink(missing_ok=True)
            raise

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if last := first_callback(trainer, LastCheckpoint):
            last.save_between_epochs(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if last := first_callback(trainer, LastCheckpoint):
            last.save_if_due(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.open()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.open()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not ends_within_epoch(trainer):
            return
        if trainer.should_stop:  # after a validation, which counts
            pl_module.keep_progress()  # type: ignore[operator]
            if trainer.is_global_zero:
                print(_points_of_a_part(trainer))
            return
        for callback in callbacks_of(trainer, Callback):
            if isinstance(callback, LastCheckpoint):
                callback.save_cut_epoch(trainer)
            # No validation has come: what these two monitor is absent, or that of the epoch before.
            elif isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor:
                skip_after_epoch(callback)

    def _early_files(self) -> frozenset[Path]:
        return frozenset(path for pattern in _EARLY_FILES for path in self.run.glob(pattern))


def _points_of_a_part(trainer: Trainer) -> str:
    """Returns a line about the points that a part of an epoch leaves in the curves."""
    done, planned = position(trainer)["batch"], trainer.num_training_batches
    return (
        f"ended within epoch {trainer.current_epoch}, after {done} of {planned} batches, and validated there; if the "
        "run goes on, the curves keep these points of train/elbo and val/* besides those of the whole epoch"
    )
