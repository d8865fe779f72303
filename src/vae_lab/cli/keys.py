"""Admits keys that no YAML lists if a component's constructor takes them; refuses others.

Hydra by itself refuses `trainer.profiler=simple`, because no YAML lists that key, and accepts `+foo=1`, although
nothing reads foo.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from vae_lab.cli.check import INSTANTIATION, ConfigError, did_you_mean, locate, no_such_option, parameters_of
from vae_lab.nested import key_around, shown, value_at, walk

_SUPPLIED = {
    "run_dir": "use hydra.run.dir",
    "trainer.logger": "use logger=none or logger=tensorboard",
    "trainer.callbacks": "use callbacks=none, or callbacks.NAME=null for one of them",
    "trainer.enable_checkpointing": "use callbacks=none",
    "model.spec": "it follows from data",
    "likelihood.event_shape": "it follows from data",
    "prior.event_shape": "use latent_dim",
    "prior.context_features": "use model.conditional",
    "optimizer.params": "they are the model's",
    "scheduler.optimizer": "use optimizer=NAME",
    "scheduler.total_steps": "use trainer.max_epochs or trainer.max_steps",
    "data.images.root": "use data.root",
    "data.images.image_size": "use data.image_size",
    "data.images.memory_limit_gb": "use data.memory_limit_gb",
    "search.sampler.seed": "use seed",
}
"""Keys and arguments of constructors that the program itself sets, and what to use instead."""

_OPEN_TO_ALL = (
    "hydra.launcher",
    "hydra.sweeper",
    "hydra.callbacks",
    "hydra.job",
    "hydra.job_logging",
    "hydra.hydra_logging",
)
"""Keys of Hydra's own below which plugins and loggers add what they like."""

_APPLIES = "_apply_overrides_to_config"
"""The only internal function of Hydra that is replaced."""


class _Place(NamedTuple):
    """Place of a key that no YAML lists.

    Attributes:
        key: key of the innermost component around the key.
        component: config of the innermost component; None if there is none.
        option: part of the key that names an argument of the component.
        blocked: reason why the key can stand nowhere, or "".
    """

    key: str = ""
    component: dict[Any, Any] | None = None
    option: str = ""
    blocked: str = ""


def install() -> None:
    """Makes Hydra apply each override as `admitted` returns it, in the main process and in jobs of any launcher.

    Hydra has no public way to admit ``trainer.profiler=simple``: a ``+`` that is added to the words before Hydra reads
    them would change the names of the folders of a sweep and the words that a run records.
    """
    original = getattr(ConfigLoaderImpl, _APPLIES)
    if getattr(original, "admits", False):
        return

    def apply(overrides: list[Override], cfg: DictConfig) -> None:
        for override in overrides:
            original([admitted(override, cfg)], cfg)

    vars(apply)["admits"] = True
    setattr(ConfigLoaderImpl, _APPLIES, staticmethod(apply))


def admitted(override: Override, cfg: DictConfig) -> Override:
    """Returns the override; that of an unlisted key which its component's constructor takes adds that key.

    Raises:
        ConfigError: for a key that the program supplies, that no component takes, or that lies below a plain value.
    """
    key = override.key_or_group
    config = _branch(cfg, key)
    if key.partition(".")[0] == "hydra" or override.package is not None:
        _refuse_unknown_to_hydra(key, config)
        return override
    if override.is_delete():
        _refuse_deletion(key, config)
        return override
    _refuse_supplied(key)
    place = _place(config, key)
    if place is None:
        return override
    if place.component is None:
        if key.startswith("callbacks.") and override.type is not OverrideType.CHANGE:  # one of the user's own
            return override
        raise ConfigError(f"{key}: no such key{place.blocked or _nearest(key, cfg)}")
    if place.blocked:
        raise ConfigError(f"{key}: no such key{place.blocked}")
    _check_option(place)
    return replace(override, type=OverrideType.FORCE_ADD) if override.type is OverrideType.CHANGE else override


def is_taken(word: str, cfg: DictConfig) -> bool:
    """Returns True if a config of a training has a place for an override."""
    override = OverridesParser.create().parse_override(word)
    try:
        admitted(override, cfg)
    except ConfigError:
        return False
    return not override.is_delete() or _place(_branch(cfg, override.key_or_group), override.key_or_group) is None


def _branch(cfg: DictConfig, key: str) -> dict[str, Any]:
    """Returns plain containers with as much of a config as `_place` reads; the whole takes 4 ms for each override."""
    top = key.partition(".")[0]
    if top not in list(cfg):
        return {}
    if OmegaConf.is_interpolation(cfg, top):
        return {top: "${}"}
    node = "???" if OmegaConf.is_missing(cfg, top) else cfg[top]
    return {top: OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node}


def _refuse_deletion(key: str, config: Any) -> None:
    """Raises for a listed key that belongs to no component: those have no default but the one in the YAML."""
    if _place(config, key) is not None:
        return  # no such key, as Hydra says
    parts = key.split(".")
    above = (value_at(config, ".".join(parts[:end])) for end in range(1, len(parts)))
    if key.startswith("callbacks.") or any(isinstance(node, dict) and "_target_" in node for node in above):
        return
    raise ConfigError(f"~{key}: cannot be deleted; set its value, {key}=VALUE")


def _refuse_unknown_to_hydra(key: str, config: Any) -> None:
    """Raises for a key of Hydra's own that it never reads, such as ``+hydra.foo=1``, which Hydra accepts silently."""
    place = _place(config, key) if key.startswith("hydra.") else None
    if place is not None and place.component is None and key_around(key, _OPEN_TO_ALL) is None:
        raise ConfigError(f"{key}: no such key of Hydra's")


def _refuse_supplied(key: str) -> None:
    if name := key_around(key, _SUPPLIED):
        raise ConfigError(f"{key}: is set by the program itself; {_SUPPLIED[name]}")


def _place(config: Any, key: str) -> _Place | None:
    """Returns the place of a key that is not listed; None for a listed one, and below an interpolation or a list."""
    node, place, parts = config, _Place(), key.split(".")
    for number, part in enumerate(parts):
        if isinstance(node, list) or (isinstance(node, str) and "${" in node):
            return None
        above = ".".join(parts[:number])
        if not isinstance(node, dict):
            if node is None and place.component is not None:  # an option of the component that may be a mapping
                return place
            return place._replace(blocked=f"; {above}={shown(node)} holds no keys")
        if "_target_" in node:
            place = _Place(above, node, part)
        if part not in node:
            return place
        node = node[part]
    return None


def _check_option(place: _Place) -> None:
    assert place.component is not None
    if place.option in INSTANTIATION:
        return
    target = str(place.component["_target_"])
    parameters = parameters_of(locate(place.key, target))
    if parameters is not None and place.option not in parameters:
        raise no_such_option(place.key, place.option, target, parameters)


def _nearest(key: str, cfg: DictConfig) -> str:
    config: Any = OmegaConf.to_container(cfg, resolve=False)
    own = {name: node for name, node in config.items() if name != "hydra"}
    known = [key for key, _ in walk(own) if key and "[" not in key and not re.search(r"(^|\.)_", key)]
    near = did_you_mean(key, known)
    return near if near.startswith("; did") else did_you_mean(key, own)
