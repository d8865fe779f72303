"""A user's loader whose random numbers depend on seed, epoch and batch alone, so that a resumed run reads the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from vae_lab.data.loader import as_batch
from vae_lab.data.own_loader.collate import readable_example
from vae_lab.noise import mixed

_END = object()
_READINGS = 8
"""Readings of an example after which it is held to be always the same."""


class SeededLoader:
    """Batches of another loader, in whatever form it gives them.

    Order and augmentations that the loader draws from the random numbers of torch, NumPy or Python, in this process or
    in its workers, depend on seed and epoch alone.

    Args:
        loader: loader, which is read again in each epoch.
        length: number of its batches.
        seed: seed of its random numbers.
        same: True: the same random numbers in every epoch, for an evaluation.
    """

    batch_sampler = None  # which Lightning asks for beside a sampler

    def __init__(self, loader: Iterable[Any], length: int, seed: int, same: bool = False) -> None:
        self.loader = loader
        self.length = length
        self.seed = seed
        self.same = same
        self.epoch = 0

    @property
    def sampler(self) -> SeededLoader:
        """The object whose `set_epoch` Lightning calls before each epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Sets the number of the epoch, and that of the loader's own sampler if it takes it."""
        self.epoch = 0 if self.same else epoch
        own = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if callable(own):
            own(self.epoch)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        epoch = self.epoch
        generators = _generators(self.loader)
        states = [torch.Generator().manual_seed(mixed(self.seed, epoch)).get_state()] * len(generators)
        batches: Iterator[Any] | None = None
        for index in count():
            with _seeded(self.seed, epoch, index), _swapped(generators, states):
                if batches is None:
                    # Of a copy, because persistent workers would go on with the numbers of the epoch before.
                    batches = iter(copy(self.loader) if hasattr(self.loader, "persistent_workers") else self.loader)
                batch = next(batches, _END)
            if batch is _END:
                if index == 0 and self.length:
                    raise ValueError("data: the loader is empty at its second reading; give one that can be read again")
                return
            yield batch


def is_repeatable(loader: Any, seed: int) -> bool:
    """True if the first example of a loader's data set is the same at every reading; of a stream its first batch."""
    dataset: Any = getattr(loader, "dataset", None)
    if isinstance(dataset, IterableDataset) or not hasattr(type(dataset), "__getitem__"):
        first, again = (as_batch(next(iter(SeededLoader(loader, 1, mixed(seed, n))))).x for n in range(2))
        return torch.equal(first, again)
    readings = set()
    for number in range(_READINGS):
        with _seeded(seed, number):
            example = readable_example(dataset[0])
        parts = example if isinstance(example, tuple | list) else [example]
        readings.add(repr([part.tolist() if hasattr(part, "tolist") else part for part in parts]))
    return len(readings) == 1


def _generators(loader: Any) -> list[torch.Generator]:
    """Returns the generators of a loader and of its samplers, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


@contextmanager
def _swapped(generators: Sequence[torch.Generator], states: list[Tensor]) -> Iterator[None]:
    """Context manager in which generators have the states of an epoch, which go on; afterwards their own again."""
    own = [generator.get_state() for generator in generators]
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    try:
        yield
    finally:
        states[:] = [generator.get_state() for generator in generators]
        for generator, state in zip(generators, own, strict=True):
            generator.set_state(state)


@contextmanager
def _seeded(*numbers: int) -> Iterator[None]:
    """Context manager with random numbers by ``numbers``; afterwards they go on as before."""
    of_torch, of_numpy, of_python = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    seed = mixed(*numbers)
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(of_torch)
        np.random.set_state(of_numpy)
        random.setstate(of_python)
