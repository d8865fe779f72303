"""Compiles the loss of a training step, once for a run, and uses it only if its gradient is right.

A compiler may drop a term and say nothing: that of PyTorch 2.11 gave the likelihood of a compiled VAE no gradient.
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
from vae_lab.training.processes import gathered
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
    everything if compiling fails, for example without a C++ compiler, or if value and gradient of the first batch are
    not those of the uncompiled loss. The random numbers are the same either way.

    Args:
        loss: function of the data (B, *data_shape), labels (B,) or None, and numbers by name, (); gives the loss, ().
        parts: modules whose parameters are trained; none: no check.

    Attributes:
        shape: shape of the batches that run compiled; None: that of the first batch. A run that is resumed within an
            epoch sets it, because its own first batch may be the short one.
        seconds: seconds that compiling and checking took; 0 before the first call.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor | None, Scheduled], T], parts: Iterable[nn.Module] = ()) -> None:
        self._loss = loss
        self._parts = list(parts)
        torch.compiler.reset()  # PyTorch keeps eight graphs of a function: the ninth run of a process would have none
        self._compiled = torch.compile(loss, dynamic=False, options={"fallback_random": True})
        self._numbers: dict[str, tuple[float, Tensor]] = {}
        self.shape: torch.Size | None = None
        self.seconds = 0.0

    def __call__(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> T:
        numbers = {name: self._on_device(name, number, x) for name, number in scheduled.items()}
        self.shape = self.shape or x.shape
        if x.shape != self.shape:
            return self._loss(x, y, numbers)
        return self._compiled(x, y, numbers) if self.seconds else self._first_call(x, y, numbers)

    def _on_device(self, name: str, number: Tensor | float, x: Tensor) -> Tensor:
        """Returns a number as a tensor, the one of the last step if it has not changed."""
        if isinstance(number, Tensor):
            return number
        if name not in self._numbers or self._numbers[name][0] != number:
            self._numbers[name] = (number, torch.tensor(number, dtype=x.dtype, device=x.device))
        return self._numbers[name][1]

    def _first_call(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> T:
        """Compiles and checks the loss; a batch whose gradient is not finite leaves that to the next one."""
        started, reason = time.perf_counter(), ""
        try:
            told = self._check_gradient(x, y, scheduled)
        except Exception as error:  # the compiler's errors have no common class
            told, reason = True, _first_line(error)
        verdicts = gathered((told, reason))  # all processes train by the same loss
        if reasons := [reason for _, reason in verdicts if reason]:
            self._give_up(reasons[0])
        if not all(told for told, _ in verdicts):
            return self._loss(x, y, scheduled)
        try:
            return self._compiled(x, y, scheduled)
        except Exception as error:  # of a loss that could not be checked
            if self._compiled is self._loss:
                raise
            self._give_up(_first_line(error))
            return self._loss(x, y, scheduled)
        finally:
            self.seconds = time.perf_counter() - started

    def _give_up(self, reason: str) -> None:
        warnings.warn(f"training goes on uncompiled: {reason}", stacklevel=4)
        self._compiled = self._loss

    def _check_gradient(self, x: Tensor, y: Tensor | None, scheduled: Scheduled) -> bool:
        """Returns True if the compiled loss has the value and the gradient of the uncompiled one, or is not checked.

        Every scheduled number is 1 here: with a beta of 0, as a warm-up begins, the KL would not be seen.

        Returns:
            False if the value or the gradient of the uncompiled loss is not finite.

        Raises:
            ArithmeticError: for another value or gradient.
        """
        trained = [parameter for part in self._parts for parameter in part.parameters() if parameter.requires_grad]
        reseedable = x.device.type in ("cpu", "cuda")
        if not (trained and reseedable) or any(is_sharded(part) for part in self._parts):
            return True
        ones = {name: torch.ones_like(number) for name, number in scheduled.items() if isinstance(number, Tensor)}
        found = []
        for loss in (self._loss, self._compiled):
            with _state_kept(self._parts), noise.fixed_seed(0, x.device):
                value = loss(x, y, ones).loss
                gradient = torch.autograd.grad(value, trained, allow_unused=True, materialize_grads=True)
            found.append([value.detach(), *gradient])
        expected, compiled = found
        if not all(bool(one.isfinite().all()) for one in expected):
            return False
        if not _agree(expected[:1], compiled[:1], x.device) or not _agree(expected[1:], compiled[1:], x.device):
            raise ArithmeticError(f"PyTorch {torch.__version__} compiles this loss to another value or gradient")
        return True


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def _state_kept(parts: Iterable[nn.Module]) -> Iterator[None]:
    """Context manager that restores parameters and buffers, such as the averages of batch normalisation."""
    modules = [module for part in parts for module in part.modules()]
    kept = [
        (module, name, tensor, tensor.detach().clone())
        for module in modules
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, tensor, value in kept:
                if getattr(module, name) is not tensor:
                    setattr(module, name, tensor)
                tensor.copy_(value)


def _agree(expected: Sequence[Tensor], found: Sequence[Tensor], device: torch.device) -> bool:
    """True if each tensor differs by no more than another order of operations explains.

    The tolerance is relative to the norm of the tensor, and a thousandth to the norm of all of them.
    """
    sizes = torch.stack([one.float().norm() for one in expected])
    pairs = zip(expected, found, strict=True)
    differences = torch.stack([(one.float() - other.float()).norm() for one, other in pairs])
    tolerance = 0.1 if torch.is_autocast_enabled(device.type) else 0.01
    return bool((differences <= tolerance * sizes + 1e-3 * sizes.norm()).all())
