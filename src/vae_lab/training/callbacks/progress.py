"""Progress of a training, with the time that the whole run still takes: bars, or lines where no terminal shows them."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from vae_lab.runs.sweep_folder import is_sweep

_SECONDS_BETWEEN_LINES = 30.0


class _TimeLeft(ProgressBar):
    """Adds ``left`` to the metrics shown: the time until the last step of the run.

    It is extrapolated from the steps of this process since the first pass, validations included. That pass takes far
    longer than others, because the model is compiled and the first pictures are drawn.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._started: tuple[int, float] | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._started = self._started or (trainer.global_step, time.monotonic())
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        items = dict(super().get_metrics(trainer, pl_module))
        items.pop("v_num", None)
        step, start = self._started or (trainer.global_step, 0.0)
        done, total = trainer.global_step - step, trainer.estimated_stepping_batches
        if done and math.isfinite(total):
            items["left"] = _readable((time.monotonic() - start) / done * max(0.0, total - trainer.global_step))
        return items


class Progress(_TimeLeft, TQDMProgressBar):
    """Lightning's bar of an epoch, with the time left of the whole run."""

    pass_safe = True


class NotebookBar(Progress):
    """`Progress` of one line: notebooks cannot show the bars of validation and test within that of the epoch."""

    def init_validation_tqdm(self) -> Any:
        return Tqdm(disable=True)

    def init_test_tqdm(self) -> Any:
        return Tqdm(disable=True)


class ProgressLines(_TimeLeft):
    """Prints a whole line every half a minute, for a file, a pipe or the log of a cluster, which cannot redraw bars."""

    pass_safe = True

    def __init__(self) -> None:
        super().__init__()
        self._printed = time.monotonic()
        self._enabled = True

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._is_due():
            epochs, steps = trainer.max_epochs, trainer.estimated_stepping_batches
            epoch = f"epoch {trainer.current_epoch + 1}{_of(math.inf if epochs in (None, -1) else epochs)}"
            metrics = [
                f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
                for name, value in self.get_metrics(trainer, pl_module).items()
            ]
            _print_line(trainer, ", ".join([epoch, f"step {trainer.global_step}{_of(steps)}", *metrics]))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._count(trainer, "validation", args[2], trainer.num_val_batches[0])

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._count(trainer, "test", args[2], trainer.num_test_batches[0])

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._count(trainer, "batches", args[2], trainer.num_predict_batches[0])

    def _count(self, trainer: Trainer, what: str, index: int, total: float) -> None:
        """Prints how many batches are done of those that are only looked at."""
        if index == 0:
            self._first = time.monotonic()
        if self._is_due():
            seconds = (time.monotonic() - self._first) / max(index, 1)
            left = f", left {_readable(seconds * (total - index - 1))}" if index and math.isfinite(total) else ""
            _print_line(trainer, f"{what}, batch {index + 1}{_of(total)}{left}")

    def _is_due(self) -> bool:
        """True once half a minute has passed since the line before, in the process that prints."""
        now = time.monotonic()
        due = self._enabled and now - self._printed >= _SECONDS_BETWEEN_LINES
        self._printed = now if due else self._printed
        return due


def with_usual_progress(callbacks: Sequence[Callback]) -> list[Callback]:
    """Returns the callbacks, with lines in place of a bar of the usual kind where standard output is not a terminal.

    So, too, if there is no bar among them: Lightning would add one of its own.
    """
    if getattr(sys.stdout, "isatty", lambda: False)():
        return list(callbacks)
    shown = [ProgressLines() if type(each) is Progress and each.is_enabled else each for each in callbacks]
    return shown if any(isinstance(each, ProgressBar) for each in shown) else [*shown, ProgressLines()]


def _print_line(trainer: Trainer, line: str) -> None:
    """Prints a line, in a sweep after the name of the job, because several may print at once."""
    folder = Path(trainer.default_root_dir)
    print(f"{folder.name}: {line}" if is_sweep(folder.parent) else line, flush=True)


def _of(total: float | None) -> str:
    return "" if total is None or not math.isfinite(total) else f" of {total:.0f}"


def _readable(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
