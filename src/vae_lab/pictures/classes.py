"""Classes by name: as a user types them, as figures show them, and as they stand in the names of files."""

from __future__ import annotations

import difflib
import re
import warnings

from vae_lab.settings import Label
from vae_lab.types import DataSpec, listed

MAX_NAME = 40
"""Characters of a class name in a legend or in the name of a file."""


def class_of(spec: DataSpec, label: Label) -> int:
    """Returns the number of the class that a user means: the one of that name, or else the one of that number.

    Raises:
        ValueError: for neither, listing the classes.
    """
    text = _typed(label)
    number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
    if text in spec.class_names:
        named = spec.class_names.index(text)
        if number is not None and number != named and 0 <= number < spec.num_classes:
            warnings.warn(f"y={text}: the class named {text}, which has the number {named}", stacklevel=2)
        return named
    if number is not None and 0 <= number < spec.num_classes:
        return number
    raise ValueError(f"y={text}: {_wanted(spec, text)}")


def class_label(spec: DataSpec | None, y: int) -> str:
    """Returns a class as figures show it: its name, or ``class 3`` where the name is a number or unknown."""
    name = str(y) if spec is None else spec.name_of(y)
    return f"class {name}" if name.isdecimal() else name


def class_tag(spec: DataSpec | None, y: int) -> str:
    """Returns a class for the name of a file or a tag: letters and digits as they are, else the number before them.

    Different classes of a spec have different tags, and no tag has a ``-``, so that several can be joined by it.
    """
    name = str(y) if spec is None else spec.name_of(y)
    if name.isalnum() and len(name) <= MAX_NAME:
        return name
    letters = re.sub(r"\W", "_", name)
    return f"{y}_{letters[:MAX_NAME]}"


def _typed(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def _wanted(spec: DataSpec, text: str) -> str:
    """Returns the classes to choose from, the nearest one first."""
    if not spec.class_names:
        return f"this model has classes 0 to {spec.num_classes - 1}"
    lower = {name.lower(): name for name in spec.class_names}
    near = [] if text.lstrip("-").isdecimal() else difflib.get_close_matches(text.lower(), lower, n=1)
    hint = f" (did you mean {lower[near[0]]}?)" if near else ""
    return f"no such class{hint}; the classes are {listed(spec.class_names)}"
