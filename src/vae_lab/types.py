"""The few types that every part of the lab shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from torch import Tensor

Support = Literal["binary", "unit", "uint8", "real"]
"""What values the data take: {0, 1}; the interval [0, 1]; the 256 levels {0, 1/255, ..., 1}; any real number."""


class Shard(NamedTuple):
    """Which rows of a whole batch one process holds: rows ``rank, rank + world, ...`` of ``size``."""

    rank: int
    world: int
    size: int

    @property
    def rows(self) -> slice:
        return slice(self.rank, self.size, self.world)


class Batch(NamedTuple):
    """A minibatch.

    Attributes:
        x: the data, (B, *data_shape).
        y: class indices, (B,), or None for data without labels.
        shard: the place of these rows in the batch that all processes share; None: they are the whole of it.
    """

    x: Tensor
    y: Tensor | None = None
    shard: Shard | None = None


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of the data, known before anything is read or downloaded.

    Attributes:
        shape: of one example; images are (channels, height, width).
        num_classes: 0 for data without labels.
        support: the values that the data take.

    Raises:
        ValueError: for an empty or non-positive shape, a negative number of classes or an unknown support.
    """

    shape: tuple[int, ...]
    num_classes: int = 0
    support: Support = "unit"

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape={self.shape}: every dimension of an example must be at least 1")
        if self.num_classes < 0:
            raise ValueError(f"num_classes={self.num_classes}: must be 0 (no labels) or more")
        if self.support not in get_args(Support):
            raise ValueError(f"support={self.support}: choose one of {', '.join(get_args(Support))}")
