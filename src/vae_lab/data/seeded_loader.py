"""A user's loader whose random numbers depend on seed, epoch and batch alone, so that a resumed run reads the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import torch

from vae_lab.noise import mixed

_END = object()


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
        self.sampler = _Epoch(loader, same)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        epoch = self.sampler.epoch
        batches: Iterator[Any] | None = None
        for index in count():
            with _seeded(self.seed, epoch, index):
                if batches is None:
                    generator = getattr(self.loader, "generator", None)
                    if generator is not None:
                        generator.manual_seed(mixed(self.seed, epoch))
                    batches = iter(self.loader)
                batch = next(batches, _END)
            if batch is _END:
                return
            yield batch


class _Epoch:
    """Number of the epoch, which Lightning sets before each; passed on to the loader's own sampler if it takes it.

    Args:
        loader: loader whose sampler it is passed on to.
        same: True: always 0.
    """

    def __init__(self, loader: Iterable[Any], same: bool) -> None:
        self.loader = loader
        self.same = same
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = 0 if self.same else epoch
        own = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if callable(own):
            own(self.epoch)


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
