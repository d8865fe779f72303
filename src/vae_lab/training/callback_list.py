"""Lists the callbacks of a Trainer, whose attributes Lightning leaves without types."""

from __future__ import annotations

from typing import TypeVar

from pytorch_lightning import Callback, Trainer

T = TypeVar("T", bound=Callback)


def callbacks_of(trainer: Trainer, kind: type[T]) -> list[T]:
    """Returns the callbacks of a kind, in the order in which they are called."""
    return [callback for callback in trainer.callbacks if isinstance(callback, kind)]  # type: ignore[attr-defined]


def first_callback(trainer: Trainer, kind: type[T]) -> T | None:
    """Returns the first callback of a kind, None if there is none."""
    return next(iter(callbacks_of(trainer, kind)), None)
