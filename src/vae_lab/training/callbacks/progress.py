"""The progress bars of a training, with the time that the whole run still takes."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm


class Progress(TQDMProgressBar):
    """Lightning's bar of an epoch, which also shows ``left``: the time until the last step of the run.

    It is extrapolated from the steps of this process so far, validations and pictures included.
    """

    pass_safe = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._started = (trainer.global_step, time.monotonic())

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        items = dict(super().get_metrics(trainer, pl_module))
        items.pop("v_num", None)
        done, seconds = trainer.global_step - self._started[0], time.monotonic() - self._started[1]
        total = trainer.estimated_stepping_batches
        if done and math.isfinite(total):
            left = seconds / done * max(0.0, total - trainer.global_step)
            items["left"] = str(timedelta(seconds=round(left)))
        return items


class NotebookBar(Progress):
    """`Progress` of one line: notebooks cannot show the bars of validation and test within that of the epoch."""

    def init_validation_tqdm(self) -> Any:
        return Tqdm(disable=True)

    def init_test_tqdm(self) -> Any:
        return Tqdm(disable=True)
