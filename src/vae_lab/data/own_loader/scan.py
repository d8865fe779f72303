"""Reads a user's loader once: shape, values, classes and sizes, before a model is built for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.array.values import channels_are_last
from vae_lab.data.loader import as_batch
from vae_lab.data.scaling import as_single, scaling_from
from vae_lab.data.source import VALUES
from vae_lab.types import Batch, DataSpec, Scaling, Support

_MAX_KEPT = 1000
"""Examples of each split that pictures are drawn of."""
_MAX_NUMBERS = 2**24
"""Numbers of these examples."""
_FITTING: dict[Support, tuple[Support, ...]] = {
    "binary": ("binary",),
    "uint8": ("binary", "uint8"),
    "unit": ("binary", "uint8", "unit"),
    "real": ("binary", "uint8", "unit", "real"),
}
"""Values of another split that fit those of training."""

_REMEDIES = {
    "PIL.": "the loader gives pictures of Pillow; give its data set transform=torchvision.transforms.PILToTensor(), or"
    " give vae_lab.fit the data set itself",
    "equal size": "examples of different shapes; give the data set a transform that makes them alike, such as"
    " torchvision.transforms.Resize((64, 64)), or Grayscale()",
    "masked array": "a masked array, which loaders cannot read; give arrays, with data.missing=mask",
}
"""Remedy by the words of torch's error."""


@dataclass
class Scan:
    """Facts about the batches of a loader.

    Attributes:
        name: name of the split.
        sizes: number of examples in each batch.
        shape: shape of an example.
        classes: labels that occur.
        kept: the first examples.
    """

    name: str
    sizes: list[int] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    classes: set[int] = field(default_factory=set)
    kept: list[Batch] = field(default_factory=list)
    _low: Tensor = field(default_factory=lambda: torch.tensor(math.inf))
    _high: Tensor = field(default_factory=lambda: torch.tensor(-math.inf))
    _whole: bool = True
    _levels: bool = True
    _bytes: bool = False
    _step: int = 0
    _sums: Tensor | None = None
    _labelled: bool | None = None

    def add(self, batch: Any) -> None:
        """Adds a batch.

        Raises:
            TypeError, ValueError: in one line, naming split and batch.
        """
        try:
            known = as_batch(batch)
            self._check(known)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name}: batch {len(self.sizes)}: {error}") from error
        self.sizes.append(len(known.x))
        x = known.x.detach().cpu()
        self._look_at_values(x)
        if known.y is not None:
            self.classes |= {*np.unique(known.y.numpy(force=True)).tolist()}
        room = min(_MAX_KEPT, max(1, _MAX_NUMBERS // x[0].numel())) - sum(len(part.x) for part in self.kept)
        if room > 0:
            self.kept.append(Batch(x[:room].clone(), None if known.y is None else known.y[:room].cpu().long()))

    @property
    def num_examples(self) -> int:
        """Number of examples in an epoch."""
        return sum(self.sizes)

    @property
    def num_classes(self) -> int:
        """Number of classes, the largest label and one; 0 without labels."""
        return max(self.classes, default=-1) + 1

    @property
    def support(self) -> Support:
        """Values that the examples take."""
        in_unit = bool(self._low.min() >= 0 and self._high.max() <= 1)
        if self._whole and in_unit:
            return "binary"
        if self._bytes or (self._levels and in_unit):
            return "uint8"
        return "unit" if in_unit else "real"

    def levels_note(self) -> str:
        """Returns how few of the 256 grey levels occur, in words; empty if they may be all, or there are none."""
        if self.support != "uint8" or not self._levels or self._step < 2:
            return ""
        part = Fraction(self._step, 255)
        return f"{VALUES['uint8']}, of which only the multiples of {part} occur, at most {255 // self._step + 1} levels"

    def check_beside(self, train: Scan, num_classes: int) -> None:
        """Checks that the examples of a split are of the kind of the training examples.

        Args:
            train: facts about the training split.
            num_classes: number of classes of the data; 0: labels are not used.

        Raises:
            ValueError: for another shape, other values, or labels that training does not have.
        """
        if self.shape != train.shape:
            raise ValueError(f"{self.name}: examples of shape {self.shape}, but those of training are {train.shape}")
        if self._labelled != train._labelled:
            found, wanted = ("labels", "none") if self._labelled else ("no labels", "labels")
            raise ValueError(f"{self.name}: {found}, but the training examples have {wanted}; give all splits alike")
        if num_classes and self.num_classes > num_classes:
            raise ValueError(
                f"{self.name}: class {self.num_classes - 1}, but the training data have the classes 0 to"
                f" {num_classes - 1}; leave such examples out, or give the Dataset an attribute classes with all names"
            )
        in_bytes = self._bytes and self.support == "uint8"
        if self.support not in _FITTING[train.support] or (in_bytes and train.support == "unit"):
            found = f"values from {self._low.min():g} to {self._high.max():g} that are {VALUES[self.support]}"
            raise ValueError(
                f"{self.name}: {found}, but those of training are {VALUES[train.support]}; scale and binarize all"
                " splits alike"
            )

    def scaling(self) -> Scaling:
        """Returns mean and standard deviation of each index of the first axis; raises as `scaling_from`."""
        assert self._sums is not None
        number, total, squares = self._sums
        mean = total / number
        deviation = (squares / number - mean**2).clamp(min=0).sqrt()
        deviation[self._low == self._high] = 0
        as_single(torch.stack([self._low, self._high]).numpy(), (), self.name)
        return scaling_from(mean.numpy(), deviation.numpy(), source=f"{self.name}: ")

    def digest(self) -> str:
        """Returns a digest of the sums of the values and of their squares, in which their order is lost."""
        assert self._sums is not None
        number, total, squares = self._sums
        means = total / (number * squares).sqrt().clamp(min=1e-300)  # in -1..1
        rounded = [f"{squared:.9g} {mean:.9f}" for squared, mean in zip(squares.tolist(), means.tolist(), strict=True)]
        return blake2b("\n".join(rounded).encode(), digest_size=16).hexdigest()

    def mean(self) -> Tensor:
        """Returns the mean of the kept examples, as the model reads them."""
        return as_numbers(torch.cat([batch.x for batch in self.kept]), self.support, torch.float64).mean(0)

    def _check(self, batch: Batch) -> None:
        x, y = batch.x, batch.y
        if x.dim() < 2 or not len(x):
            raise ValueError(f"x: shape {tuple(x.shape)}, must be (B, ...) with B of 1 or more")
        if x.is_complex():
            raise TypeError("x: complex numbers, must be real ones")
        if self.shape and tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x: examples of shape {tuple(x.shape[1:])}, but those before are {self.shape}")
        finite = x.float().isfinite()
        if not bool(finite.all()):
            row = int((~finite).flatten(1).any(1).nonzero()[0])
            raise ValueError(f"x: example {row} has values that are not finite numbers of 32 bits (NaN or infinite)")
        if self._labelled not in (None, y is not None):
            raise ValueError("y: only some batches have labels")
        if y is not None and (y.is_floating_point() or y.shape != (len(x),) or int(y.min()) < 0):
            raise ValueError(f"y: {y.dtype} {tuple(y.shape)}, must be class numbers of 0 or more, ({len(x)},)")
        self.shape, self._labelled = tuple(x.shape[1:]), y is not None

    def _look_at_values(self, x: Tensor) -> None:
        numbers = x.double()
        self._bytes |= x.dtype == torch.uint8
        self._whole &= bool((numbers == numbers.round()).all())
        self._levels &= bool(((255 * numbers - (255 * numbers).round()).abs() < 1e-3).all())
        if self._levels and self._step != 1:
            grey = (numbers if x.dtype == torch.uint8 else 255 * numbers).round().long()
            self._step = math.gcd(self._step, *np.unique(grey.numpy()).tolist())
        parts = numbers.transpose(0, 1).flatten(1)
        self._low, self._high = torch.minimum(self._low, parts.amin(1)), torch.maximum(self._high, parts.amax(1))
        sums = torch.stack([torch.full((len(parts),), parts.shape[1]).double(), parts.sum(1), parts.square().sum(1)])
        self._sums = sums if self._sums is None else self._sums + sums


def scan(name: str, loader: Iterable[Any]) -> Scan:
    """Reads all batches of the loader of a split.

    Raises:
        TypeError, ValueError: in one line, for batches that no model can read, or no batch.
    """
    found = Scan(name)
    with _naming_the_transform(name):
        for batch in loader:
            found.add(batch)
    if not found.sizes:
        raise ValueError(f"{name}: the loader gave no batch")
    return found


@contextmanager
def _naming_the_transform(name: str) -> Iterator[None]:
    """Context manager that answers errors of torch's collating with the transform that the data set lacks."""
    try:
        yield
    except (TypeError, RuntimeError) as error:
        remedy = next((remedy for words, remedy in _REMEDIES.items() if words in str(error)), None)
        if remedy is None:
            raise
        raise ValueError(f"{name}: {remedy}") from error


def spec_of(train: Scan, class_names: tuple[str, ...]) -> DataSpec:
    """Returns the spec of a training split; raises ValueError for pictures whose channels are last."""
    if len(train.shape) == 3 and channels_are_last(train.shape):
        raise ValueError(
            f"{train.name}: x: examples of shape {train.shape} look like pictures with the channels last; give"
            " x.movedim(-1, 0), or a LightningDataModule whose spec has this shape"
        )
    classes = max(train.num_classes, len(class_names)) if train.num_classes else 0
    names = class_names if len(class_names) == classes else ()
    scaling = train.scaling() if train.support == "real" else None
    return DataSpec(train.shape, classes, train.support, names, scaling=scaling)


def as_numbers(x: Tensor, support: Support, dtype: torch.dtype) -> Tensor:
    """Returns examples as a model reads them: bytes of pictures as numbers in [0, 1]."""
    return x.to(dtype) / 255 if x.dtype == torch.uint8 and support == "uint8" else x.to(dtype)
