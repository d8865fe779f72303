"""Callbacks of a run that goes on: what they remember of it, and what they lose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from vae_lab.errors import RunError
from vae_lab.training.callbacks import LastCheckpoint

LOSES = {
    ModelCheckpoint: "best.ckpt is replaced by the best from here on",
    EarlyStopping: "its patience is counted from here on",
}
"""Consequence of a fresh start, by the class of the callback."""


def check_saves(trainer: Trainer, checkpoint: Path) -> None:
    """Raises RunError if nothing would save a run that goes on: its last.ckpt would stay behind its metrics.

    Args:
        trainer: of the run.
        checkpoint: path of the checkpoint that it goes on from.
    """
    if not any(isinstance(callback, LastCheckpoint) for callback in _callbacks(trainer)):
        run = checkpoint.parent.parent
        raise RunError(
            f"callbacks.last_checkpoint: is left out, so that nothing would save what resume={run} goes on to train; "
            f"keep it, or start a new run with init_from={checkpoint}"
        )


def fresh_callbacks(trainer: Trainer, saved: Mapping[str, Any]) -> list[str]:
    """Returns a line for each callback that starts afresh, because the run so far monitored something else.

    Args:
        trainer: of the run that goes on.
        saved: its checkpoint.
    """
    lines = []
    for kind, loses in LOSES.items():
        before = [key for key in saved["callbacks"] if str(key).startswith(kind.__name__)]
        now = [callback for callback in _callbacks(trainer) if isinstance(callback, kind)]
        lines += [
            f"{kind.__name__}: monitors {callback.monitor} ({callback.mode}) from now on; {loses}"  # type: ignore[attr-defined]
            for callback in now
            if before and callback.state_key not in before
        ]
        if before and not now and kind is ModelCheckpoint:
            lines.append("ModelCheckpoint: is left out; best.ckpt stays as it is")
    return lines


def _callbacks(trainer: Trainer) -> list[Callback]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]
