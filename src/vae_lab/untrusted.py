"""Small text files that may be a stranger's, read as plain data: in bounded time and memory, executing nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 10**7
"""Of a config or a record; the largest that the lab writes has some thousands."""
DEEPEST = 100
"""Mappings and lists within each other; beyond, libyaml's own recursion would end the process."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast


def read_yaml(path: Path) -> Any:
    """The plain containers in a YAML file.

    Raises:
        OSError: where there is no such file.
        ValueError: in one line, for anything but plain YAML: with tags of Python objects, with aliases (a few lines of
            them unfold to more than any memory holds), or nested too deep.
    """
    text = _text(path)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise _unreadable(path, "YAML", error) from error


def parse_yaml(text: str) -> Any:
    """The plain containers in a YAML text.

    Raises:
        ValueError: as `read_yaml`.
    """
    try:
        depth = 0
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it has an alias, which no run writes")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"it is nested more than {DEEPEST} deep")
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from error


def read_json(path: Path) -> Any:
    """The plain containers in a JSON file.

    Raises:
        OSError: where there is no such file.
        ValueError: in one line, for what is no JSON.
    """
    text = _text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, "JSON", error) from error


def _text(path: Path) -> str:
    size = path.stat().st_size
    if not path.is_file():  # a pipe would never end
        raise ValueError(f"{path}: no regular file")
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {size} bytes, more than a config or a record of a run has")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(path, "text", error) from error


def _unreadable(path: Path, kind: str, error: Exception) -> ValueError:
    return ValueError(f"{path}: not readable as {kind} ({' '.join(str(error).split())[:200]})")
