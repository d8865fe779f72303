"""A stand-in for a CUDA graph on the CPU: it repeats recorded kernels, and none of the host's work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from vae_lab.training.capture.device_steps import DeviceStep
from vae_lab.types import Batch


class Tape(TorchDispatchMode):
    """Records kernels with their arguments; a replay writes their results into the memory of the recorded ones.

    Unlike a CUDA graph it does the work that it records: so the first replay after a recording does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self._pending = False

    @property
    def names(self) -> set[str]:
        return {function.overloadpacket.__name__ for function, *_ in self.kernels}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.kernels.append((func, *(tree_map(_detached, value) for value in (args, kwargs or {}, out))))
        return out

    def warm_up(self, work: Callable[[], DeviceStep]) -> DeviceStep:
        return work()

    def capture(self, work: Callable[[], Batch]) -> Batch:
        self.kernels.clear()
        self._pending = True
        with self:
            return work()

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        if self._pending:
            self._pending = False
            return
        for function, args, options, recorded in self.kernels:
            found = function(*args, **options)
            for old, new in zip(tree_leaves(recorded), tree_leaves(found), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
