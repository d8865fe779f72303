"""Finds the TensorBoard writer of a run, and adds the final metrics to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries


def tensorboard_writer(trainer: Trainer) -> SummaryWriter | None:
    """Returns the writer of the first TensorBoard logger; None without one."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def log_hparams(trainer: Trainer, hparams: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Adds the run's row to TensorBoard's HPARAMS tab: its settings with its final metrics."""
    plain = {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in hparams.items()
    }
    writer = tensorboard_writer(trainer)
    if writer is not None:
        # The writer's own `add_hparams` would add each metric to its curve a second time.
        for part in hparams_summaries(plain, dict(metrics)):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(part)  # type: ignore[no-untyped-call]
        writer.close()
