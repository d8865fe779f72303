"""Sheets on demand: of which kind, of which classes and levels, how many."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.classes import Label, class_of, class_tag
from vae_lab.pictures.latents import Draw, rows_of, varied
from vae_lab.pictures.levels import progressive, redrawn
from vae_lab.pictures.plane import latent_plane, manifold
from vae_lab.pictures.reconstructions import interpolations, pairs, reconstructions
from vae_lab.pictures.samples import samples, samples_by_class
from vae_lab.pictures.sheet import Sheet
from vae_lab.pictures.traversals import traversals
from vae_lab.types import Batch, NoExampleError, listed

What = Literal["samples", "reconstructions", "traversals", "interpolations", "manifold", "progressive", "levels"]
Labels = Label | Sequence[Label] | None
"""A class by name or number, several, or all."""
Classes = Sequence[int] | None
"""Those that are asked for; None: any, or none in an unconditional model."""
Examples = Callable[[int, Classes], Batch]
"""(num, classes) -> so many examples of these classes, or all there are."""

NUM = {
    "samples": 64,
    "reconstructions": 32,
    "traversals": 10,
    "interpolations": 8,
    "manifold": 20,
    "progressive": 12,
    "levels": 10,
}
NUM_OF_EACH_CLASS = 8
"""Samples, where several classes stand side by side."""
MAX_JOINED = 120
"""Bytes of several class names in the name of a file."""
POOL = 1000
"""Examples to choose from: as many as the pictures of a training know, so that both show the same ones."""

USED_BY: dict[str, tuple[What, ...]] = {
    "level": ("traversals",),
    "temperature": ("samples",),
    "draw": ("samples",),
    "split": ("reconstructions", "traversals", "interpolations", "progressive", "levels"),
}
"""Settings that mean something to some kinds of sheets alone."""
IN_NAMES = {"num": "num", "temperature": "t", "draw": "draw_", "split": "", "seed": "seed"}
"""What the name of a sheet says before the value of a setting."""


@dataclass(frozen=True)
class Request:
    """What is wanted of a model.

    Attributes:
        what: the kind of sheet.
        num: samples (of each class), reconstructions, rows of traversals or interpolations, images a side of a
            manifold, columns of progressive reconstructions, draws of each level; None: the usual number.
        y: class of a conditional model, by name or number; several; or all.
        level: of traversals; None: every level.
        temperature: of samples, one number or one for each level, nearest the data first; see
            `LatentVariableModel.generate`.
        draw: of samples: the mean of p(x|z), or a sample.
        split: of the examples.
        seed: of the noise.

    Raises:
        ValueError: for a number out of its range, or a setting that means nothing to this kind of sheet.
    """

    what: What = "samples"
    num: int | None = None
    y: Labels = None
    level: int | None = None
    temperature: float | Sequence[float] = 1.0
    draw: Draw = "mean"
    split: str = "test"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num is not None and self.num < 1:
            raise ValueError(f"num={self.num}: must be at least 1")
        temperatures = [self.temperature] if isinstance(self.temperature, int | float) else self.temperature
        if not all(0 <= each < math.inf for each in temperatures):
            raise ValueError(f"temperature={self.temperature}: must be 0 or more")
        for key, value in self._changes().items():
            if self.what not in USED_BY.get(key, (self.what,)):
                raise ValueError(f"{key}={value}: means nothing to {self.what}, only to {', '.join(USED_BY[key])}")

    def sheets(self, model: LatentVariableModel, examples: Examples) -> Iterator[tuple[str, Sheet]]:
        """The sheets, each with a name that tells what it shows and which settings are not the default.

        Args:
            model: with the ``spec`` of its data.
            examples: called only where some are needed.

        Raises:
            ValueError: naming the setting that does not suit the model or the examples.
        """
        if self.y == "null" and "null" not in _names(model):  # as it is typed for none
            yield from replace(self, y=None).sheets(model, examples)
            return
        classes = self._classes(model)
        each: Sequence[int | None] = classes or [None]
        match self.what:
            case "samples":
                yield self._name(model, classes), self._samples(model, classes)
            case "reconstructions":
                yield self._name(model, classes), self._reconstructions(model, examples, classes)
            case "interpolations":
                yield self._name(model, classes), self._interpolations(model, examples, classes)
            case "progressive" | "levels":
                yield self._name(model, classes), self._by_level(model, examples, classes)
            case "traversals":
                yield from self._all_traversals(model, examples, each)
            case "manifold":
                for y in each:
                    yield self._name(model, None if y is None else [y]), self._manifold(model, y)

    def _samples(self, model: LatentVariableModel, classes: Classes) -> Sheet:
        how: dict[str, Any] = {"temperature": self.temperature, "seed": self.seed, "draw": self.draw}
        if classes is not None and len(classes) > 1:
            return samples_by_class(model, classes, self.num or NUM_OF_EACH_CLASS, **how)
        num = self._num
        return samples(model, num, None if classes is None else torch.full((num,), classes[0]), **how)

    def _reconstructions(self, model: LatentVariableModel, examples: Examples, classes: Classes) -> Sheet:
        found = self._enough(examples, self._num, classes)
        shown = found if self._num >= len(found.x) else rows_of(varied(found), slice(self._num))
        return reconstructions(model, shown, seed=self.seed)

    def _interpolations(self, model: LatentVariableModel, examples: Examples, classes: Classes) -> Sheet:
        found = self._enough(examples, 2 * self._num, classes)
        return interpolations(model, *pairs(varied(found), self._num, same_class=model.conditional), seed=self.seed)

    def _by_level(self, model: LatentVariableModel, examples: Examples, classes: Classes) -> Sheet:
        if model.num_levels == 1:
            raise ValueError(f"what={self.what}: shows the levels of a hierarchy, this model has one")
        num = self._num if self.what == "progressive" else 1
        found = varied(examples(max(num, POOL), classes))
        if self.what == "progressive":
            return progressive(model, rows_of(found, slice(num)), self.seed)
        return redrawn(model, rows_of(found, slice(1)), self.seed, self._num)

    def _all_traversals(
        self, model: LatentVariableModel, examples: Examples, each: Sequence[int | None]
    ) -> Iterator[tuple[str, Sheet]]:
        """The traversals of each class; of all classes, those of which there is an example."""
        missing = []
        for y in each:
            try:
                yield from self._traversals(model, examples, y)
            except NoExampleError as error:
                missing.append(error)
                if self.y not in (None, "all") or len(missing) == len(each):
                    raise
        if missing:
            names = listed([error.name for error in missing])
            warnings.warn(f"{names}: the {self.split} split has no example, so no traversals of it", stacklevel=2)

    def _traversals(self, model: LatentVariableModel, examples: Examples, y: int | None) -> Iterator[tuple[str, Sheet]]:
        found = examples(POOL, None if y is None else [y])
        every = range(1, model.num_levels + 1)
        for level in every if self.level is None else [self.level]:
            name = self._name(model, None if y is None else [y], level if len(every) > 1 else None)
            yield name, traversals(model, found, level, self._num, self.seed)

    def _manifold(self, model: LatentVariableModel, y: int | None) -> Sheet:
        if not latent_plane(model):
            raise ValueError("what=manifold: the top level of this model has not 2 dimensions; train with latent_dim=2")
        return manifold(model, y, self._num)

    @property
    def _num(self) -> int:
        return self.num or NUM[self.what]

    def _enough(self, examples: Examples, num: int, classes: Classes) -> Batch:
        """At least ``num`` examples; fewer only where the user named no number."""
        found = examples(max(num, POOL), classes)
        if self.num is not None and len(found.x) < num:
            raise ValueError(f"num={self.num}: takes {num} examples, but the {self.split} split has {len(found.x)}")
        return found

    def _classes(self, model: LatentVariableModel) -> Classes:
        if not model.conditional:
            if self.y is not None:
                raise ValueError(f"y={self.y}: this model is unconditional, it takes no labels")
            return None
        assert model.spec is not None, "every model of vae_lab.models has it"
        every = range(model.spec.num_classes)
        if self.y is None and self.what == "samples":
            classes = listed(model.spec.class_names) or f"0 to {every[-1]}"
            raise ValueError(f"y: this model is conditional; give y=all or a class: {classes}")
        if self.y == "all" and "all" in _names(model):
            warnings.warn("y=all: all classes; y=[all] is the class of that name", stacklevel=2)
        if self.y is None or self.y == "all":
            return every
        labels = [self.y] if isinstance(self.y, Label) else self.y
        if not labels:
            raise ValueError("y=[]: name at least one class, or give y=all")
        return [class_of(model.spec, label) for label in labels]

    def _name(self, model: LatentVariableModel, classes: Classes, level: int | None = None) -> str:
        """Such as ``traversals_level_2_y3_seed1``."""
        parts = [self.what, *([] if level is None else [f"level_{level}"])]
        if classes is not None and len(classes) == 1:
            parts.append(f"y{class_tag(model.spec, classes[0])}")
        elif classes is not None and self.y is not None:
            parts.append("y_all" if self.y == "all" else f"y{_joined(model, classes)}")
        parts += [f"{IN_NAMES[key]}{_shown(value)}" for key, value in self._changes().items() if key in IN_NAMES]
        return "_".join(parts)

    def _changes(self) -> dict[str, Any]:
        """The settings that are not the default."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}


def _shown(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _names(model: LatentVariableModel) -> tuple[str, ...]:
    return () if model.spec is None else model.spec.class_names


def _joined(model: LatentVariableModel, classes: Sequence[int]) -> str:
    """Returns several classes for the name of a file; of very many a digest, as file systems limit its length."""
    for names in ([class_tag(model.spec, y) for y in classes], list(map(str, classes))):
        if len("-".join(names).encode()) <= MAX_JOINED:
            return "-".join(names)
    return f"{len(classes)}_classes_{zlib.crc32(repr(list(classes)).encode()):08x}"
