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

    Where all names are numbers, as of the labels 0, 1, 3, a number is a name.

    Raises:
        ValueError: for neither, listing the classes.
    """
    text = _typed(spec, label)
    number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
    if text in spec.class_names:
        named = spec.class_names.index(text)
        if number is not None and number != named and 0 <= number < spec.num_classes:
            warnings.warn(f"y={text}: the class named {text}, which has the number {named}", stacklevel=2)
        return named
    by_number = not spec.class_names or not all(name.isdecimal() for name in spec.class_names)
    if number is not None and 0 <= number < spec.num_classes and by_number:
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


def _typed(spec: DataSpec, label: Label) -> str:
    """Returns a label as a name; True and False, in any spelling, are 1 and 0 where there are two classes unnamed."""
    text = str(label)
    if text.lower() not in ("true", "false") or text in spec.class_names:
        return text
    if spec.num_classes == 2 and not spec.class_names:
        return str(int(text.lower() == "true"))
    return next((name for name in spec.class_names if name.lower() == text.lower()), text.lower())


def _wanted(spec: DataSpec, text: str) -> str:
    """Returns the classes to choose from, the nearest one first."""
    if not spec.class_names:
        return f"this model has classes 0 to {spec.num_classes - 1}"
    lower = {name.lower(): name for name in spec.class_names}
    near = [] if text.lstrip("-").isdecimal() else difflib.get_close_matches(text.lower(), lower, n=1)
    hint = f" (did you mean {lower[near[0]]}?)" if near else ""
    return f"no such class{hint}; the classes are {listed(spec.class_names)}"
