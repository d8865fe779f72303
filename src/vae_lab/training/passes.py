"""How many optimizer steps one pass through Lightning's training loop takes.

The loop's own bookkeeping costs a third of a millisecond for every pass, which is a tenth of a step of a small network.
So a pass takes several steps, but never beyond a point where somebody wants to look: at the logging interval, at a
refresh of the progress bar, at a checkpoint, at steps 1, 2, 4, 8, ... and at the end of the run. A callback or a
subclass of the module that defines a hook for each batch is called at each batch: passes then take one step.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import (
    Checkpoint,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
    Timer,
    TQDMProgressBar,
)
from pytorch_lightning.core.hooks import DataHooks, ModelHooks
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch.optim import Optimizer

from vae_lab.training.optimization import Optimization, clip_before_step, clip_gradient, parameters_of
from vae_lab.types import Batch

MAX_STEPS = 32
BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
CLIPPING_HOOKS = ("configure_gradient_clipping", "clip_gradients")
MODULE_HOOKS = (
    *BATCH_HOOKS,
    *CLIPPING_HOOKS,
    "optimizer_step",
    "optimizer_zero_grad",
    "lr_scheduler_step",
    "backward",
    "manual_backward",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)
PASS_SAFE = (Callback, Checkpoint, ModelCheckpoint, ProgressBar, RichProgressBar, TQDMProgressBar, Timer)
"""Classes of Lightning whose own hooks need to look only where a pass ends; ours say ``pass_safe = True``."""

NO_HOOKS = (LightningModule, ModelHooks, DataHooks)
"""Classes of Lightning whose hooks do nothing but what we do for them."""


def steps_in_pass(trainer: Trainer, batch_index: int) -> int:
    """The number of optimizer steps until somebody may want to look, from 1 to `MAX_STEPS`.

    Args:
        trainer: of the run; nobody in it wants to see each batch.
        batch_index: of the next batch in its epoch.
    """
    return max(1, min(MAX_STEPS, *_distances(trainer, batch_index)))


def count_pass(trainer: Trainer, steps: int, batches: int) -> None:
    """Adds to Lightning's counters, which count one batch and one step for each pass, the others of a pass."""
    loop = trainer.fit_loop.epoch_loop
    loop.batch_progress.increment_by(batches - 1)
    loop._batches_that_stepped += steps - 1


def count_step(trainer: Trainer) -> None:
    """Counts an optimizer step that Lightning has not seen."""
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def can_bypass_lightning(trainer: Trainer) -> bool:
    """Whether PyTorch may be called directly for the gradient and the step of the optimizer.

    So it may on one device, without a gradient scaler or a profiler, where nobody wants to see each batch: Lightning's
    own way would then do the same, after asking every callback.
    """
    return (
        isinstance(trainer.strategy, SingleDeviceStrategy)
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
    )


def batch_watchers(trainer: Trainer, module: LightningModule) -> list[Callback | LightningModule]:
    """The callbacks that want to see each batch, and the module where a subclass of it does."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    watchers: list[Any] = [callback for callback in callbacks if _watches(callback, BATCH_HOOKS)]
    return [*watchers, module] if _watches(module, MODULE_HOOKS) else watchers


def check_subclass(module: LightningModule) -> None:
    """Raises TypeError for a subclass of the module whose own methods would leave the training without its steps."""
    if "dataloader_iter" not in inspect.signature(module.training_step).parameters:
        raise TypeError(
            "training_step: the module takes several optimizer steps a call, from the argument dataloader_iter; "
            "override hooks such as on_train_batch_end instead, and write another loss as an Objective"
        )
    if not hasattr(module, "_options"):
        raise TypeError(
            "configure_optimizers: a subclass must call super().configure_optimizers(); "
            "the optimizer and its schedule are given as Optimization(optimizer, scheduler)"
        )


def clip_steps(module: Any, optimizer: Optimizer, optimization: Optimization) -> None:
    """Clips the gradient at each step of the optimizer: as asked for, or as a subclass of the module does it."""
    limit, algorithm = optimization.gradient_clip_val, optimization.gradient_clip_algorithm
    if _watches(module, CLIPPING_HOOKS):
        clip_before_step(optimizer, lambda: module.configure_gradient_clipping(optimizer, limit, algorithm))
    elif limit:
        clip_before_step(optimizer, lambda: clip_gradient(parameters_of(optimizer), optimization))


def to_device(module: LightningModule, batch: Batch, direct: bool) -> Batch:
    """Returns the batch as the hooks of the data module, or those of the module, make it for the device.

    Args:
        module: module in training.
        batch: batch as it was loaded.
        direct: True to ask the data module alone, without Lightning.
    """
    data: Any = module.trainer.datamodule  # type: ignore[attr-defined]
    if direct and data is not None:
        batch = data.on_before_batch_transfer(batch, 0)
        moved: Batch = data.transfer_batch_to_device(batch, module.device, 0)
        return data.on_after_batch_transfer(moved, 0)  # type: ignore[no-any-return]
    batch = module._on_before_batch_transfer(batch)
    return module.trainer.strategy.batch_to_device(batch)  # type: ignore[no-any-return]


def call_hook(watchers: Iterable[Callback | LightningModule], module: LightningModule, hook: str, *args: Any) -> None:
    """Calls a hook as Lightning does: callbacks get the trainer and the module, too."""
    for watcher in watchers:
        first = () if watcher is module else (module.trainer, module)
        getattr(watcher, hook)(*first, *args)


def show_batch(
    watchers: Iterable[Callback | LightningModule],
    module: LightningModule,
    dataloader_iter: Any,
    index: int,
    before: Any,
    batch: Any,
) -> None:
    """Calls the hooks between two batches that are accumulated for one step; Lightning calls those around the step.

    Args:
        watchers, module: as in `batch_watchers`.
        dataloader_iter: of Lightning, which shows its batch to the hooks at the end of the step.
        index: of the batch in its epoch.
        before, batch: on the device of the training; None before the first of a step.
    """
    if before is not None:
        call_hook(watchers, module, "on_train_batch_end", None, before, index - 1)
        call_hook(watchers, module, "on_train_batch_start", batch, index)
    dataloader_iter.data_fetcher._batch = batch


def _watches(observer: Callback | LightningModule, hooks: Sequence[str]) -> bool:
    return any(not _is_pass_safe(observer, hook) for hook in hooks)


def _is_pass_safe(observer: Callback | LightningModule, hook: str) -> bool:
    """Whether the class that defines the hook says so: not its subclasses, nor a function assigned to the instance."""
    if hook in vars(observer):
        return False
    owner = next((cls for cls in type(observer).__mro__ if hook in vars(cls)), None)
    return owner is None or owner in (*PASS_SAFE, *NO_HOOKS) or bool(vars(owner).get("pass_safe"))


def _distances(trainer: Trainer, batch_index: int) -> Iterator[int]:
    step = trainer.global_step
    if trainer.val_check_interval != 1.0:
        yield 1
    yield (1 << step.bit_length()) - step  # to the next power of two
    if trainer.max_steps != -1:
        yield trainer.max_steps - step
    for interval in (trainer.log_every_n_steps, *map(_checkpoint_interval, trainer.callbacks)):  # type: ignore[attr-defined]
        if interval:
            yield interval - step % interval
    if refresh := getattr(trainer.progress_bar_callback, "refresh_rate", 0):
        yield refresh - batch_index % refresh


def _checkpoint_interval(callback: Callback) -> int:
    return callback._every_n_train_steps if isinstance(callback, ModelCheckpoint) else 0
