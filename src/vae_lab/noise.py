"""Random numbers that do not depend on how many processes share a batch.

Every process has some rows of a whole batch (a `Shard`) and the same generator state. It draws the noise of the whole
batch and keeps that of its own rows, so that each example gets the noise that a single process would give it: training
on N devices computes the same loss as on one, and no two devices share their noise.

Likewise `by_sample` gives sample k the same noise however many samples are drawn at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from vae_lab.threads import one_thread
from vae_lab.types import Shard

T = TypeVar("T")
_shard: ContextVar[Shard | None] = ContextVar("shard", default=None)
_streams: ContextVar[_SampleStreams | _HostStream | _Given | _Recorder | None] = ContextVar("streams", default=None)

_shared: ContextVar[bool] = ContextVar("shared", default=False)

_MAX_DRAWS = 2**10
"""Largest number of draws per sample, one per level of latents; more would reuse the seeds of the next sample."""


@contextmanager
def _within(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def sharded(shard: Shard | None) -> AbstractContextManager[None]:
    """Context manager in which `normal` and `uniform` draw for the whole batch and return the rows of ``shard``."""
    return _within(_shard, shard)


def current_shard() -> Shard | None:
    """Returns the shard of the surrounding `sharded`, or None."""
    return _shard.get()


def shared_by_examples() -> AbstractContextManager[None]:
    """Context manager in which all examples of a batch get the same noise, so that none depends on others."""
    return _within(_shared, True)


def by_sample(seed: int, first: int) -> AbstractContextManager[None]:
    """Context manager in which entry k of a draw (first dimension) is sample ``first + k`` of the stream ``seed``."""
    return _within(_streams, _SampleStreams(seed, first))


def from_host(seed: int) -> AbstractContextManager[None]:
    """Context manager that draws on the CPU in float64 from ``seed``: the same numbers for all devices and dtypes."""
    return _within(_streams, _HostStream(seed))


@contextmanager
def given(values: Sequence[Tensor]) -> Iterator[None]:
    """Context manager in which the draws are ``values``, in this order: noise becomes an input of a computation.

    Raises:
        ValueError: for a draw of another shape, and at the end for values that were not drawn.
    """
    stream = _Given(list(values))
    with _within(_streams, stream):
        yield
    if stream.values:
        raise ValueError(f"values: {len(values)} draws given, of which {len(stream.values)} were not made")


@contextmanager
def recorded() -> Iterator[list[Draw]]:
    """Context manager with a list to which each draw is added; `given` with their values repeats the computation."""
    recorder = _Recorder()
    with _within(_streams, recorder):
        yield recorder.draws


@contextmanager
def fixed_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Context manager in which random numbers start from ``seed``; afterwards the earlier state is restored.

    Threads enter it one after the other, because they share torch's generators.
    """
    # torch.manual_seed would record, on a machine without GPU, every seed for a GPU that may appear.
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    with one_thread:
        states = [generator.get_state() for generator in generators]
        try:
            for generator in generators:
                generator.manual_seed(seed)
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


@contextmanager
def of_process() -> Iterator[None]:
    """Context manager in which what PyTorch draws by itself is different in each process that shares a batch.

    Before and after it all processes have the same state of random numbers. With one process it does nothing.
    """
    shard = _shard.get()
    if shard is None or shard.world == 1:
        yield
        return
    with sharded(None):
        common = _draw(torch.rand, (1,), torch.empty(1, dtype=torch.float64, device="cpu"), 0)
    device = torch.device("cuda" if torch.cuda.default_generators else "cpu")  # none before CUDA is used
    with fixed_seed(mixed(int(common * 2**53), shard.rank), device):
        yield


class Draw(NamedTuple):
    """Random numbers that were drawn.

    Attributes:
        kind: distribution of each number, N(0, 1) or uniform in [0, 1).
        value: the numbers.
    """

    kind: Literal["normal", "uniform"]
    value: Tensor


class _Recorder:
    """Draws as ever, and keeps a list of what was drawn."""

    def __init__(self) -> None:
        self.draws: list[Draw] = []

    def draw(self, draw: Callable[..., Tensor], *shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        value = draw(*shape, dtype=dtype, device=device)
        self.draws.append(Draw("normal" if draw is torch.randn else "uniform", value))
        return value


class _Given:
    """The values of the next draws."""

    def __init__(self, values: list[Tensor]) -> None:
        self.values = values

    def draw(self, draw: Callable[..., Tensor], *shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        if not self.values:
            raise ValueError("values: fewer draws given than are made")
        value = self.values.pop(0)
        # A comparison with the sizes of a traced batch would fix them in its graph.
        if not torch.compiler.is_compiling() and value.shape != torch.Size(shape):
            raise ValueError(f"values: a draw of shape {tuple(value.shape)} is given where {shape} is made")
        # Without a conversion to the device, which a traced graph would hold for ever.
        return value if (value.device, value.dtype) == (device, dtype) else value.to(device, dtype)


class _SampleStreams:
    """One generator per sample and draw, seeded by their numbers."""

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
            generator.manual_seed(self.seed + (self.first + k) * _MAX_DRAWS + self.drawn)
            draw(*shape, out=out[k], generator=generator, dtype=dtype, device=device)
        self.drawn += 1
        return out


class _HostStream:
    """One generator on the CPU, whose numbers are converted to the needed dtype and device."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator("cpu").manual_seed(seed)

    def draw(self, draw: Callable[..., Tensor], *shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        return draw(*shape, dtype=torch.float64, device="cpu", generator=self.generator).to(device, dtype)


def seed(*numbers: int) -> None:
    """Seeds the random numbers of this process by a mixture of ``numbers`` such as (seed, epoch)."""
    torch.manual_seed(mixed(*numbers))


def mixed(*numbers: int) -> int:
    """Returns a seed that depends on all ``numbers``."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_of_batch(seed: int, index: int) -> int:
    """Returns the seed of a batch: ``seed`` for the first, and for no other one the seed of another seed's batch."""
    return mixed(seed, index) if index else seed


def fresh_seed() -> int:
    """Draws a seed for `by_sample` from the random numbers of this process."""
    return int(torch.randint(2**62, (), device="cpu"))  # whatever the program's default device is


def normal(shape: Sequence[int], like: Tensor, batch_dim: int = 0) -> Tensor:
    """Draws standard normal numbers of ``shape``, in the dtype and on the device of ``like``."""
    return _draw(torch.randn, shape, like, batch_dim)


def uniform(shape: Sequence[int], like: Tensor, batch_dim: int = 0) -> Tensor:
    """Draws numbers uniform in [0, 1), of ``shape``, in the dtype and on the device of ``like``."""
    return _draw(torch.rand, shape, like, batch_dim)


def _draw(draw: Callable[..., Tensor], shape: Sequence[int], like: Tensor, batch_dim: int) -> Tensor:
    shard, streams = _shard.get(), _streams.get()
    if streams is not None:
        draw = partial(streams.draw, draw)
    if _shared.get() and len(shape) > batch_dim:
        one = [*shape[:batch_dim], 1, *shape[batch_dim + 1 :]]
        return draw(*one, dtype=like.dtype, device=like.device).expand(*shape)
    if shard is None:
        return draw(*shape, dtype=like.dtype, device=like.device)
    whole = list(shape)
    whole[batch_dim] = shard.size
    rows = (slice(None),) * batch_dim + (shard.rows,)
    return draw(*whole, dtype=like.dtype, device=like.device)[rows]
