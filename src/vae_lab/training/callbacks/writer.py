"""The TensorBoard writer of a run."""

from __future__ import annotations

import threading

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter


def tensorboard_writer(trainer: Trainer) -> SummaryWriter | None:
    """The writer of the first TensorBoard logger; None without one."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def report_thread_error(error: threading.ExceptHookArgs) -> None:
    """For `threading.excepthook`: errors of threads but for the writer's, which the next call to it raises again."""
    if not type(error.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(error)
