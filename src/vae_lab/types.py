"""The few types that every part of the lab shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from vae_lab.plain_values import names, whole_number, whole_numbers

if TYPE_CHECKING:  # the command line reads types without waiting for torch
    from torch import Tensor

SplitName = Literal["train", "val", "test"]
Support = Literal["binary", "unit", "uint8", "real"]
"""Values that the data take: {0, 1}; the interval [0, 1]; the 256 levels {0, 1/255, ..., 1}; any real number."""

IN_MEMORY = "(in memory)"
"""Root of data that a Python program holds, and no folder does."""

_MAX_NAMES_SHOWN = 20
"""Names that a message lists; of more it shows the first ones and their number."""


class NoExampleError(ValueError):
    """A split has no example of some classes."""

    def __init__(self, name: str, split: str) -> None:
        super().__init__(f"y={name}: the {split} split has no such example")
        self.name = name


Where = Sequence[int | Mapping[int, float]] | None
"""Any of these classes, or columns of the context with values, that examples are chosen by; None: any example."""


class Shard(NamedTuple):
    """The rows of a whole batch that one process holds: rows ``rank, rank + world, ...`` of ``size``."""

    rank: int
    world: int
    size: int

    @property
    def rows(self) -> slice:
        return slice(self.rank, self.size, self.world)


class Batch(NamedTuple):
    """A minibatch.

    Attributes:
        x: data, (B, *data_shape).
        y: class indices, int64 (B,); for data with attributes or numbers rows of floats, (B, C), with the columns of
            `DataSpec.context_names`; None for data without labels.
        shard: place of these rows in the batch that all processes share; None: they are the whole batch.
        grey: data before they were binarized, for pictures; None: not binarized, or not asked for.
    """

    x: Tensor
    y: Tensor | None = None
    shard: Shard | None = None
    grey: Tensor | None = None

    @property
    def original(self) -> Tensor:
        """The data as a picture shows them: before they were binarized, if that is known."""
        return self.x if self.grey is None else self.grey


class Scaling(NamedTuple):
    """Mean and standard deviation of some columns, as found in the training split.

    Those of x belong to the indices of the first axis of an example: columns of a table, channels of a signal. A model
    standardises x itself and undoes it in every distribution over data that it returns, so that whoever calls it gives
    and gets the units of the data, and densities are those of the data.

    Attributes:
        mean: mean of each column.
        scale: standard deviation of each column; 1 for a constant column.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any] | None) -> Scaling | None:
        """Builds a scaling from its entries in `DataSpec.plain`; None from None."""
        return None if plain is None else cls(tuple(plain["mean"]), tuple(plain["scale"]))


@dataclass(frozen=True)
class DataSpec:
    """Facts that a model must know about the data, before anything is read or downloaded.

    Attributes:
        shape: shape of one example: pictures are (channels, height, width), tables (columns,), signals (channels,
            length), volumes (channels, depth, height, width).
        num_classes: number of classes; 0 for data without labels.
        support: values that the data take.
        class_names: name of each class, in the order of the labels; empty if the classes have numbers only.
        attributes: name of each yes/no attribute of an example, 0 or 1.
        numbers: name of each number that describes an example, in the user's own units.
        numbers_scaling: mean and scale of the numbers; None: 0 and 1.
        numbers_range: smallest and largest value of each number in the training split; empty if not known.
        scaling: scaling of real numbers, found in the training data; None: the model sees them as they are.
        columns: name of each index of the first axis, such as the columns of a table; empty if they have none.
        categories: number of values of each categorical column of a table; the last columns, one-hot.
        missing: True if values may be missing, which are NaN.

    Raises:
        TypeError: for sizes and numbers that are not integers, or names that are not strings.
        ValueError: for an empty or non-positive shape, a negative number of classes, an unknown support, names that
            are not one for each class, a name that occurs twice, or a scaling or range of other columns.
    """

    shape: tuple[int, ...]
    num_classes: int = 0
    support: Support = "unit"
    class_names: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    numbers_scaling: Scaling | None = None
    numbers_range: tuple[tuple[float, float], ...] = ()
    scaling: Scaling | None = None
    columns: tuple[str, ...] = ()
    categories: tuple[int, ...] = ()
    missing: bool = False

    def __post_init__(self) -> None:
        # Lists would never equal the shapes of tensors.
        object.__setattr__(self, "shape", whole_numbers("shape", self.shape, "(1, 28, 28)"))
        object.__setattr__(self, "num_classes", whole_number("num_classes", self.num_classes))
        object.__setattr__(self, "categories", whole_numbers("categories", self.categories, "(3, 2)"))
        for key in ("class_names", "attributes", "numbers", "columns"):
            object.__setattr__(self, key, names(key, getattr(self, key)))
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape={self.shape}: every dimension of an example must be at least 1")
        if self.num_classes < 0:
            raise ValueError(f"num_classes={self.num_classes}: must be 0 (no labels) or more")
        if self.support not in get_args(Support):
            raise ValueError(f"support={self.support}: choose one of {', '.join(get_args(Support))}")
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(f"class_names={listed(self.class_names)}: {self.num_classes} classes need as many names")
        if self.categories and (len(self.shape) != 1 or sum(self.categories) > self.shape[0]):
            raise ValueError(f"categories={self.categories}: examples of shape {self.shape} have fewer columns")
        if self.columns and len(self.columns) != self.shape[0]:
            raise ValueError(f"columns={listed(self.columns)}: {self.shape[0]} columns need as many names")
        for key in ("class_names", "attributes", "numbers", "columns"):
            _check_once(key, getattr(self, key))
        _check_once("class_names, attributes and numbers", self.class_names + self.attributes + self.numbers)
        _check_numbers(self)

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """Shape of what an encoder reads: beside values that may be missing, which of them were observed."""
        return (2 * self.shape[0], *self.shape[1:]) if self.missing else self.shape

    @property
    def vector_condition(self) -> bool:
        """True if y is a row of floats for each example, because there are attributes or numbers."""
        return bool(self.attributes or self.numbers)

    @property
    def context_names(self) -> tuple[str, ...]:
        """Name of each column of the context: the classes, then the attributes, then the numbers."""
        classes = self.class_names or tuple(f"class {y}" for y in range(self.num_classes))
        return classes + self.attributes + self.numbers

    @property
    def context_features(self) -> int:
        """Width of the context, C; 0 for data without labels."""
        return len(self.context_names)

    @property
    def first_number(self) -> int:
        """Column of the context at which the numbers begin; its width if there are none."""
        return self.context_features - len(self.numbers)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> DataSpec:
        """Builds a spec from what `plain` returned, also from that of older versions, which knew less.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        keys = ("class_names", "attributes", "numbers", "columns")
        return cls(
            tuple(plain["shape"]),
            plain["num_classes"],
            plain["support"],
            **{key: tuple(map(str, plain.get(key) or ())) for key in keys},
            numbers_scaling=Scaling.from_plain(plain.get("numbers_scaling")),
            numbers_range=tuple((low, high) for low, high in plain.get("numbers_range") or ()),
            scaling=Scaling.from_plain(plain.get("scaling")),
            categories=tuple(plain.get("categories") or ()),
            missing=bool(plain.get("missing", False)),
        )

    def plain(self) -> dict[str, Any]:
        """Returns the spec as plain containers, for a config file."""
        plain: dict[str, Any] = {
            "shape": list(self.shape),
            "num_classes": self.num_classes,
            "support": self.support,
            "class_names": list(self.class_names),
            "attributes": list(self.attributes),
            "numbers": list(self.numbers),
        }
        for key, scaling in (("scaling", self.scaling), ("numbers_scaling", self.numbers_scaling)):
            if scaling is not None:
                plain[key] = {name: list(column) for name, column in scaling._asdict().items()}
        further = {"columns": list(self.columns), "categories": list(self.categories), "missing": self.missing}
        further["numbers_range"] = [list(limits) for limits in self.numbers_range]
        return plain | {key: value for key, value in further.items() if value}

    def name_of(self, y: int) -> str:
        """Returns the name of class ``y``: its number if the classes have no names."""
        return self.class_names[y] if self.class_names else str(y)

    def check_data(self, data: DataSpec, source: str = "") -> None:
        """Checks that data fit a model that was trained for this spec; names are compared if it has any.

        Args:
            data: spec of the data.
            source: opening of the message, such as ``data_root=FOLDER: ``.

        Raises:
            ValueError: naming the first difference.
        """
        for key in ("shape", "num_classes", "support"):
            if getattr(self, key) != getattr(data, key):
                both = f"{key}={getattr(self, key)}, but the data have {key}={getattr(data, key)}"
                raise ValueError(f"{source}the model was trained for {both}{_which(self, data, key)}")
        if self.columns and data.columns and self.columns != data.columns:
            raise ValueError(f"{source}{_other_names('column', 'columns', self.columns, data.columns)}")
        if self.class_names and not data.class_names:
            names = listed(self.class_names)
            raise ValueError(
                f"{source}the model was trained for the classes {names}, but those of the data have no names"
            )
        if self.class_names and self.class_names != data.class_names:
            raise ValueError(f"{source}{_other_names('class', 'classes', self.class_names, data.class_names)}")
        for key in ("attributes", "numbers"):
            was, found = getattr(self, key), getattr(data, key)
            if was != found:
                trained = f"the {key} {listed(was)}" if was else f"data without {key}"
                theirs = f"those of the data are {listed(found)}" if found else "the data have none"
                raise ValueError(f"{source}the model was trained for {trained}, but {theirs}")


def _check_once(key: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{key}={listed(names)}: the name {twice} occurs twice")


def _check_numbers(spec: DataSpec) -> None:
    """Checks that scalings and the range of the numbers have a finite entry for each column."""
    columns: list[tuple[str, Any, int]] = [("numbers_range", spec.numbers_range, len(spec.numbers))]
    scalings = (("scaling", spec.scaling, spec.shape[0]), ("numbers_scaling", spec.numbers_scaling, len(spec.numbers)))
    for key, scaling, num in scalings:
        if scaling is not None:
            columns.append((key, list(zip(*scaling, strict=True)), num))
            if not all(scale > 0 for scale in scaling.scale):
                raise ValueError(f"{key}={scaling}: every scale must be above 0")
    for key, rows, num in columns:
        if rows and len(rows) != num:
            raise ValueError(f"{key}: {len(rows)} columns for {num} numbers")
        if not all(math.isfinite(value) for row in rows for value in row):
            raise ValueError(f"{key}={list(rows)}: must be finite")


def listed(names: Sequence[str], most: int = _MAX_NAMES_SHOWN) -> str:
    """Returns names in one line, shortened if there are more than ``most``."""
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def _which(model: DataSpec, data: DataSpec, key: str) -> str:
    """Returns the names behind two different numbers of classes, in brackets, and what to do."""
    if key != "num_classes" or not (model.class_names or data.class_names):
        return ""
    names = [listed(spec.class_names) or "no names" for spec in (model, data)]
    return f" ({'; '.join(names)}){_remedy(model.class_names, data.class_names)}"


def _remedy(model: Sequence[str], data: Sequence[str]) -> str:
    """Returns what to do with names that a model does not know; empty if it knows all, or none."""
    unknown = [name for name in data if name not in model]
    return f"; rename {listed(unknown)} to one of the model's, or take it away" if unknown and model else ""


def _other_names(kind: str, kinds: str, model: Sequence[str], data: Sequence[str]) -> str:
    """Returns that names differ and, if shortened lists may not show it, the first that does."""
    line = f"the model was trained for the {kinds} {listed(model)}, but those of the data are {listed(data)}"
    if len(model) <= _MAX_NAMES_SHOWN:
        return line + _remedy(model, data)
    number, (was, found) = next((i, pair) for i, pair in enumerate(zip(model, data, strict=True)) if pair[0] != pair[1])
    return f"{line}: {kind} {number} was {was}, is {found}"
