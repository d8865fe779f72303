"""Checks the words of a command line one by one, because Hydra refuses some of them without saying which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from vae_lab.cli.check import NOT_AN_OVERRIDE, ConfigError
from vae_lab.errors import RunError
from vae_lab.nested import key_of

_NULLABLE = ("sweep", "launcher", "search", "experiment", "debug")
"""Groups that may be null."""


def check_words(words: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    """Raises `ConfigError` for the first word that is not in Hydra's grammar, or that Hydra would not obey.

    It would not obey one that gives a group anything but the name of an option, or that deletes a group.
    """
    parser = OverridesParser.create()
    overrides = {word: _parsed(parser, word) for word in words}
    for word, override in overrides.items():
        _check_word(word, override, groups)


def without_keys(words: Iterable[str], keys: Iterable[str]) -> list[str]:
    """Returns the words that set neither one of these keys nor a key inside it."""
    keys = set(keys)
    return [word for word in words if keys.isdisjoint({key_of(word), key_of(word).partition(".")[0]})]


_OF_A_TABLE = ("columns", "label", "attributes", "numbers", "categorical", "leave_out", "image")
_KEYS_OF_NAMES = ("y", "columns", "callbacks.pictures.columns", *(f"data.images.{key}" for key in _OF_A_TABLE))
"""Keys whose values are names of classes or columns, which may hold any character."""


def quoted_names(word: str) -> str:
    """Returns ``y=NAME`` or ``y=[NAME,NAME]`` as strings of Hydra's grammar, which would read nan or a,b otherwise.

    So for the other keys of names, such as ``data.images.columns=[height (cm)]``, but null stays null there. A mapping,
    ``y={NAME:VALUE}``, stays as it is. A name in quotes stands for itself, also with commas inside a list or with
    square brackets around it.
    """
    key, equals, value = word.partition("=")
    plain = value in ("[]", "") or (value.startswith("{") and value.endswith("}"))
    if key not in _KEYS_OF_NAMES or not equals or plain or (key != "y" and (value == "null" or "${" in value)):
        return word
    if value.startswith("[") and value.endswith("]") and value[1:-1].strip():
        return f"{key}=[{','.join(map(_quoted, re.findall(_NAME_IN_LIST, value[1:-1])))}]"
    return f"{key}={_quoted(value)}"


_NAME_IN_LIST = r"""\s*('(?:[^'\\]|\\.)*'(?=\s*(?:,|$))|"(?:[^"\\]|\\.)*"(?=\s*(?:,|$))|[^,]*[^,\s])\s*(?:,|$)"""
"""One of the names between commas: with quotes, in which commas may stand, or without."""


def _quoted(name: str) -> str:
    """Returns a name in quotes; one that has them already as it is."""
    if not (len(name) > 1 and name[0] in "'\"" and name[-1] == name[0]):
        name = re.sub(r"(\\*)'", r"\1\1\'", name)
        name = "'" + re.sub(r"(\\+)$", r"\1\1", name) + "'"
    return name.replace("${", "\\${")


def _parsed(parser: OverridesParser, word: str) -> Override:
    try:
        return parser.parse_override(word)
    except (HydraException, RecursionError) as error:
        raise ConfigError(f"{word}: {NOT_AN_OVERRIDE}") from error


def _check_word(word: str, override: Override, groups: Mapping[str, Sequence[str]]) -> None:
    if override.key_or_group == "hydra":
        raise ConfigError(f"{word}: Hydra's own keys are set one by one, such as hydra.run.dir")
    if override.is_delete() and override.key_or_group in groups:
        raise ConfigError(f"{word}: a group cannot be deleted{_instead(override.key_or_group, groups)}")
    if override.is_sweep_override() or override.key_or_group not in groups:
        return
    value: Any = override.value()
    names = value if isinstance(value, list) else [value]
    if isinstance(value, list) and override.key_or_group == "logger":
        several = " ".join(f"+logger@logger.{name}={name}" for name in names if name not in ("tensorboard", "csv"))
        raise ConfigError(f"{word}: takes one option; several are {' '.join(filter(None, ('logger=many', several)))}")
    if not all(isinstance(name, str) and "${" not in name for name in names):
        raise ConfigError(f"{word}: must be the name of an option of the group {override.key_or_group}")


def _instead(group: str, groups: Mapping[str, Sequence[str]]) -> str:
    if group in _NULLABLE or "none" in groups[group]:
        return f"; use {group}={'null' if group in _NULLABLE else 'none'}"
    return f"; choose one of {', '.join(groups[group])}"


_OF_SWEEPS = {
    "sweep.resume": "resumes a sweep; {}",
    "sweep": "gives the values of a sweep; {}",
    "launcher": "runs the jobs of a sweep; {} (one job is a sweep, too)",
    "search": "searches with the jobs of a sweep; {}",
}
"""Reason for which each key or group does nothing in a single run."""


def refuse_sweeps(cfg: DictConfig, choices: Mapping[str, Any], remedy: str) -> None:
    """Raises RunError for what only a sweep uses; a trial of a search has its number, and may run alone."""
    for key, reason in _OF_SWEEPS.items():
        value = cfg.sweep.resume if key == "sweep.resume" else choices.get(key) or None
        if value is not None and not (key == "search" and cfg.search.trial is not None):
            raise RunError(f"{key}={value}: {reason.format(remedy)}")
