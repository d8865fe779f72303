"""Conditions of attributes and numbers: as a user types them, as figures show them, and as they stand in file names.

``heart+smiling+x:0.3`` names a class, attributes that are present, and numbers with their values; so does a mapping,
``{heart: 1, smiling: 1, x: 0.3}``. A list of numbers gives all numbers in order.
"""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae_lab.pictures.classes import MAX_NAME, class_label, class_of
from vae_lab.settings import Label
from vae_lab.types import DataSpec, listed

_ON = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0}


@dataclass(frozen=True)
class Condition:
    """Some columns of the context with the values that a user wants.

    Attributes:
        spec: spec of the model's data.
        values: value of each column that is named, by its number.
    """

    spec: DataSpec
    values: Mapping[int, float]

    def row(self) -> Tensor:
        """Returns the whole condition, (C,): attributes that are not named are 0, numbers are at their training mean.

        Raises:
            ValueError: for data with classes, if none is named, or a number without a value and without a known mean.
        """
        spec = self.spec
        if spec.num_classes and not any(column < spec.num_classes for column in self.values):
            names = listed(spec.context_names[: spec.num_classes])
            raise ValueError(f"y={self.text()}: names no class; add one of {names}")
        row = torch.zeros(spec.context_features, device="cpu")
        for column, value in {**self._means(), **self.values}.items():
            row[column] = value
        return row

    def flags(self) -> dict[int, float]:
        """Returns the columns that examples are chosen by.

        Raises:
            ValueError: for a number, because hardly an example has exactly that value.
        """
        numbers = [self.spec.context_names[column] for column in self.values if column >= self.spec.first_number]
        if numbers:
            raise ValueError(
                f"y={self.text()}: examples are chosen by class and attributes, not by numbers ({listed(numbers)})"
            )
        return {column: value for column, value in self.values.items() if column >= self.spec.num_classes or value}

    def text(self, digits: int = 6) -> str:
        """Returns the condition as it is typed, without the classes and attributes that are 0."""
        names, first = self.spec.context_names, self.spec.first_number
        shown = [(column, value) for column, value in sorted(self.values.items()) if value or column >= first]
        parts = [names[column] if column < first else f"{names[column]}:{value:.{digits}g}" for column, value in shown]
        return "+".join(parts) or "none"

    def tag(self) -> str:
        """Returns the condition for the name of a file: letters, digits, dots and minus signs."""
        return re.sub(r"[^\w.+-]", "_", self.text().replace(":", "_")).replace("+", "-")

    def _means(self) -> dict[int, float]:
        """Returns the mean of each number that is not named, with a warning."""
        first = self.spec.first_number
        missing = [column for column in range(first, self.spec.context_features) if column not in self.values]
        if not missing:
            return {}
        names = [self.spec.context_names[column] for column in missing]
        if self.spec.numbers_scaling is None:
            raise ValueError(f"y={self.text()}: give values to the numbers {listed(names)} as well")
        means = {column: self.spec.numbers_scaling.mean[column - first] for column in missing}
        shown = listed([f"{name}:{value:.4g}" for name, value in zip(names, means.values(), strict=True)])
        warnings.warn(
            f"y={self.text()}: without {listed(names)}; the means in training are taken: {shown}", stacklevel=3
        )
        return means


Chosen = Sequence[int | Condition] | None
"""Numbers of the classes that are asked for, or conditions; None: all of them, or an unconditional model."""


def condition_of(spec: DataSpec, given: Any) -> Condition:
    """Returns the condition that a user means.

    Args:
        given: words joined by ``+``, a mapping from names to values, one number, or a list of all numbers in order.

    Raises:
        ValueError: for an unknown name, a value of another kind, or a name that occurs twice.
    """
    if isinstance(given, Mapping):
        pairs = [(str(name), value) for name, value in given.items()]
        typed = "+".join(f"{name}:{value}" for name, value in pairs)
    elif isinstance(given, Sequence) and not isinstance(given, str):
        return _in_order(spec, given)
    elif not spec.num_classes and _is_number(given) and str(given) not in spec.context_names:
        return _in_order(spec, [given])
    else:
        typed = str(given).lower() if isinstance(given, bool) else str(given)
        pairs = _pairs(spec, typed)
    values: dict[int, float] = {}
    for name, value in pairs:
        column, number = _column(spec, name, value, typed)
        if column in values:
            raise ValueError(f"y={typed}: {spec.context_names[column]} is given twice")
        if column < spec.num_classes and number and any(other < spec.num_classes for other in values):
            raise ValueError(f"y={typed}: an example has one class; to see several give a list, y=[...,...]")
        values[column] = number
    found = Condition(spec, values)
    _check_range(found)
    return found


def conditions_of(spec: DataSpec, given: Any) -> list[Condition]:
    """Returns the conditions that a user means; a list is one of conditions unless it gives all numbers in order.

    Raises:
        ValueError: as `condition_of`, and for an empty list.
    """
    several = isinstance(given, list | tuple) and not (spec.numbers and all(map(_is_number, given)))
    if isinstance(given, list | tuple) and not given:
        raise ValueError("y=[]: name at least one condition")
    return [condition_of(spec, each) for each in (given if several else [given])]


def row_label(spec: DataSpec | None, y: Tensor) -> str:
    """Returns a class () or a condition (C,) as figures show it, shortened if it is long."""
    if y.dim() == 0:
        return class_label(spec, int(y))
    assert spec is not None, "rows of a condition belong to a spec"
    text = Condition(spec, dict(enumerate(y.tolist()))).text(digits=3).replace("+", ", ").replace(":", " ")
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def example_of(spec: DataSpec) -> str:
    """Returns a condition as one may type it."""
    if not spec.vector_condition:
        return f"y={spec.name_of(0)}"
    words = [*spec.context_names[: min(1, spec.num_classes)], *spec.attributes[:1]]
    words += [f"{name}:{_middle(spec, name)}" for name in spec.numbers]
    return f"y={'+'.join(words)}"


def _in_order(spec: DataSpec, numbers: Sequence[Any]) -> Condition:
    typed = f"[{', '.join(map(str, numbers))}]" if len(numbers) != 1 else str(numbers[0])
    names = listed(spec.numbers) or "none"
    if len(numbers) != len(spec.numbers) or not all(map(_is_number, numbers)):
        raise ValueError(
            f"y={typed}: a list gives all numbers of the condition in order, which are {names}; for example"
            f" {example_of(spec)}"
        )
    values = enumerate(zip(spec.numbers, numbers, strict=True), spec.first_number)
    found = Condition(spec, {column: _number(number, name, typed) for column, (name, number) in values})
    _check_range(found)
    return found


def _pairs(spec: DataSpec, typed: str) -> list[tuple[str, Any]]:
    """Splits what is typed into names with values; a class or an attribute alone has the value 1.

    A name may hold ``+`` or ``:``: as many words as make a known name are taken together.
    """
    words = typed.split("+")
    pairs: list[tuple[str, Any]] = []
    while words:
        lengths = range(len(words), 0, -1)
        found = (_named(spec, "+".join(words[:length])) for length in lengths)
        length, pair = next(((n, pair) for n, pair in zip(lengths, found, strict=True) if pair), (1, None))
        name, colon, value = words[0].rpartition(":")
        pairs.append(pair or ((name, value) if colon else (words[0], None)))
        del words[:length]
    return pairs


def _named(spec: DataSpec, text: str) -> tuple[str, Any] | None:
    """Returns a known name and the value behind its colon; None for any other text."""
    name, colon, value = text.rpartition(":")
    if text in spec.context_names:
        return text, None
    whole = "+" not in value or _is_number(value)  # 1e+12
    return (name, value) if colon and whole and name in spec.context_names else None


def _column(spec: DataSpec, name: str, value: Any, typed: str) -> tuple[int, float]:
    names = spec.context_names
    if name not in names:
        if spec.num_classes and re.fullmatch(r"[0-9]+", name):
            return class_of(spec, name), 1.0
        lower = {each.lower(): each for each in names}
        near = difflib.get_close_matches(name.lower(), lower, n=1)
        hint = f" (did you mean {lower[near[0]]}?)" if near else ""
        raise ValueError(f"y={typed}: {name} is not in this model's condition{hint}: {listed(names)}")
    column = names.index(name)
    if column >= spec.first_number:
        if value is None:
            raise ValueError(f"y={typed}: {name} is a number; give its value, {name}:{_middle(spec, name)}")
        return column, _number(value, name, typed)
    on = _ON.get(str(1 if value is None else value).lower())
    if on is None:
        raise ValueError(f"y={typed}: {name} is yes or no; leave its value out, or give 0 or 1")
    return column, on


def _is_number(value: Any) -> bool:
    """True for a number, also as a string, which a command line gives."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _number(value: Label, name: str, typed: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"y={typed}: {name} is a number, and {value} is not") from None
    if not math.isfinite(number):
        raise ValueError(f"y={typed}: {name} must be a finite number")
    return number


def _middle(spec: DataSpec, name: str) -> str:
    return "0.5" if spec.numbers_scaling is None else f"{spec.numbers_scaling.mean[spec.numbers.index(name)]:.3g}"


def _check_range(condition: Condition) -> None:
    """Warns of numbers outside the training range, where a model extrapolates."""
    spec = condition.spec
    for column, (low, high) in enumerate(spec.numbers_range, spec.first_number):
        value = condition.values.get(column)
        if value is not None and not low <= value <= high:
            name = spec.context_names[column]
            warnings.warn(f"y={name}:{value:g}: training had {low:g} to {high:g}; the model extrapolates", stacklevel=3)
