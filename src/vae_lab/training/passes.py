"""How many optimizer steps one pass through Lightning's training loop takes.

The loop's own bookkeeping costs a third of a millisecond for every pass, which is a tenth of a step of a small network.
So a pass takes several steps, but never beyond a point where somebody wants to look: at the logging interval, at a
refresh of the progress bar, at a checkpoint, at steps 1, 2, 4, 8, ... and at the end of the run.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, ProgressBar, Timer
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

from vae_lab.training.callbacks import Pictures

MAX_STEPS = 32
BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
CONTENT_WITH_PASSES = (Checkpoint, Pictures, ProgressBar, Timer)
"""Callbacks that need to look only where a pass ends."""


def steps_in_pass(trainer: Trainer, batch_index: int) -> int:
    """The number of optimizer steps until somebody may want to look, from 1 to `MAX_STEPS`.

    Args:
        trainer: of the run.
        batch_index: of the next batch in its epoch.
    """
    return max(1, min(MAX_STEPS, *_distances(trainer, batch_index)))


def nobody_between(trainer: Trainer) -> bool:
    """Whether PyTorch may be called directly for the gradient and the step of the optimizer.

    So it may on one device, without a gradient scaler, a profiler or a callback that watches gradients: Lightning's own
    way would then do the same, after asking every callback.
    """
    return (
        isinstance(trainer.strategy, SingleDeviceStrategy)
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        and not any(map(_watches_batches, trainer.callbacks))  # type: ignore[attr-defined]
    )


def _distances(trainer: Trainer, batch_index: int) -> Iterator[int]:
    step = trainer.global_step
    if trainer.val_check_interval != 1.0 or any(map(_watches_batches, trainer.callbacks)):  # type: ignore[attr-defined]
        yield 1
    yield (1 << step.bit_length()) - step  # to the next power of two
    if trainer.max_steps != -1:
        yield trainer.max_steps - step
    for interval in (trainer.log_every_n_steps, *map(_checkpoint_interval, trainer.callbacks)):  # type: ignore[attr-defined]
        if interval:
            yield interval - step % interval
    if refresh := getattr(trainer.progress_bar_callback, "refresh_rate", 0):
        yield refresh - batch_index % refresh


def _watches_batches(callback: Callback) -> bool:
    """Whether the callback may want to see each single step."""
    if isinstance(callback, CONTENT_WITH_PASSES):
        return False
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in BATCH_HOOKS)


def _checkpoint_interval(callback: Callback) -> int:
    return callback._every_n_train_steps if isinstance(callback, ModelCheckpoint) else 0
