"""Compiles the loss of a training step, once for a run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.objectives import Scheduled
from vae_lab.training.sharding import is_sharded

T = TypeVar("T")

COMPILING_PAYS = 10_000
"""Steps of a run from which on compiling pays: it takes 3 to 20 s, and saves 0.4 ms per step of a small network."""


def is_compiled(option: bool | Literal["auto", "graph"], model: LatentVariableModel, steps: float) -> bool:
    """Returns the option ``compile``; for "auto", True if compiling pays for itself in a run of ``steps``."""
    if option == "graph":
        return False
    if option == "auto":
        pays = all(getattr(part, "compile_pays", True) for part in model.modules())  # the model itself is one of them
        return steps >= COMPILING_PAYS and pays and not is_sharded(model)
    return option


class CompiledLoss(Generic[T]):
    """Compiles ``loss(x, y, scheduled)`` by `torch.compile` for the shape of the first batch of an epoch.

    Other shapes, such as a short last batch, run uncompiled, which is cheaper than a second compilation. So does
    everything if compiling fails, for example without a C++ compiler. The random numbers are the same either way.

    Args:
        loss: function of the data (B, *data_shape), labels (B,) or None, and numbers by name, ().

    Attributes:
        shape: shape of the batches that run compiled; None: that of the first batch. A run that is resumed within an
            epoch sets it, because its own first batch may be the short one.
        seconds: seconds that the first call took, nearly all of it compiling.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor | None, Scheduled], T]) -> None:
        self.loss = loss
        self.compiled = torch.compile(loss, dynamic=False, options={"fallback_random": True})
        self.shape: torch.Size | None = None
        self.numbers: dict[str, tuple[float, Tensor]] = {}
        self.seconds = 0.0

    def __call__(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> T:
        numbers = {name: self._on_device(name, number, x) for name, number in scheduled.items()}
        self.shape = self.shape or x.shape
        if x.shape != self.shape:
            return self.loss(x, y, numbers)
        return self.compiled(x, y, numbers) if self.seconds else self._compile(x, y, numbers)

    def _on_device(self, name: str, number: Tensor | float, x: Tensor) -> Tensor:
        """Returns a number as a tensor, the one of the last step if it has not changed."""
        if isinstance(number, Tensor):
            return number
        if name not in self.numbers or self.numbers[name][0] != number:
            self.numbers[name] = (number, torch.tensor(number, dtype=x.dtype, device=x.device))
        return self.numbers[name][1]

    def _compile(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> T:
        started = time.perf_counter()
        try:
            return self.compiled(x, y, scheduled)
        except Exception as error:  # the compiler's errors have no common class
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"training goes on uncompiled: {reason}", stacklevel=2)
            self.compiled = self.loss
            return self.loss(x, y, scheduled)
        finally:
            self.seconds = time.perf_counter() - started
