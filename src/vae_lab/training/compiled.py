"""Compiles the loss of a training step, once for a run."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
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
    """Compiles ``loss(x, y, weight)`` by `torch.compile` for the shape of the first batch of an epoch.

    Other shapes, such as a short last batch, run uncompiled, which is cheaper than a second compilation. So does
    everything if compiling fails, for example without a C++ compiler. The random numbers are the same either way.

    Args:
        loss: function of the data (B, *data_shape), labels (B,) or None, and a weight ().

    Attributes:
        shape: shape of the batches that run compiled; None: that of the first batch. A run that is resumed within an
            epoch sets it, because its own first batch may be the short one.
        seconds: seconds that the first call took, nearly all of it compiling.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor | None, Tensor], T]) -> None:
        self.loss = loss
        self.compiled = torch.compile(loss, dynamic=False, options={"fallback_random": True})
        self.shape: torch.Size | None = None
        self.weight = (math.nan, torch.tensor(math.nan))
        self.seconds = 0.0

    def __call__(self, x: Tensor, y: Tensor | None, weight: Tensor | float) -> T:
        step_weight = weight if isinstance(weight, Tensor) else self._on_device(weight, x)
        self.shape = self.shape or x.shape
        if x.shape != self.shape:
            return self.loss(x, y, step_weight)
        return self.compiled(x, y, step_weight) if self.seconds else self._compile(x, y, step_weight)

    def _on_device(self, weight: float, x: Tensor) -> Tensor:
        if weight != self.weight[0]:
            self.weight = (weight, torch.tensor(weight, dtype=x.dtype, device=x.device))
        return self.weight[1]

    def _compile(self, x: Tensor, y: Tensor | None, weight: Tensor) -> T:
        started = time.perf_counter()
        try:
            return self.compiled(x, y, weight)
        except Exception as error:  # the compiler's errors have no common class
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"training goes on uncompiled: {reason}", stacklevel=2)
            self.compiled = self.loss
            return self.loss(x, y, weight)
        finally:
            self.seconds = time.perf_counter() - started
