"""Nested configs by dotted keys, and the words ``key=value`` that set them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


def walk(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every node of a config with its key, such as ``optimizer``, ``optimizer.betas``, ``optimizer.betas[0]``.

    Args:
        node: config of mappings and lists; it comes first.
        key: key of the config itself.
    """
    yield key, node
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from walk(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from walk(child, f"{key}[{number}]")


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value of a config with its key; a list is a value, and so is an empty mapping."""
    if isinstance(node, Mapping) and node:
        for name, child in node.items():
            yield from leaves(child, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def with_strings(node: Any, change: Callable[[str], str]) -> Any:
    """Returns a config in which each string that is a value is changed."""
    if isinstance(node, Mapping):
        return {name: with_strings(child, change) for name, child in node.items()}
    if isinstance(node, list):
        return [with_strings(child, change) for child in node]
    return change(node) if isinstance(node, str) else node


def value_at(config: Any, key: str, default: Any = None) -> Any:
    """Returns the value at a key of nested mappings; ``default`` if there is none."""
    for name in key.split("."):
        if not isinstance(config, Mapping) or name not in config:
            return default
        config = config[name]
    return config


def key_of(word: str) -> str:
    """Returns the key of a word of the command line, such as ``trainer.profiler`` of ``+trainer.profiler=simple``."""
    return word.lstrip("+~").partition("=")[0]


def key_around(key: str, keys: Iterable[str]) -> str | None:
    """Returns the first of some keys that is this key or holds it; None if none does."""
    return next((outer for outer in keys if f"{key}.".startswith(f"{outer}.")), None)


def shown(value: Any) -> str:
    """Returns a value as one writes it on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
