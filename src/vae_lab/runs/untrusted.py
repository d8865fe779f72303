"""Small text files that may be a stranger's, read as plain data: in bounded time and memory, executing nothing."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from vae_lab.errors import one_line

MAX_BYTES = 10**7
"""Size of a config or a record; the largest that the lab writes has some thousands."""
_MAX_NODES = 10**5
"""Values, keys, lists and mappings in a YAML file; a million of them would take ten seconds and a gigabyte."""
_MAX_DEPTH = 100
"""Mappings and lists within each other; beyond, libyaml's own recursion would end the process."""
_MAX_DIGITS = 64
"""Digits of a number: 1:59:59:... is base 60 to YAML, and takes a time that grows with the square of its length."""
_MAX_BITS = 64
"""Size of an integer. Longer ones may share one hash, so that a mapping with them as keys takes quadratic time."""
_MAX_KEY = 1000
"""Characters of a key, which messages show."""
_MAX_TAG_DIRECTIVES = 10
"""Each is compared with all others."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's is ten times as fast
    """Reads plain values, only numbers that take no time, and each key of a mapping once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Raises ValueError for a key that is there twice, of which YAML's readers would take the last."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        longest = max(map(len, keys), default=0)
        if longest > _MAX_KEY:
            raise ValueError(f"it has a key of {longest} characters")
        if len(set(keys)) < len(keys):
            raise ValueError(f"it has the key {Counter(keys).most_common(1)[0][0]} twice")
        return super().construct_mapping(node, deep)


def _number(loader: Any, node: yaml.ScalarNode) -> Any:
    """Constructs an integer or a float of bounded length."""
    if len(node.value) > _MAX_DIGITS:
        raise ValueError(f"it has a number of {len(node.value)} digits")
    kind = "int" if node.tag.endswith(":int") else "float"
    number = getattr(loader, f"construct_yaml_{kind}")(node)
    if isinstance(number, int) and number.bit_length() > _MAX_BITS:
        raise ValueError(f"it has an integer of more than {_MAX_BITS} bits")
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def read_yaml(path: Path) -> Any:
    """Returns the plain containers in a YAML file.

    Raises:
        OSError: if there is no such file.
        ValueError: in one line, for anything but plain YAML: with tags of Python objects, with aliases (a few lines of
            them unfold to more than any memory holds), nested too deep, with too many values or too long a number.
    """
    text = _text(path)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise _unreadable(path, "YAML", error) from error


def parse_yaml(text: str) -> Any:
    """Returns the plain containers in a YAML string.

    Raises:
        ValueError: as `read_yaml`.
    """
    try:
        _check_structure(text)
        return yaml.load(text, _Loader)
    except Exception as error:  # PyYAML's own constructors fail in many ways, such as IndexError for !!int ""
        raise ValueError(one_line(error)) from error


def _check_structure(text: str) -> None:
    """Raises ValueError for what would take too long or too much memory to construct."""
    if text.count("%TAG") > _MAX_TAG_DIRECTIVES:
        raise ValueError(f"it has more than {_MAX_TAG_DIRECTIVES} directives %TAG")
    depth = 0
    for number, event in enumerate(yaml.parse(text, _Loader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has an alias, which no run writes")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
        if number > _MAX_NODES:
            raise ValueError(f"it has more than {_MAX_NODES} values")


def read_json(path: Path) -> Any:
    """Returns the plain containers in a JSON file.

    Raises:
        OSError: if there is no such file.
        ValueError: in one line, for anything but JSON.
    """
    text = _text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, "JSON", error) from error


def _text(path: Path) -> str:
    size = path.stat().st_size
    if not path.is_file():  # a pipe would never end
        raise ValueError(f"{path}: not a regular file")
    if size > MAX_BYTES:
        raise ValueError(f"{path}: {size} bytes, more than a config or a record of a run has")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(path, "text", error) from error


def _unreadable(path: Path, kind: str, error: Exception) -> ValueError:
    return ValueError(f"{path}: not readable as {kind} ({one_line(error, 200)})")
