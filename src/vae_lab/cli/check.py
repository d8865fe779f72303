"""Checks every value of a config against the signature of the component that it configures.

Each node with a `_target_` names a class or function whose type hints say what is allowed: no schema is written twice.
The ranges (positive, not empty, ...) are checked by the constructors themselves.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from hydra._internal.utils import _locate as located  # hydra.utils.get_object logs an error besides raising it
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from vae_lab.cli.ranges import out_of_range

TOP_LEVEL: dict[str, Any] = {
    "seed": int,
    "latent_dim": int,
    "name": str,
    "eval_samples": int,
    "compile": bool | Literal["auto"],
    "average": float | None,
    "gradient_skip": float | None,
    "weights": Literal["average", "raw"],
    "test_checkpoint": Literal["best", "last"],
    "decoder_bias": Literal["default", "data_mean"],
    "resume": str | None,
    "init_from": str | None,
    "resume_changed": bool,
    "run": str,
    "num_samples": int,
    "num_examples": int | None,
    "split": Literal["test", "val", "train"],
    "elbo_samples": int,
    "chunk": int | None,
    "all_labels": bool,
    "disentanglement": bool | Literal["auto"],
    "disentanglement_codes": int,
    "disentanglement_level": int,
    "batch_size": int,
    "what": Literal["samples", "reconstructions", "traversals", "interpolations", "manifold", "progressive", "levels"],
    "num": int | None,
    "y": str | int | float | bool | list[str | int | float | bool] | None,
    "temperature": float | list[float],
    "draw": Literal["mean", "sample"],
    "level": int | None,
    "out": str | None,
    "data_root": str | None,
    "packages": list[str],
}
"""Types of the keys that are no component's own."""


INSTANTIATION: dict[str, Any] = {
    "_target_": str,
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_args_": list[Any],
}
"""Types of the keys that say how a component is built."""


COMPONENTS = ("data", "model", "likelihood", "prior", "objective", "optimizer", "trainer")
"""Keys that are a component's, in the commands that have them."""

OPTIONAL = ("network", "posterior", "scheduler", "logger", "warmup")
"""Keys that are a component's or null."""


FORWARDS = {"TensorBoardLogger": "torch.utils.tensorboard.SummaryWriter"}
"""Callables to which a constructor passes the arguments that it does not name itself."""


class ConfigError(ValueError):
    """A user's mistake in a config, in one line that names the key, the value and what is allowed."""


def check_config(cfg: DictConfig) -> None:
    """Raises `ConfigError` for the first key that is missing, unknown to its component, or of the wrong type."""
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise ConfigError(f"{min(missing)}: a value must be given")
    raw = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
    resolved = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    for key, hint in TOP_LEVEL.items():
        if key in resolved:
            _check_value(key, resolved[key], hint)
    for key, node, raw_node in _components(resolved, raw):
        _check_component(key, node, raw_node)
    _check_classes(resolved)
    if line := out_of_range(resolved):
        raise ConfigError(line)


def _check_classes(config: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for a component that has no class; a callback may be null."""
    callbacks = {f"callbacks.{name}": node for name, node in (config.get("callbacks") or {}).items()}
    optional = {key: config.get(key) for key in OPTIONAL} | callbacks
    nodes = {key: config[key] for key in COMPONENTS if key in config}
    nodes |= {key: node for key, node in optional.items() if node}
    for key, node in nodes.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise ConfigError(f"{key}: must have a _target_, the name of a class")


def _components(node: Any, raw: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every node with a `_target_`, with its dotted key and its text before interpolation."""
    if isinstance(node, dict):
        if isinstance(raw, str):  # an interpolation of a node that is checked under its own key
            return
        if "_target_" in node:
            yield key, node, raw
        for name, child in node.items():
            raw_child = raw.get(name) if isinstance(raw, dict) else None
            yield from _components(child, raw_child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from _components(child, None, f"{key}[{i}]")


def _check_component(key: str, node: Mapping[str, Any], raw: Any) -> None:
    _check_value(f"{key}._target_", node["_target_"], str)
    target = locate(key, node["_target_"])
    parameters = parameters_of(target)
    hints = _type_hints(target)
    for name, value in node.items():
        if name in INSTANTIATION:
            _check_value(f"{key}.{name}", value, INSTANTIATION[name])
            continue
        if parameters is not None and name not in parameters:
            raise no_such_option(key, name, node["_target_"], parameters)
        if name in hints:
            raw_value = raw.get(name) if isinstance(raw, dict) else None
            _check_value(f"{key}.{name}", value, hints[name], _source(raw_value))


def locate(key: str, path: str) -> Callable[..., Any]:
    """Returns the class or function that a component names; raises `ConfigError` if there is none."""
    try:
        target: Callable[..., Any] = located(path)
    except Exception as error:
        raise ConfigError(f"{key}._target_={path}: there is no such class or function") from error
    return target


def parameters_of(target: Callable[..., Any]) -> set[str] | None:
    """Returns the names of the arguments that a constructor takes; None if it takes any."""
    parameters = inspect.signature(target).parameters
    names = {name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return names
    forwards = FORWARDS.get(getattr(target, "__name__", ""))
    others = parameters_of(located(forwards)) if forwards else None
    return None if others is None else names | others


def no_such_option(key: str, name: str, target: str, known: Iterable[str]) -> ConfigError:
    """Returns the error for an option that the component under ``key`` does not take."""
    return ConfigError(f"{key}.{name}: {target} has no such option{did_you_mean(name, known, f'{key}.')}")


def _type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # hints of another library that only a type checker can see
        return {}


def _source(raw: Any) -> str | None:
    """The key that the user wrote, where a value is nothing but an interpolation of it: ${latent_dim} -> latent_dim."""
    found = re.fullmatch(r"\$\{([\w.]+)\}", raw) if isinstance(raw, str) else None
    return found[1] if found else None


def _check_value(key: str, value: Any, hint: Any, source: str | None = None) -> None:
    if _has_component(value):
        return
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
    except (PydanticSchemaGenerationError, PydanticUserError):  # a hint that only its own library understands
        return
    candidates = [value, tuple(value)] if isinstance(value, list) else [value]
    if not any(_valid(adapter, candidate) for candidate in candidates):
        taken = f", as {key} takes it" if source else ""
        raise ConfigError(f"{source or key}={_shown(value)}: must be {describe(hint)}{taken}")


def _valid(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _has_component(value: Any) -> bool:
    if isinstance(value, dict):
        return "_target_" in value or any(map(_has_component, value.values()))
    return isinstance(value, list) and any(map(_has_component, value))


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


NAMES: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def describe(hint: Any) -> str:
    """A type hint in words: `int | None` -> an integer or null."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(arg) for arg in args))
    if origin is not None and issubclass(origin, Mapping):
        return "a mapping"
    if origin is not None and issubclass(origin, Iterable) and args:
        return f"a list with {describe(args[0])} in each place"
    return NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """'; did you mean x?' for the known name nearest to ``name``; all names if none is near; '' if there are none."""
    known = [key for key in known if key not in ("self", "args", "kwargs")]
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else f"; its options are {', '.join(known)}" if known else ""
