"""Checks whether a run can go on from its checkpoint as it is asked to, and reports callbacks that start afresh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy

from vae_lab.errors import RunError
from vae_lab.runs.checkpoints import non_finite, other_weights
from vae_lab.training.callbacks import LastCheckpoint
from vae_lab.training.module import VariationalModule
from vae_lab.training.resume.optimizer import why_fresh
from vae_lab.training.trainer_parts import callbacks_of, is_trial

_LOSES = {
    ModelCheckpoint: "best.ckpt is replaced by the best from here on",
    EarlyStopping: "its patience is counted from here on",
}
"""Consequence of a fresh start, by class of the callback."""


def check_resume(trainer: Trainer, module: VariationalModule, saved: Mapping[str, Any], checkpoint: Path) -> None:
    """Raises RunError if a run cannot go on from its checkpoint as it is asked to.

    Args:
        trainer, module: Trainer and module as they are asked for.
        saved: content of the run's checkpoint.
        checkpoint: path of that checkpoint.
    """
    run = checkpoint.parent.parent
    if is_trial(trainer):
        raise RunError(f"trainer.fast_dev_run: a trial keeps nothing of a run; resume={run} without it")
    epochs = saved["progress"]["epoch"]
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs < epochs:
        raise RunError(
            f"trainer.max_epochs={trainer.max_epochs}: resume={run} has finished epoch {epochs} already; "
            "give as many or more, or leave trainer.max_epochs out"
        )
    if not any(isinstance(callback, LastCheckpoint) for callback in callbacks_of(trainer, Callback)):
        raise RunError(
            f"callbacks.last_checkpoint: is left out, so that nothing would save what resume={run} goes on to train; "
            f"keep it, or start a new run with init_from={checkpoint}"
        )
    if reason := other_weights(module.state_dict(), saved["state_dict"]):
        whose, remedy = "model", "model, network, prior, likelihood, latent_dim and the data's shape must stay"
        if reason.startswith("objective."):
            whose, remedy = "objective", f"init_from={checkpoint} starts a new run from the weights of the model alone"
        raise RunError(f"resume={run}: the weights of another {whose} ({reason}); {remedy}")
    if reason := non_finite(module, saved["state_dict"]):
        raise RunError(
            f"resume={run}: {checkpoint}: {reason}; init_from={checkpoint.with_name('best.ckpt')} starts a new run "
            "from the best weights"
        )
    reason = why_fresh(module.optimization.optimizer, saved)
    if reason and isinstance(trainer.strategy, ModelParallelStrategy):
        raise RunError(f"optimizer: {reason}, and sharded weights cannot leave it out; resume with strategy=ddp")


def fresh_callbacks(trainer: Trainer, saved: Mapping[str, Any]) -> list[str]:
    """Returns a line for each callback that starts afresh, because the run so far monitored another metric.

    Args:
        trainer: Trainer of the resumed run.
        saved: content of the run's checkpoint.
    """
    lines = []
    for kind, loses in _LOSES.items():
        before = [key for key in saved["callbacks"] if str(key).startswith(kind.__name__)]
        now = [callback for callback in callbacks_of(trainer, Callback) if isinstance(callback, kind)]
        lines += [
            f"{kind.__name__}: monitors {callback.monitor} ({callback.mode}) from now on; {loses}"  # type: ignore[attr-defined]
            for callback in now
            if before and callback.state_key not in before
        ]
        if before and not now and kind is ModelCheckpoint:
            lines.append("ModelCheckpoint: is left out; best.ckpt stays as it is")
    return lines
