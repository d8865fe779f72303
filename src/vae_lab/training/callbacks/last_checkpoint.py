"""Writes last.ckpt, from which a stopped run goes on."""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from vae_lab.runs.checkpoints import read_checkpoint
from vae_lab.runs.folder import LAST
from vae_lab.training.logs import curves
from vae_lab.training.logs.loggers import flush
from vae_lab.training.resume import interrupts


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt`` after each epoch, every few minutes, and when a signal asks the run to stop.

    A run that is stopped by a signal loses nothing; one that is killed loses the work since the last checkpoint.

    Args:
        dirpath: folder of checkpoints in the run folder.
        every_minutes: minutes from one checkpoint to the next within an epoch; 0: only after epochs.

    Raises:
        ValueError: for a negative number of minutes.
    """

    pass_safe = True

    def __init__(self, dirpath: str, every_minutes: float = 5.0) -> None:
        if every_minutes < 0:
            raise ValueError(f"checkpoint.every_minutes={every_minutes}: must be 0 (only after epochs) or more")
        self.path = Path(dirpath) / LAST
        self._cut = self.path.with_name(f".{LAST}.cut.part")
        self.every_minutes = every_minutes
        self._started = self._saved_at = time.monotonic()
        self._seconds = 0.0  # of training before this process
        self._saved_within_epoch = False

    @property
    def seconds(self) -> float:
        """Seconds of training, in this process and in those that it goes on from."""
        return self._seconds + time.monotonic() - self._started

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        interrupts.listen()  # again, after Lightning has set handlers of its own that would not save
        self._started = self._saved_at = time.monotonic()
        self._first_epoch = trainer.current_epoch

    def save_if_due(self, trainer: Trainer) -> None:
        """Saves before a pass of steps, and not after one: Lightning writes its curves after the hooks at its end."""
        due = 0 < self.every_minutes * 60 <= time.monotonic() - self._saved_at
        if self._any(trainer, due or interrupts.received() is not None):
            self._save(trainer)
            self._stop_if_asked(trainer)

    def save_between_epochs(self, trainer: Trainer) -> None:
        """Saves before an epoch, for the same reason."""
        if trainer.current_epoch > self._first_epoch:
            self._save(trainer)
        self._stop_if_asked(trainer)

    def save_cut_epoch(self, trainer: Trainer) -> None:
        """Saves a run that ends within an epoch as it stands there, so that a longer one goes on with the epoch.

        It becomes last.ckpt once the run has ended: one that is killed before goes on from an earlier checkpoint, and
        draws its last pictures again.
        """
        trainer.save_checkpoint(self._cut, weights_only=False)
        self._saved_within_epoch = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved_within_epoch:
            self._end_cut_epoch(trainer)
        else:
            self._save(trainer)
        self._stop_if_asked(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        interrupts.listen()  # again, after Lightning has set a handler of its own, which would let the test go on

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._stop_if_asked(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "test":
            interrupts.restore_handlers()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.is_global_zero:
            flush(trainer)
        # Without a logger too: an earlier part of the run may have had one.
        checkpoint["curves"] = curves.sizes(self.path.parent.parent) if trainer.is_global_zero else {}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds = state_dict.get("seconds", 0.0)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_at = time.monotonic()

    def _end_cut_epoch(self, trainer: Trainer) -> None:
        """Makes last.ckpt of what `save_cut_epoch` saved, with the sizes of the curves at the end as well."""
        if trainer.is_global_zero:
            flush(trainer)
            ended = {"ended_curves": curves.sizes(self.path.parent.parent)}
            trainer.strategy.checkpoint_io.save_checkpoint(read_checkpoint(self._cut) | ended, self.path)
            self._cut.unlink()
        trainer.strategy.barrier()

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if not self._any(trainer, interrupts.received() is not None):
            return
        number = interrupts.received() or signal.SIGTERM  # another process was asked
        if trainer.is_global_zero:
            name = signal.Signals(number).name
            print(f"\nstopped by {name} after step {trainer.global_step}; {how_to_resume(self.path.parent.parent)}")
        interrupts.exit_for_signal(number)

    @staticmethod
    def _any(trainer: Trainer, own: bool) -> bool:
        """True if it is true in one of the processes, so that all do the same."""
        return trainer.strategy.reduce_boolean_decision(own, all=False)


def how_to_resume(run: Path) -> str:
    """Returns the command with which a stopped run goes on, for the user."""
    return f"go on with: python -m vae_lab.train {shlex.quote(f'resume={run}')}"
