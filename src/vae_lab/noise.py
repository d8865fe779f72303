"""Random numbers that do not depend on how many processes share a batch.

Every process holds some rows of a whole batch (a `Shard`) and the same generator state. Drawing the noise of the
whole batch and keeping one's own rows gives each example the noise that a single process would have given it, so
that training on N devices computes the same loss as on one, and no two devices ever share their noise.

In the same way `by_sample` gives sample k of many the same noise however many of them are drawn at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vae_lab.types import Shard

_shard: ContextVar[Shard | None] = ContextVar("shard", default=None)
_streams: ContextVar[_SampleStreams | _HostStream | None] = ContextVar("streams", default=None)

MAX_DRAWS = 2**10
"""Draws of one sample, one for each level of latents, before its numbers would run into those of the next sample."""


@contextmanager
def sharded(shard: Shard | None) -> Iterator[None]:
    """Within it, `normal` and `uniform` draw for the whole batch and return the rows of ``shard``."""
    token = _shard.set(shard)
    try:
        yield
    finally:
        _shard.reset(token)


def current_shard() -> Shard | None:
    """Returns the rows that this process holds of a batch, within `sharded`."""
    return _shard.get()


@contextmanager
def by_sample(seed: int, first: int) -> Iterator[None]:
    """Within it, slice k of a draw (its first dimension) is that of sample ``first + k`` of the stream ``seed``."""
    token = _streams.set(_SampleStreams(seed, first))
    try:
        yield
    finally:
        _streams.reset(token)


@contextmanager
def from_host(seed: int) -> Iterator[None]:
    """Draws within it on the CPU and in float64, from ``seed``: the same numbers for every device and precision."""
    token = _streams.set(_HostStream(seed))
    try:
        yield
    finally:
        _streams.reset(token)


@contextmanager
def fixed_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Within it, random numbers follow ``seed``; afterwards they go on as if nothing had been drawn."""
    # Not torch.manual_seed: on a machine without GPU it leaves, at each call, a note for one that may appear.
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


class _SampleStreams:
    """A generator for every sample and draw, seeded by their numbers."""

    def __init__(self, seed: int, first: int) -> None:
        self.seed = seed
        self.first = first
        self.drawn = 0

    def draw(
        self, draw: Callable[..., Tensor], num: int, *shape: int, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        generator = torch.Generator(device)
        out = torch.empty(num, *shape, dtype=dtype, device=device)
        for k in range(num):
            generator.manual_seed(self.seed + (self.first + k) * MAX_DRAWS + self.drawn)
            draw(*shape, out=out[k], generator=generator)
        self.drawn += 1
        return out


class _HostStream:
    """One generator on the CPU, whose numbers are rounded and moved to where they are needed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, draw: Callable[..., Tensor], *shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return draw(*shape, dtype=torch.float64, generator=self.generator).to(device, dtype)


def seed(*numbers: int) -> None:
    """Starts the random numbers of this process anew, from a mixture of ``numbers`` such as (seed, epoch)."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def fresh_seed() -> int:
    """A seed for `by_sample`, drawn from the random numbers of this process."""
    return int(torch.randint(2**62, ()))


def normal(shape: Sequence[int], like: Tensor, batch_dim: int = 0) -> Tensor:
    """Standard normal numbers of ``shape``, in the dtype and on the device of ``like``."""
    return _draw(torch.randn, shape, like, batch_dim)


def uniform(shape: Sequence[int], like: Tensor, batch_dim: int = 0) -> Tensor:
    """Numbers uniform in [0, 1) of ``shape``, in the dtype and on the device of ``like``."""
    return _draw(torch.rand, shape, like, batch_dim)


def _draw(draw: Callable[..., Tensor], shape: Sequence[int], like: Tensor, batch_dim: int) -> Tensor:
    shard, streams = _shard.get(), _streams.get()
    if streams is not None:
        draw = partial(streams.draw, draw)
    if shard is None:
        return draw(*shape, dtype=like.dtype, device=like.device)
    whole = list(shape)
    whole[batch_dim] = shard.size
    rows = (slice(None),) * batch_dim + (shard.rows,)
    return draw(*whole, dtype=like.dtype, device=like.device)[rows]
