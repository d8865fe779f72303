"""Words of the command line that a run or a sweep was started with, to resume it or to train the run again.

A record may be a stranger's, and Hydra calls whatever a `_target_` names. The user's own config tree and the words that
the user types may name anything; recorded words may only choose among what that tree offers and set its values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from vae_lab.cli.by_data import is_auto
from vae_lab.cli.compose import composed_or_none
from vae_lab.cli.keys import is_taken
from vae_lab.cli.paths import path_of, quoted
from vae_lab.errors import RunError
from vae_lab.nested import key_of, value_at, walk
from vae_lab.runs.reading import saved_config
from vae_lab.runs.sweep_folder import MULTIRUN
from vae_lab.runs.untrusted import read_yaml

_PLACES = ("run_dir", "dirpath", "filename", "save_dir", "default_root_dir")
"""Last parts of keys that say where files are written."""

_READ_FROM = ("data", "init_from")
"""First parts of keys that say where files are read; a run that goes on does not read its init_from again."""


def completed_words(words: Sequence[str], multirun: bool = False) -> list[str]:
    """Returns the command line of ``resume=FOLDER`` or, of a sweep, ``sweep.resume=FOLDER``.

    It has the words that the run or the sweep was started with, then those given now.

    Args:
        multirun: True for a sweep, which cannot resume a run.

    Raises:
        RunError: for a folder that is not a run, or whose record holds a word that a record may not.
    """
    path = _named_folder(words, "resume")
    if path is None:
        return _words_of_sweep(words) if multirun else list(words)
    given = {key_of(word) for word in words}
    if multirun:
        raise RunError(f"resume={path}: goes on with one run, not with -m; sweep.resume=FOLDER goes on with a sweep")
    _refuse_another_folder(words, path)
    config = saved_config(path)
    recorded = _without_foreign(_recorded_words(path, config, given), words, config.get("choices"))
    classes = [word for word in words if key_of(word).endswith("._target_")]  # first: their options were recorded
    former = _former_defaults(config, recorded, given)
    return [*former, *classes, *recorded, *words, f"hydra.run.dir={quoted(str(path))}"]


def started_with(run: Path, data_root: str | None = None) -> list[str]:
    """Returns the words that train a run again.

    Args:
        data_root: folder of the data; None: where the run found them.

    Raises:
        RunError: for a folder that is not a run, or whose record holds a word that a record may not.
    """
    config = saved_config(run)
    recorded = _recorded_words(run, config, {"data.root", "init_from"})
    # As config.yaml has them: whole, whatever working directory the words were typed in.
    paths = {"data.root": data_root or value_at(config, "data.root"), "init_from": config.get("init_from")}
    whole = [f"{key}={quoted(path)}" for key, path in paths.items() if isinstance(path, str)]
    # A likelihood that was left to the data is chosen by them again, with the options that this choice sets.
    left = composed_or_none(recorded)
    given = {"likelihood"} if left is not None and is_auto(left.cfg) else set()
    return [*_former_defaults(config, recorded, given), *recorded, *whole]


def _named_folder(words: Sequence[str], key: str) -> Path | None:
    """Returns the folder that the last word with a key names; None if there is none."""
    folder = next((path_of(word) for word in reversed(words) if key_of(word) == key), "null")
    return None if folder in ("", "null", "auto") else Path(folder).expanduser()


def _words_of_sweep(words: Sequence[str]) -> list[str]:
    """Returns the words of the sweep that is resumed, then those given now; prints the former."""
    sweep = _named_folder(words, "sweep.resume")
    given = {key_of(word) for word in words}
    try:
        before = value_at(read_yaml(sweep / MULTIRUN), "hydra.overrides.task") if sweep else None
    except (OSError, ValueError):  # which is reported where the folder is chosen
        before = None
    added = [word for word in before or () if key_of(str(word)) not in given]
    _check_recorded(added, f"sweep.resume={sweep}", swept=True)
    if added:
        print(f"sweep.resume={sweep}: goes on with {' '.join(added)}")
    return [*added, *words]


def _refuse_another_folder(words: Sequence[str], run: Path) -> None:
    """Raises RunError for another folder than that of the run."""
    for word in words:
        key, _, value = word.partition("=")
        folder = Path(path_of(word)).expanduser()
        if key in ("hydra.run.dir", "run_dir") and folder.resolve() != run.resolve():
            raise RunError(
                f"{key}={value}: resume={run} goes on in its own folder; leave {key} out, "
                f"or copy the run there and resume the copy"
            )


def _recorded_words(run: Path, config: Mapping[str, Any], given: Set[str]) -> list[str]:
    """Returns the words that the run was started with, except for keys that are given again.

    A relative data.root, as older runs recorded it, is left out too: config.yaml has the whole path.
    """
    words = [word for word in config["overrides"] if key_of(str(word)) not in given]
    recorded = [word for word in words if key_of(str(word)) != "data.root" or os.path.isabs(path_of(str(word)))]
    _check_recorded(recorded, f"resume={run}")
    return recorded


def _check_recorded(words: Sequence[Any], named_by: str, swept: bool = False) -> None:
    """Raises RunError for a recorded word that is refused; ``swept`` as in `_refusal`."""
    for word in words:
        if reason := _refusal(word, swept):
            shown = " ".join(str(word).split())[:200]
            raise RunError(
                f"{named_by}: its record of the command line holds {shown}, which {reason}; "
                "where you trust it, type it yourself"
            )


def _without_foreign(recorded: Sequence[str], words: Sequence[str], before: object) -> list[str]:
    """Drops the words that the new option of a group does not take, such as Adam's eps, and prints them."""
    chosen = dict(word.split("=", 1) for word in words if "=" in word)
    choices = before if isinstance(before, Mapping) else {}
    changed = {key for key, option in chosen.items() if key in choices and choices[key] != option}
    below = [word for word in recorded if _component_of(word) in changed]
    rest = [word for word in (*recorded, *words) if _component_of(word) not in changed]
    composition = composed_or_none(rest) if below else None
    foreign = [word for word in below if composition and not is_taken(word, composition.cfg)]
    for word in foreign if os.environ.get("LOCAL_RANK", "0") == "0" else ():
        group = key_of(word).partition(".")[0]
        print(f"{group}={chosen[group]}: has no {key_of(word)}, so that {word} of the run is left out")
    return [word for word in recorded if word not in foreign]


def _component_of(word: str) -> str | None:
    """Returns ``optimizer`` for ``optimizer.eps=1e-8``; None for a key without dots."""
    first, dot, _ = key_of(word).partition(".")
    return first if dot else None


def _former_defaults(config: Mapping[str, Any], recorded: Sequence[str], given: Set[str]) -> list[str]:
    """Returns ``group=option`` of each group whose default has changed since the run began."""
    before = config.get("choices")
    if not isinstance(before, Mapping) or "experiment" in given:
        return []
    composition = composed_or_none(recorded)
    return moved_choices(before, composition.choices, given) if composition else []


def moved_choices(before: Mapping[str, Any], now: Mapping[str, Any], given: Set[str]) -> list[str]:
    """Returns ``group=option`` of each group whose default option has changed.

    Args:
        before, now: option of each group.
        given: keys that were set on the command line.
    """
    moved = [
        f"{group}={option}"
        for group, option in before.items()
        if group in now and now[group] != option and group not in given
    ]
    return [word for word in moved if _refusal(word) is None]


def _refusal(word: Any, swept: bool = False) -> str | None:
    """Returns why a recorded word, which may be any plain container, is refused; None if it is accepted.

    With ``swept`` several values, as a sweep has them, are accepted if each of them is.
    """
    try:
        override = OverridesParser.create().parse_override(word) if isinstance(word, str) else None
    except (HydraException, RecursionError):
        override = None
    if override is None or (override.is_sweep_override() and not swept):
        return "is not of the form key=value"
    if override.is_choice_sweep() or override.is_range_sweep():
        words = (f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator())
        return next(filter(None, map(_refusal, words)), None)
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
