"""Gives pictures and settings to the loggers of a run, and says where one looks at them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from vae_lab.runs.folder import save_ids
from vae_lab.runs.reading import recorded_ids
from vae_lab.training.logs.csv_logger import CsvLogger
from vae_lab.training.trainer_parts import is_trial

_SERVERS = (MLFlowLogger, WandbLogger)


def set_loggers(trainer: Trainer, loggers: Sequence[Logger]) -> None:
    """Gives a Trainer its loggers; a trial, which records nothing, gets none that writes."""
    trainer.loggers = [DummyLogger()] if loggers and is_trial(trainer) else list(loggers)


def publish_image(logger: Logger, tag: str, image: Tensor, step: int) -> None:
    """Gives a picture to a logger; one that takes no pictures is left as it is.

    Args:
        logger: one of Lightning's loggers.
        tag: name of the picture, such as ``samples``.
        image: picture in [0, 1], (1 or 3, height, width).
        step: optimizer step.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(tag, image, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image(tag, [to_pil_image(image.clamp(0, 1).cpu())], step)
    elif isinstance(logger, MLFlowLogger):
        # Not with `key` and `step`: MLflow would write the whole list of pictures again for each.
        name = f"figures/{tag.replace('/', '_')}/{step:08d}.png"
        logger.experiment.log_image(cast(str, logger.run_id), to_pil_image(image.clamp(0, 1).cpu()), artifact_file=name)


def flush(trainer: Trainer) -> None:
    """Writes what the loggers of files hold back, before a checkpoint counts it."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
        elif isinstance(logger, CsvLogger):
            logger.save()


def record_beginning(trainer: Trainer, run: Path, settings: Mapping[str, Any]) -> None:
    """Gives the settings to each tracking server that records the run for the first time, and notes the run's id there.

    TensorBoard takes the settings with the final metrics.
    """
    known = recorded_ids(run)
    servers = {type(logger).__name__: logger for logger in trainer.loggers if isinstance(logger, _SERVERS)}
    for name, logger in servers.items():
        if known.get(name) != logger.version:
            logger.log_hyperparams(dict(settings))
    if servers:
        save_ids(run, known | {name: str(logger.version) for name, logger in servers.items()})


def close(trainer: Trainer) -> None:
    """Ends the W&B run of this process, with which the next job of a sweep would go on."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero:
            logger.experiment.finish()


def what_it_records(logger: Logger) -> str:
    """Returns the name of a logger or its file, for the start of a run; empty for one that keeps nothing."""
    if isinstance(logger, CsvLogger):
        return logger.path.name
    names = {TensorBoardLogger: "TensorBoard", MLFlowLogger: "MLflow", WandbLogger: "W&B"}
    known = next((name for kind, name in names.items() if isinstance(logger, kind)), None)
    if known:
        return f"{known} (with settings and result)"
    return "" if isinstance(logger, DummyLogger) else type(logger).__name__


def where_to_look(logger: Logger, outputs: Path) -> str:
    """Returns the command, the address or the file by which one sees what a logger has recorded; empty if unknown.

    Args:
        logger: one of Lightning's loggers.
        outputs: folder of all runs.
    """
    if isinstance(logger, TensorBoardLogger):
        return f"tensorboard --logdir {shlex.quote(str(outputs))}"
    if isinstance(logger, CsvLogger):
        return str(logger.path)
    if isinstance(logger, MLFlowLogger):
        return f"mlflow ui --backend-store-uri {shlex.quote(logger.experiment.tracking_uri)}"
    if isinstance(logger, WandbLogger):
        run = logger.experiment
        return f"wandb sync {shlex.quote(str(Path(run.dir).parent))}" if run.offline else str(run.url)
    return ""
