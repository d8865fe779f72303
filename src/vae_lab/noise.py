"""Random numbers that do not depend on how many processes share a batch.

Every process holds some rows of a whole batch (a `Shard`) and the same generator state. Drawing the noise of the
whole batch and keeping one's own rows gives each example the noise that a single process would have given it, so
that training on N devices computes the same loss as on one, and no two devices ever share their noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

from vae_lab.types import Shard

_shard: ContextVar[Shard | None] = ContextVar("shard", default=None)


@contextmanager
def sharded(shard: Shard | None) -> Iterator[None]:
    """Within it, `normal` and `uniform` draw for the whole batch and return the rows of ``shard``."""
    token = _shard.set(shard)
    try:
        yield
    finally:
        _shard.reset(token)


@contextmanager
def fixed_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Within it, random numbers follow ``seed``; afterwards they go on as if nothing had been drawn."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed)
        yield


def seed(*numbers: int) -> None:
    """Starts the random numbers of this process anew, from a mixture of ``numbers`` such as (seed, epoch)."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def normal(shape: Sequence[int], like: Tensor, batch_dim: int = 0) -> Tensor:
    """Standard normal numbers of ``shape``, in the dtype and on the device of ``like``."""
    return _draw(torch.randn, shape, like, batch_dim)


def uniform(shape: Sequence[int], like: Tensor, batch_dim: int = 0) -> Tensor:
    """Numbers uniform in [0, 1) of ``shape``, in the dtype and on the device of ``like``."""
    return _draw(torch.rand, shape, like, batch_dim)


def _draw(draw: Callable[..., Tensor], shape: Sequence[int], like: Tensor, batch_dim: int) -> Tensor:
    shard = _shard.get()
    if shard is None:
        return draw(*shape, dtype=like.dtype, device=like.device)
    whole = list(shape)
    whole[batch_dim] = shard.size
    rows = (slice(None),) * batch_dim + (shard.rows,)
    return draw(*whole, dtype=like.dtype, device=like.device)[rows]
