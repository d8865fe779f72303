"""Hydra for hundreds of commands in one process: it parses the same files and words only once."""

from __future__ import annotations

import functools
from copy import deepcopy
from typing import Any

import omegaconf
import yaml
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser

LOAD, PARSE_RULE, GET_MODE = yaml.load, OverridesParser.parse_rule, Hydra.get_mode
files: dict[str, Any] = {}
rules: dict[tuple[str, str], Any] = {}


def remember() -> None:
    """Lets Hydra remember what it parsed, which is a third of its time and depends on the text alone."""
    yaml.load = load
    omegaconf.base.parse = omegaconf._utils.parse = functools.cache(omegaconf.grammar_parser.parse)
    OverridesParser.parse_rule = parse_rule  # type: ignore[method-assign]
    Hydra.get_mode = get_mode  # type: ignore[method-assign]


def load(stream: Any, Loader: Any) -> Any:  # noqa: N803
    """Returns the content of a YAML file, the same one each time to OmegaConf, which copies it."""
    if Loader.__name__ != "OmegaConfLoader":
        return LOAD(stream, Loader)
    text = stream if isinstance(stream, str) else stream.read()
    if text not in files:
        files[text] = LOAD(text, Loader)
    return files[text]


def parse_rule(parser: OverridesParser, text: str, rule: str) -> Any:
    """Returns a word of the command line, parsed."""
    if (text, rule) not in rules:
        rules[text, rule] = PARSE_RULE(parser, text, rule)
    return deepcopy(rules[text, rule])


def get_mode(hydra: Hydra, config_name: str | None, overrides: list[str], **more: Any) -> Any:
    """Returns `hydra.mode`, which only the command line sets: Hydra composes a second config to read it."""
    asked = any("hydra.mode" in word for word in overrides)
    return GET_MODE(hydra, config_name, overrides, **more) if asked else None
