"""Quotes the paths of a command line for Hydra, whose grammar refuses many characters of paths."""

from __future__ import annotations

import os

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
from hydra.errors import HydraException

from vae_lab.cli.check import ConfigError
from vae_lab.files import absolute

PATHS = (
    "resume",
    "run",
    "run2",
    "out",
    "data_root",
    "data.root",
    "init_from",
    "sweep.resume",
    "search.storage",
    "hydra.run.dir",
    "hydra.sweep.dir",
)
"""Keys whose values are paths."""

ROOTS = ("data.root", "data_root")
"""Keys of folders that are recorded, and must mean the same if the run is resumed in another working directory."""

_NO_PATHS = ("null", "auto")
"""Values of these keys that are not paths; a folder of that name is ./null or ./auto."""


def with_quoted_path(word: str, multirun: bool = False) -> str:
    """Returns a word of the form key=PATH in Hydra's grammar; any other word as it is.

    Args:
        word: word of the command line, as the user typed it or in Hydra's grammar already.
        multirun: True to leave a value with commas to Hydra, which sweeps over its parts, unless the path exists.

    Raises:
        ConfigError: for an empty path.
    """
    key, sign, value = word.partition("=")
    if key.lstrip("+") not in PATHS:
        return f"{key}={quoted(value)}" if _is_existing_path(value) else word
    path = path_of(word)
    if sign and not path:
        raise ConfigError(f"{word}: is empty; name a folder, or leave {key} out")
    if not sign or path in _NO_PATHS:
        return word
    if multirun and not os.path.lexists(path) and _is_sweep(word):
        return _with_whole_roots(word)
    return f"{key}={quoted(_whole(path) if key.lstrip('+') in ROOTS else os.path.expanduser(path))}"


def _with_whole_roots(word: str) -> str:
    """Returns ``data.root=a,b`` with whole paths; any other sweep as it is."""
    key = word.partition("=")[0]
    sweep = OverridesParser.create().parse_override(word).value()
    if key.lstrip("+") not in ROOTS or not isinstance(sweep, ChoiceSweep) or sweep.tags or sweep.shuffle:
        return word
    paths = [value.text if isinstance(value, QuotedString) else str(value) for value in sweep.list]
    return f"{key}={','.join(quoted(_whole(path)) for path in paths)}"


def _whole(path: str) -> str:
    """Returns a path as `absolute` does; one with an interpolation, which is not known yet, as it is."""
    return path if "${" in path and not os.path.lexists(path) else absolute(path)


def path_of(word: str) -> str:
    """Returns the path in a word of the form key=PATH, without quotes of Hydra's grammar."""
    value = word.partition("=")[2]
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "'\"" or os.path.lexists(value):
        return value
    try:
        path = OverridesParser.create().parse_override(f"path={value}").value()
    except HydraException:  # a path with such quotes in it, to which Lightning has added two
        return value[1:-1]
    if not isinstance(path, str):
        return value
    plain = path.replace("\\${", "${")  # as `quoted` writes a path that exists
    return plain if os.path.lexists(os.path.expanduser(plain)) else path


def quoted(path: str) -> str:
    """Returns a path as a string of Hydra's grammar; an interpolation stays one, unless such a path exists."""
    if "${" in path and os.path.lexists(path):
        path = path.replace("${", "\\${")
    return QuotedString(path, Quote.single).with_quotes()


def _is_existing_path(value: str) -> bool:
    return not set(value).isdisjoint("=,()[]{}: ~#'\"\\") and os.path.lexists(value)


def _is_sweep(word: str) -> bool:
    try:
        return OverridesParser.create().parse_override(word).is_sweep_override()
    except HydraException:
        return False
