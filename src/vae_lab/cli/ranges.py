"""Ranges of numbers that their libraries would refuse late, in words that name no key, or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MOST = 2**63 - 1
"""What torch and numpy can hold."""


class Range(NamedTuple):
    """Numbers from ``least`` to ``most``, and those in ``also``."""

    least: float
    most: float = MOST
    also: tuple[float, ...] = ()

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and (self.least <= value <= self.most or value in self.also)

    def __str__(self) -> str:
        also = "".join(f"{number} or " for number in self.also)
        return f"{also}{self.least} or more" if self.most >= MOST else f"{also}from {self.least} to {self.most}"


RANGES = {
    "seed": Range(0, 2**32 - 1),
    "optimizer.alpha": Range(0, 1),
    "optimizer.betas[0]": Range(0, 1),
    "optimizer.betas[1]": Range(0, 1),
    "optimizer.eps": Range(0, math.inf),
    "optimizer.lr": Range(0, math.inf),
    "optimizer.momentum": Range(0, math.inf),
    "optimizer.weight_decay": Range(0, math.inf),
    "trainer.devices": Range(1, 1024, also=(-1,)),
    "trainer.num_nodes": Range(1),
    "trainer.max_epochs": Range(0, also=(-1,)),
    "trainer.max_steps": Range(1, also=(-1,)),
    "trainer.min_epochs": Range(0),
    "trainer.min_steps": Range(0),
    "trainer.check_val_every_n_epoch": Range(1),
    "trainer.log_every_n_steps": Range(1),
    "trainer.num_sanity_val_steps": Range(0, also=(-1,)),
    "callbacks.early_stopping.patience": Range(0),
    "callbacks.progress.refresh_rate": Range(0),
    "data.images.split_seed": Range(0),
}
"""By key; a text or null there is left to the library. -1 says all, or without end."""


def out_of_range(config: Mapping[str, Any]) -> str | None:
    """The first number in a config that is out of its range, in one line; None where there is none."""
    for key, value in _numbers(config):
        if isinstance(value, float) and not math.isfinite(value):
            return f"{key}={value}: must be a finite number"
        if key in RANGES and value not in RANGES[key]:
            return f"{key}={value}: must be {RANGES[key]}"
        if isinstance(value, int) and not -MOST <= value <= MOST:
            return f"{key}={value}: must lie within 64 bits"
    return None


def _numbers(node: Any, key: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from _numbers(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from _numbers(child, f"{key}[{i}]")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield key, node
