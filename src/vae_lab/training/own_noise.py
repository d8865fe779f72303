"""Finds models whose networks draw random numbers past `vae_lab.noise`, which would be the same in every process."""

from __future__ import annotations

import warnings

import torch

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.objectives.base import example_terms
from vae_lab.types import Shard


def warn_of_own_noise(model: LatentVariableModel, processes: int) -> None:
    """Warns of a model that draws its own random numbers if several processes train it.

    Every process has the same state of random numbers, so that each can draw the noise of the whole batch and keep its
    rows (`vae_lab.noise`). What a network draws in another way is therefore the same for the rows of all processes. A
    distribution may draw as it likes: `vae_lab.noise.of_process` gives each process noise of its own.
    """
    if processes > 1 and draws_own_noise(model):
        warnings.warn(
            f"{type(model).__name__}: draws random numbers by torch itself, which are the same in all {processes}"
            " processes; draw them by vae_lab.noise.normal or vae_lab.noise.uniform",
            stacklevel=2,
        )


def draws_own_noise(model: LatentVariableModel) -> bool:
    """True if an example's latents or likelihood depend on random numbers that no process has for itself."""
    drawn = []
    for seed in (1, 2):
        with noise.from_host(0), noise.sharded(Shard(rank=0, world=2, size=2)):
            terms = example_terms(model, seed)
        if terms is None:
            return False
        drawn.append([terms.log_likelihood, *(level.z for level in terms.levels)])
    return not all(torch.equal(one, other) for one, other in zip(*drawn, strict=True))
