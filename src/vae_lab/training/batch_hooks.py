"""Finds who is called at each batch: every callback, or subclass of the module, that defines a hook for it.

A class that needs to be called only where a pass of several optimizer steps ends (`vae_lab.training.stepping`) says
``pass_safe = True``. That holds for the hooks which the class itself defines: not for those of its subclasses, nor for
functions assigned to an instance.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
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

from vae_lab.training.trainer_parts import callbacks_of

BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
INNER_HOOKS = BATCH_HOOKS[2:]
"""Those that are called within an optimizer step."""
_CLIPPING_HOOKS = ("configure_gradient_clipping", "clip_gradients")
MODULE_HOOKS = (
    *BATCH_HOOKS,
    *_CLIPPING_HOOKS,
    "optimizer_step",
    "optimizer_zero_grad",
    "lr_scheduler_step",
    "backward",
    "manual_backward",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
)
_NO_HOOKS = (Callback, LightningModule, ModelHooks, DataHooks)
"""Classes of Lightning whose hooks do nothing, or only what `vae_lab.training.stepping` does in their place."""

PASS_SAFE = (Checkpoint, ModelCheckpoint, ProgressBar, RichProgressBar, TQDMProgressBar, Timer)
"""Callbacks of Lightning that are pass-safe; those of the lab declare it themselves."""


def batch_observers(trainer: Trainer, module: LightningModule, every_callback: bool) -> list[Any]:
    """Returns the callbacks that are called at each batch, and the module if a subclass of it is.

    Args:
        trainer: Trainer of the run.
        module: module that is trained.
        every_callback: True to call the `PASS_SAFE` callbacks of Lightning at each batch, too.
    """
    safe = _NO_HOOKS if every_callback else (*_NO_HOOKS, *PASS_SAFE)
    observers: list[Any] = [each for each in callbacks_of(trainer, Callback) if defines(each, BATCH_HOOKS, safe)]
    return [*observers, module] if defines(module, MODULE_HOOKS, safe) else observers


def clips_itself(module: LightningModule) -> bool:
    """True if a subclass of the module clips gradients in its own way."""
    return defines(module, _CLIPPING_HOOKS, _NO_HOOKS)


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


def call_hook(observers: Iterable[Any], module: LightningModule, hook: str, *args: Any) -> None:
    """Calls a hook as Lightning does: callbacks get the Trainer and the module, too."""
    for observer in observers:
        first = () if observer is module else (module.trainer, module)
        getattr(observer, hook)(*first, *args)


def can_bypass_lightning(trainer: Trainer) -> bool:
    """True if PyTorch may be called directly for the gradient and the optimizer step.

    On one device, without a gradient scaler or a profiler, Lightning does the same after asking every callback.
    """
    return (
        isinstance(trainer.strategy, SingleDeviceStrategy)
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
    )


def call_hooks_between(observers: Iterable[Any], module: LightningModule, before: Any, batch: Any, index: int) -> None:
    """Calls the hooks between two batches that are accumulated for one step; Lightning calls those around the step.

    Args:
        observers, module: arguments of `batch_observers`.
        before, batch: the two batches, on the device of the training.
        index: index of the second batch in its epoch.
    """
    call_hook(observers, module, "on_train_batch_end", None, before, index - 1)
    call_hook(observers, module, "on_train_batch_start", batch, index)


def defines(observer: Any, hooks: Sequence[str], safe: Sequence[type] = _NO_HOOKS) -> bool:
    """True if a callback or module has one of the hooks, and not from a class that is ``safe``."""
    return any(not _is_safe(observer, hook, safe) for hook in hooks)


def _is_safe(observer: Any, hook: str, safe: Sequence[type]) -> bool:
    """True if the class that defines the hook says so."""
    if hook in vars(observer):
        return False
    owner = next((cls for cls in type(observer).__mro__ if hook in vars(cls)), None)
    return owner is None or owner in safe or bool(vars(owner).get("pass_safe"))
