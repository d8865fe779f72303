"""Reads and sets Lightning's training loop: no other file uses Lightning's insides.

The insides that this file uses; tests/training/test_insides.py fails if a version of Lightning moves one of them:

* ``dataloader_iter``: ``done``, ``fetched`` and ``data_fetcher._batch``, the batch that hooks are called with;
* ``trainer.fit_loop``: ``setup_data()``, and the counters of epochs, ``epoch_progress``;
* ``trainer.fit_loop.epoch_loop``: the counters of batches, ``batch_progress``, those of optimizer steps,
  ``manual_optimization.optim_step_progress``, and ``_batches_that_stepped``, the x-axis of the curves;
* ``LightningModule._on_before_batch_transfer()``, which calls the hook of the data module or of the module;
* ``ModelCheckpoint._every_n_train_steps``, ``._save_on_train_epoch_end``, ``EarlyStopping._check_on_train_epoch_end``;
* ``_MultiProcessingLauncher``, the launcher of processes that are forked or spawned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher

from vae_lab.training.trainer_parts import callbacks_of, log_interval


def exhausted(dataloader_iter: Any) -> bool:
    """True if the epoch has no batch left."""
    return bool(dataloader_iter.done)


def next_index(dataloader_iter: Any) -> int:
    """Returns the index in its epoch of the batch that comes next."""
    return int(dataloader_iter.fetched)


def show_batch(dataloader_iter: Any, batch: Any) -> None:
    """Has the hooks for each batch see this one."""
    dataloader_iter.data_fetcher._batch = batch


def to_device(module: LightningModule, batch: Any) -> Any:
    """Returns a batch as the hooks of the data module, or those of the module, make it for the device."""
    return module.trainer.strategy.batch_to_device(module._on_before_batch_transfer(batch))


def count_pass(trainer: Trainer, batches: int, steps: int) -> None:
    """Counts the batches and optimizer steps of a pass, of which Lightning counts one each."""
    count_batches(trainer, batches - 1)
    trainer.fit_loop.epoch_loop._batches_that_stepped += steps - 1


def logged_step(trainer: Trainer) -> int:
    """Returns the step at which Lightning draws the next point of a curve, one less than the steps taken."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def count_step(trainer: Trainer) -> None:
    """Counts an optimizer step that Lightning has not seen."""
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def steps_in_pass(trainer: Trainer, batch_index: int, limit: int) -> int:
    """Returns the number of optimizer steps until something may be logged, saved or drawn, from 1 to ``limit``.

    The next batch is the one at ``batch_index`` in its epoch.
    """
    return max(1, min(limit, *_steps_to_events(trainer, batch_index)))


def _steps_to_events(trainer: Trainer, batch_index: int) -> Iterator[int]:
    step = trainer.global_step
    if trainer.val_check_interval != 1.0:
        yield 1
    yield (1 << step.bit_length()) - step  # to the next power of two
    if trainer.max_steps != -1:
        yield trainer.max_steps - step
    savers = callbacks_of(trainer, ModelCheckpoint)
    for interval in (log_interval(trainer), *(saver._every_n_train_steps for saver in savers)):
        if interval:
            yield interval - step % interval
    if refresh := getattr(trainer.progress_bar_callback, "refresh_rate", 0):
        yield refresh - batch_index % refresh


def total_steps(trainer: Any, accumulate_grad_batches: int) -> float:
    """Returns the number of optimizer steps in a whole run; infinity if nothing limits it."""
    limits = [trainer.max_steps] if trainer.max_steps != -1 else []
    if trainer.max_epochs not in (None, -1):
        trainer.fit_loop.setup_data()  # counts the batches
        if trainer.num_training_batches != math.inf:  # as those of a stream, which has no length
            limits.append(math.ceil(trainer.num_training_batches / accumulate_grad_batches) * trainer.max_epochs)
    return min(limits, default=math.inf)


def position(trainer: Trainer) -> dict[str, int]:
    """Returns the counters of a run between two passes, as they are in the ``progress`` of a checkpoint."""
    epochs: Any = trainer.fit_loop.epoch_progress.current  # Lightning types its counters as less than they are
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress
    cut = ends_within_epoch(trainer)
    batch = batches.current.processed if cut or epochs.started > epochs.processed else 0
    return {
        "epoch": epochs.processed - cut,
        "batch": batch,
        "batches": batches.total.processed - batch,
        "step": trainer.global_step,
        "logged_step": logged_step(trainer),
    }


def ends_within_epoch(trainer: Trainer) -> bool:
    """True at the end of an epoch that max_steps or max_time has cut off before its last batch."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    ready = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    whole = trainer.is_last_batch or ready >= trainer.num_training_batches
    return epochs.started == epochs.processed and ready > 0 and not whole


def restore_position(trainer: Trainer, progress: Mapping[str, Any]) -> None:
    """Sets Lightning's counters to those of a checkpoint, up to the beginning of an unfinished epoch."""
    epochs, epoch_loop = trainer.fit_loop.epoch_progress, trainer.fit_loop.epoch_loop
    counters: list[tuple[Any, int]] = [(epochs.total, progress["epoch"]), (epochs.current, progress["epoch"])]
    counters.append((epoch_loop.batch_progress.total, progress["batches"]))
    for counter, number in counters:
        counter.ready = counter.started = counter.processed = counter.completed = number
    steps = epoch_loop.manual_optimization.optim_step_progress.total
    steps.ready = steps.completed = progress["step"]
    epoch_loop._batches_that_stepped = progress["logged_step"]


def count_cut_epoch(trainer: Trainer, progress: Mapping[str, Any]) -> None:
    """Counts the unfinished epoch of a checkpoint from which nothing is trained, as the run that ended there did."""
    if progress["batch"]:
        trainer.fit_loop.epoch_progress.current.completed += 1


def count_batches(trainer: Trainer, number: int) -> None:
    """Adds batches to those that Lightning has counted in this epoch."""
    trainer.fit_loop.epoch_loop.batch_progress.increment_by(number)


def skip_after_epoch(callback: EarlyStopping | ModelCheckpoint) -> None:
    """Has a callback that monitors a validation not look at the end of a training epoch."""
    if isinstance(callback, EarlyStopping):
        callback._check_on_train_epoch_end = False
    else:
        callback._save_on_train_epoch_end = False


def starts_processes(trainer: Trainer) -> bool:
    """True if the Trainer would fork or spawn processes from this one."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)
