"""Says at the start of a run where it is written, on which device, what is trained on what, and what is written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, Timer
from torch import Tensor

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.data.protocol import DataModule
from vae_lab.data.summary import summary
from vae_lab.objectives.base import blank_batch
from vae_lab.runs.folder import CONFIG, FIGURES, METRICS
from vae_lab.training.callbacks import LastCheckpoint, Pictures
from vae_lab.training.logs.loggers import what_it_records
from vae_lab.training.module import VariationalModule
from vae_lab.training.trainer_parts import callbacks_of, is_trial

_MUCH_FOR_A_CPU = 1e12
"""Bytes kept for the backward pass in all steps of a run that takes about half an hour of one core."""


def description(trainer: Trainer, module: VariationalModule, data: DataModule, run: Path, selects: bool) -> str:
    """Returns the lines at the start of a run.

    Args:
        trainer, module, data: Trainer, module and data of the run.
        run: path of the run folder.
        selects: True if the validation has a part in which weights are tested.
    """
    model = module.model
    size = sum(parameter.numel() for parameter in model.parameters())
    lines = [
        f"run folder   {run}",
        f"device       {_device(trainer)}",
        f"model        {'conditional ' if model.conditional else ''}{type(model).__name__}, {size:,} parameters",
    ]
    if example := activation_bytes(model, module.objective.num_samples):
        batch = example * data.batch_size / trainer.world_size
        lines[-1] += f"; a step keeps about {_readable(batch)} for the backward pass, {_readable(example)} per example"
        if _is_long_for_a_cpu(trainer, data, batch):
            lines[1] += "; a long run for a CPU, faster on a GPU: the first steps show the time left"
    own = sum(parameter.numel() for parameter in module.objective.parameters())
    if own:
        lines.append(f"objective    {own:,} parameters of its own, trained with those of the model")
    return "\n".join([*lines, summary(data, selects=selects), *_written(trainer)])


def _written(trainer: Any) -> list[str]:
    """Returns two lines that say what will lie in the run folder, and where the curves are recorded."""
    result, skipped = ([], ModelCheckpoint) if is_trial(trainer) else ([METRICS], ())
    kept = [each for each in callbacks_of(trainer, Checkpoint) if not isinstance(each, skipped)]
    named = [_checkpoint_of(callback) for callback in kept]
    checkpoints = f"checkpoints ({', '.join(named)})" if named else "no checkpoints: it cannot be resumed or opened"
    pictures = [_pictures_of(callback) for callback in callbacks_of(trainer, Pictures)]
    loggers = [name for logger in trainer.loggers if (name := what_it_records(logger))]
    return [
        f"writes       {', '.join([CONFIG, *result, *pictures, checkpoints])}",
        f"curves       {', '.join(loggers) or 'none, because there is no logger'}",
    ]


def _pictures_of(callback: Pictures) -> str:
    often = f"every {callback.every_n_epochs} epochs, " if callback.every_n_epochs else ""
    return f"pictures in {FIGURES}/ ({'in the first epoch, ' if callback.early_steps else ''}{often}at the end)"


def _checkpoint_of(callback: Checkpoint) -> str:
    if isinstance(callback, ModelCheckpoint):
        best = f" by {callback.monitor}" if callback.monitor else ""
        return f"{callback.filename or type(callback).__name__}{best}"
    return callback.path.stem if isinstance(callback, LastCheckpoint) else type(callback).__name__


def activation_bytes(model: LatentVariableModel, num_samples: int) -> float:
    """Returns the bytes per example that a pass keeps for the backward pass; 0 for a model without a spec.

    Args:
        model: any model; its mode and the random numbers stay as they are.
        num_samples: posterior samples per example.
    """
    if model.spec is None:
        return 0.0
    one, three = (_kept_bytes(model, num, num_samples) for num in (1, 3))
    return (three - one) / 2


def _kept_bytes(model: LatentVariableModel, num: int, num_samples: int) -> int:
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x, y = blank_batch(model, num)
    training = model.training
    try:
        with noise.fixed_seed(0, x.device), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model.eval()(x, y, num_samples, check=False).elbo.sum()  # holds what was kept until it is counted
    finally:
        model.train(training)
    del loss
    return sum(kept.values())


def _device(trainer: Trainer) -> str:
    device, threads = trainer.strategy.root_device, torch.get_num_threads()
    cpu = f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    processes = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
    return f"{name}, precision {trainer.precision}{processes}"


def _is_long_for_a_cpu(trainer: Any, data: DataModule, bytes_of_step: float) -> bool:
    """True if a GPU would save much of the time of a run that has an end."""
    if trainer.strategy.root_device.type != "cpu" or callbacks_of(trainer, Timer):
        return False
    limit, batches = trainer.limit_train_batches, data.size("train") / data.batch_size
    batches = min(limit, batches) if isinstance(limit, int) else limit * batches
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = min(epochs * batches, math.inf if trainer.max_steps == -1 else trainer.max_steps)
    return _MUCH_FOR_A_CPU < bytes_of_step * steps < math.inf


def _readable(size: float) -> str:
    """Returns a number of bytes as 13 kB, 1.6 MB or 2.4 GB."""
    unit, name = next(((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB")) if size >= unit), (1e3, "kB"))
    return f"{size / unit:.{1 if size < 10 * unit else 0}f} {name}"
