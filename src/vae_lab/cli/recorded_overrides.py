"""Says what the record of a run, which may be a stranger's, may add to a command line: values, nothing to call.

Hydra calls whatever a `_target_` names. The user's own config tree and the words that the user types may name anything;
the words that config.yaml recorded may only choose among what that tree offers and set its values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from vae_lab.nested import walk

_PLACES = ("run_dir", "dirpath", "filename", "save_dir", "default_root_dir")
"""Last parts of keys that say where files are written."""

_READ_FROM = ("data", "init_from")
"""First parts of keys that say where files are read; a run that goes on does not read its init_from again."""


def refusal(word: Any, swept: bool = False) -> str | None:
    """Returns why a recorded word is refused; None if it is accepted.

    Args:
        word: word of config.yaml; any plain container.
        swept: True to accept several values, as a sweep has them, if each of them is accepted.
    """
    try:
        override = OverridesParser.create().parse_override(word) if isinstance(word, str) else None
    except (HydraException, RecursionError):
        override = None
    if override is None or (override.is_sweep_override() and not swept):
        return "is not of the form key=value"
    if override.is_choice_sweep() or override.is_range_sweep():
        words = (f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator())
        return next(filter(None, map(refusal, words)), None)
    return _refused_key(override) or _refused_value(override)


def _refused_key(override: Override) -> str | None:
    parts = re.split(r"[./]", f"{override.key_or_group}.{override.package or ''}")
    if "hydra" in parts:
        return "sets a key of Hydra's own"
    return "names something to be called" if any(map(_calls, parts)) else None


def _refused_value(override: Override) -> str | None:
    key = override.key_or_group.split(".")
    for text in [key[-1], *_texts(override.value())]:
        if _calls(text):
            return "names something to be called"
        if re.search(r"\$\{[^}]*:", text) or ("${" in text and len(key) == 1):
            return "computes its value"
        if text in _PLACES or (key[0] not in _READ_FROM and (text.startswith("/") or ".." in Path(text).parts)):
            return "says where files are"
    return None


def _calls(name: str) -> bool:
    """True for a key that instantiation obeys: _target_, _partial_, _args_, ..."""
    return re.fullmatch(r"_\w+_", name) is not None


def _texts(value: Any) -> Iterator[str]:
    """Yields every string in a value, and every key."""
    for _, node in walk(value):
        if isinstance(node, Mapping):
            yield from map(str, node)
        elif not isinstance(node, list):
            yield str(node)
