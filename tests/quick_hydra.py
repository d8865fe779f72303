"""Hydra for hundreds of commands in one process: it parses a file or a word, and merges the same options, only once."""

from __future__ import annotations

import copy
import functools
from collections import defaultdict
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import omegaconf
import yaml
from hydra._internal import config_loader_impl, config_repository, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig
from omegaconf.nodes import AnyNode, BooleanNode, FloatNode, IntegerNode, StringNode

LOAD, PARSE_RULE, GET_MODE = yaml.load, OverridesParser.parse_rule, Hydra.get_mode
LIST, MERGE = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
MAP = defaults_list._create_interpolation_map
TREE = Path(__file__).parents[1] / "configs"
files: dict[str, Any] = {}
rules: dict[tuple[str, str], Any] = {}
configs: dict[str, Any] = {}
lists: dict[tuple[Any, ...], DefaultsList] = {}
merged: dict[int, Any] = {}


class Repository(config_repository.CachingConfigRepository):
    """Hydra's repository of configs, which reads the lab's own tree once in the life of the process."""

    def __init__(self, delegate: Any) -> None:
        self.delegate = copy.copy(delegate)
        self.cache = {}

    def load_config(self, config_path: str) -> Any:
        if config_path not in self.cache and is_own_tree(self):
            found = configs.get(config_path) or self.delegate.load_config(config_path)
            if found is not None and found.path == f"file://{TREE}":  # not of a plugin, which a test may hide
                configs[config_path] = found
            self.cache[config_path] = deepcopy(found)
        return self.cache[config_path] if config_path in self.cache else super().load_config(config_path)


def is_own_tree(repository: Any) -> bool:
    """True if configs come from the lab's own tree alone, not from a folder of a test as well."""
    return [source.path for source in repository.get_sources() if source.scheme() == "file"] == [str(TREE)]


def remember() -> None:
    """Lets Hydra remember what it parsed and merged, which is most of its time and depends on the text alone."""
    yaml.load = load
    omegaconf.base.parse = omegaconf._utils.parse = functools.cache(omegaconf.grammar_parser.parse)
    OverridesParser.parse_rule = parse_rule  # type: ignore[method-assign]
    Hydra.get_mode = get_mode  # type: ignore[method-assign]
    config_loader_impl.CachingConfigRepository = Repository  # type: ignore[misc]
    config_loader_impl.create_defaults_list = create_defaults_list
    ConfigLoaderImpl._compose_config_from_defaults_list = compose_config  # type: ignore[method-assign]
    defaults_list._create_interpolation_map = interpolation_map
    for kind in (DictConfig, ListConfig, AnyNode, BooleanNode, FloatNode, IntegerNode, StringNode):
        kind.__deepcopy__ = copy_of_node  # type: ignore[method-assign]


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


def create_defaults_list(repo: Any, config_name: str, overrides_list: list[Any], **options: Any) -> DefaultsList:
    """Returns the files that a command merges, the same ones each time that it chooses the same options of groups."""
    values = Overrides(repo, overrides_list).config_overrides
    chosen = tuple(word.input_line for word in overrides_list if not any(word is value for value in values))
    if not is_own_tree(repo) or any("launcher" in word for word in chosen):
        return LIST(repo, config_name, overrides_list, **options)
    key = (config_name, chosen, *options.items())
    if key not in lists:
        lists[key] = LIST(repo, config_name, overrides_list, **options)
    return replace(lists[key], config_overrides=values)


def compose_config(loader: ConfigLoaderImpl, defaults: list[Any], repo: Any) -> Any:
    """Returns the files of a defaults list, merged."""
    if not any(defaults is known.defaults for known in lists.values()):
        return MERGE(loader, defaults, repo)
    if id(defaults) not in merged:
        merged[id(defaults)] = MERGE(loader, defaults, repo)
    return deepcopy(merged[id(defaults)])


def interpolation_map(overrides: Overrides, defaults: list[Any], self_added: bool) -> Any:
    """Returns what the interpolations of a defaults list stand for, if it has any."""
    return MAP(overrides, defaults, self_added) if any(each.is_interpolation() for each in defaults) else None


def copy_of_node(node: Any, memo: dict[int, Any]) -> Any:
    """Returns a deep copy of a part of a config as OmegaConf makes it, without checking again what it holds."""
    copied, metadata, content = object.__new__(type(node)), node._metadata, node.__dict__.get("_content")
    cache = deepcopy(metadata.resolver_cache, memo) if metadata.resolver_cache else defaultdict(dict)
    of_node = object.__new__(type(metadata))
    of_node.__dict__.update(metadata.__dict__, flags=dict(metadata.flags), resolver_cache=cache)
    copied.__dict__.update(node.__dict__, _metadata=of_node, _flags_cache=None)
    if isinstance(content, dict | list):
        children = [child.__deepcopy__(memo) for child in (content.values() if isinstance(content, dict) else content)]
        for child in children:
            child.__dict__["_parent"] = copied
        paired = zip(content, children, strict=True)
        copied.__dict__["_content"] = dict(paired) if isinstance(content, dict) else children
    return copied
