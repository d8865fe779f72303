"""Compiles the loss of a training step, once for a run, and trusts it only if its gradient is right.

A compiler that drops a term does so in silence: that of PyTorch 2.11 gave the likelihood of a compiled VAE no gradient.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.objectives import Scheduled
from vae_lab.training.sharding import is_sharded

COMPILING_PAYS = 10_000
"""Steps of a run from which on compiling pays: it takes 3 to 20 s, and saves 0.4 ms per step of a small network."""


class HasLoss(Protocol):
    """Anything with the loss of a batch, ()."""

    @property
    def loss(self) -> Tensor: ...


T = TypeVar("T", bound=HasLoss)


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
    everything if compiling fails, for example without a C++ compiler, or if the gradient of the first batch is not
    that of the uncompiled loss. The random numbers are the same either way.

    Args:
        loss: function of the data (B, *data_shape), labels (B,) or None, and numbers by name, (); gives the loss, ().
        parts: modules whose parameters are trained, and whose buffers the loss may change; none: no check.

    Attributes:
        shape: shape of the batches that run compiled; None: that of the first batch. A run that is resumed within an
            epoch sets it, because its own first batch may be the short one.
        seconds: seconds that the first call took, nearly all of it compiling.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor | None, Scheduled], T], parts: Iterable[nn.Module] = ()) -> None:
        self.loss = loss
        self.parts = list(parts)
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
            self._check_gradient(x, y, scheduled)
            return self.compiled(x, y, scheduled)
        except Exception as error:  # the compiler's errors have no common class
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"training goes on uncompiled: {reason}", stacklevel=2)
            self.compiled = self.loss
            return self.loss(x, y, scheduled)
        finally:
            self.seconds = time.perf_counter() - started

    def _check_gradient(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> None:
        """Raises ArithmeticError if the compiled loss has not the value and the gradient of the uncompiled one."""
        trained = [parameter for part in self.parts for parameter in part.parameters() if parameter.requires_grad]
        reseedable = x.device.type in ("cpu", "cuda")
        if not (trained and reseedable) or any(is_sharded(part) for part in self.parts):
            return
        found = []
        for loss in (self.loss, self.compiled):
            with _buffers_kept(self.parts), noise.fixed_seed(0, x.device):
                value = loss(x, y, scheduled).loss
                gradient = torch.autograd.grad(value, trained, allow_unused=True, materialize_grads=True)
            found.append([value.detach(), *gradient])
        expected, compiled = found
        if not _close(expected[:1], compiled[:1], x.device) or not _close(expected[1:], compiled[1:], x.device):
            raise ArithmeticError(f"PyTorch {torch.__version__} compiles this loss to another value or gradient")


@contextmanager
def _buffers_kept(parts: Iterable[nn.Module]) -> Iterator[None]:
    """Context manager that restores the buffers, such as the averages of batch normalisation."""
    kept = [(buffer, buffer.clone()) for part in parts for buffer in part.buffers()]
    yield
    for buffer, value in kept:
        buffer.copy_(value)


def _close(expected: Sequence[Tensor], found: Sequence[Tensor], device: torch.device) -> bool:
    """True if each tensor differs by no more than another order of operations explains.

    The tolerance is relative to the norm of the tensor, and a tenth of it to the norm of all of them.
    """
    sizes = torch.stack([one.float().norm() for one in expected])
    differences = torch.stack(
        [(one.float() - other.float()).norm() for one, other in zip(expected, found, strict=True)]
    )
    if not sizes.isfinite().all():  # then the run stops for a reason of its own
        return True
    tolerance = 0.1 if torch.is_autocast_enabled(device.type) else 0.01
    return bool((differences <= tolerance * (sizes + 0.1 * sizes.norm())).all())
