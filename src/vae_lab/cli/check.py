"""Checks every value of a config against the signature of the component that it configures.

Each node with a `_target_` names a class or function whose type hints say what is allowed: no schema is written twice.
The ranges (positive, not empty, ...) are checked by the constructors themselves.
"""

from __future__ import annotations

import difflib
import inspect
import math
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from vae_lab.nested import shown, value_at, walk
from vae_lab.settings import EncodingSettings, EvaluationSettings, ExploreSettings, ExportSettings, Request

_TOP_LEVEL: dict[str, Any] = {
    "latent_dim": int,
    "seed": int,
    "name": str,
    "eval_samples": int,
    "compile": bool | Literal["auto", "graph"],
    "steps_per_pass": int | Literal["auto"],
    "average": float | None,
    "gradient_skip": float | None,
    "weights": Literal["average", "raw"],
    "test_checkpoint": Literal["best", "last"],
    "decoder_bias": Literal["default", "data_mean"],
    "resume": str | None,
    "init_from": str | None,
    "resume_changed": bool,
    "run": str,
    "run2": str | None,
    "port": Annotated[int, Field(ge=0, le=65535, description="from 0 to 65535")],
    "batch_size": int,
    "out": str | None,
    "data_root": str | None,
    "packages": list[str],
}
"""Types of the keys that are no component's own."""

_SETTINGS = {
    "evaluate": EvaluationSettings,
    "sample": Request,
    "encode": EncodingSettings,
    "explore": ExploreSettings,
    "export": ExportSettings,
}
"""Settings of each command, whose fields are keys of their own."""

_MAX_INTEGER = 2**63 - 1
"""The largest integer that torch and numpy can hold."""


def _range(least: int, most: int | None = None) -> Any:
    text = f"{least} or more" if most is None else f"from {least} to {most}"
    return Annotated[int | float, Field(ge=least, le=most, description=text)]


_ALL = Literal[-1]
_RANGES: dict[str, Any] = {
    "seed": _range(0, 2**32 - 1),
    "optimizer.alpha": _range(0, 1),
    "optimizer.betas[0]": _range(0, 1),
    "optimizer.betas[1]": _range(0, 1),
    "optimizer.eps": _range(0),
    "optimizer.lr": _range(0),
    "optimizer.momentum": _range(0),
    "optimizer.weight_decay": _range(0),
    "trainer.devices": _ALL | _range(1, 1024),
    "trainer.num_nodes": _range(1),
    "trainer.max_epochs": _ALL | _range(0),
    "trainer.max_steps": _ALL | _range(1),
    "trainer.min_epochs": _range(0),
    "trainer.min_steps": _range(0),
    "trainer.check_val_every_n_epoch": _range(1),
    "trainer.log_every_n_steps": _range(1),
    "trainer.num_sanity_val_steps": _ALL | _range(0),
    "callbacks.early_stopping.patience": _range(0),
    "callbacks.progress.refresh_rate": _range(0),
    "data.images.split_seed": _range(0),
}
"""Ranges of numbers that their libraries would refuse late, in words that name no key, or not at all.

A string, a list or null is left to the library. -1 means all, or without end.
"""


INSTANTIATION: dict[str, Any] = {
    "_target_": str,
    "_partial_": bool,
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_args_": list[Any],
}
"""Types of the keys that say how a component is built."""


_COMPONENTS = ("data", "model", "likelihood", "prior", "objective", "optimizer", "trainer")
"""Keys that are a component's, in the commands that have them."""

_OPTIONAL = ("network", "posterior", "scheduler", "warmup")
"""Keys that are a component's or null."""


_WRITER = "torch.utils.tensorboard.SummaryWriter"
_FORWARDS = {"TensorBoardLogger": _WRITER, "TensorBoard": _WRITER}
"""Callables to which a constructor passes the arguments that it does not name itself."""

NOT_AN_OVERRIDE = "not of the form KEY=VALUE; quote a word with spaces, --help lists the keys"


class ConfigError(ValueError):
    """Raised for a mistake in a config, with one line that names the key, the value and what is allowed."""


def check_config(cfg: DictConfig, command: str = "train") -> None:
    """Raises `ConfigError` for the first key that is missing, unknown to its component, or of the wrong type."""
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise ConfigError(f"{min(missing)}: a value must be given")
    raw = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
    resolved = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    own = typing.get_type_hints(_SETTINGS[command]) if command in _SETTINGS else {}
    for key, hint in (_TOP_LEVEL | own).items():
        if key in resolved:
            _check_value(key, resolved[key], hint)
    for key, node in walk(resolved):
        if isinstance(node, Mapping) and "_target_" in node and _is_written_out(raw, key):
            _check_component(key, node, value_at(raw, key))
        elif isinstance(node, int | float) and not isinstance(node, bool):
            _check_number(key, node)
    _check_classes(resolved)


def _is_written_out(raw: Any, key: str) -> bool:
    """True if a node stands under its own key, and not under that of an interpolation."""
    parts = key.split(".")
    return not any(isinstance(value_at(raw, ".".join(parts[:end])), str) for end in range(1, len(parts) + 1))


def _check_number(key: str, value: float) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}={value}: must be a finite number")
    if isinstance(value, int) and not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        raise ConfigError(f"{key}={value}: must lie within 64 bits")
    if key in _RANGES:
        _check_value(key, value, _RANGES[key])


def _check_classes(config: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for a component that has no class; a callback may be null."""
    callbacks = {f"callbacks.{name}": node for name, node in (config.get("callbacks") or {}).items()}
    optional = {key: config.get(key) for key in _OPTIONAL} | callbacks | nodes_of("logger", config.get("logger"))
    nodes = {key: config[key] for key in _COMPONENTS if key in config}
    nodes |= {key: node for key, node in optional.items() if node}
    for key, node in nodes.items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            leave_out = f"; ~{key} leaves it out" if key in callbacks else ""
            raise ConfigError(f"{key}: must have a _target_, the name of a class{leave_out}")


def nodes_of(key: str, node: Any) -> dict[str, Any]:
    """Returns the components of a key that holds one, several by name, or none; those that are null are left out."""
    if isinstance(node, Mapping) and "_target_" not in node:
        return {f"{key}.{name}": child for name, child in node.items() if child}
    return {key: node} if node else {}


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
        target: Callable[..., Any] = pkgutil.resolve_name(path)
    except Exception as error:
        raise ConfigError(f"{key}._target_={path}: there is no such class or function") from error
    if not callable(target):
        raise ConfigError(f"{key}._target_={path}: must be a class or a function")
    return target


def parameters_of(target: Callable[..., Any]) -> set[str] | None:
    """Returns the names of the arguments that a constructor takes; None if it takes any."""
    parameters = inspect.signature(target).parameters
    names = {name for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return names
    forwards = _FORWARDS.get(getattr(target, "__name__", ""))
    others = parameters_of(pkgutil.resolve_name(forwards)) if forwards else None
    return None if others is None else names | others


def no_such_option(key: str, name: str, target: str, known: Iterable[str]) -> ConfigError:
    """Returns the error for an option that the component under ``key`` does not take."""
    return ConfigError(f"{key}.{name}: {target} has no such option{did_you_mean(name, sorted(known), f'{key}.')}")


def _type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # hints of another library that only a type checker can see
        return {}


def _source(raw: Any) -> str | None:
    """Returns the key in an interpolation, such as latent_dim in ${latent_dim}; None for any other value."""
    found = re.fullmatch(r"\$\{([\w.]+)\}", raw) if isinstance(raw, str) else None
    return found[1] if found else None


def _check_value(key: str, value: Any, hint: Any, source: str | None = None) -> None:
    if any(isinstance(node, Mapping) and "_target_" in node for _, node in walk(value)):
        return  # which is checked under its own key
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, strict=True))
    except (PydanticSchemaGenerationError, PydanticUserError):  # a hint that only its own library understands
        return
    candidates = [value, tuple(value)] if isinstance(value, list) else [value]
    if not any(_valid(adapter, candidate) for candidate in candidates):
        taken = f", as {key} takes it" if source else ""
        raise ConfigError(f"{source or key}={shown(value)}: must be {_describe(hint)}{taken}")


def _valid(adapter: TypeAdapter[Any], value: Any) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


_NAMES: dict[Any, tuple[str, str]] = {
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("true or false", "true or false"),
    type(None): ("null", "null"),
}
"""Types in words, one and several."""


def _describe(hint: Any, several: bool = False) -> str:
    """Returns a type hint in words: ``int | None`` as an integer or null, ``list[int]`` as a list of integers."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return str(args[1].description)
    if origin is Literal:
        values = ", ".join(map(str, args))
        return values if len(args) == 1 else f"one of {values}"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_describe(arg, several) for arg in args))
    if origin is not None and issubclass(origin, Mapping):
        return "a mapping"
    if origin is not None and issubclass(origin, Iterable) and args:
        return f"a list of {_describe(args[0], several=True)}"
    return _NAMES[hint][several] if hint in _NAMES else getattr(hint, "__name__", str(hint))


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Returns '; did you mean x?' for the nearest known names; all names if none is near; '' if there are none."""
    known = [key for key in known if key not in ("self", "args", "kwargs", "params")]
    near = _nearest(name, {key: key for key in known}) or _nearest(name, {key: key.split(".")[-1] for key in known})
    if near:
        return f"; did you mean {' or '.join(prefix + key for key in near)}?"
    return f"; its options are {', '.join(known)}" if known else ""


def _nearest(name: str, texts: Mapping[str, str]) -> list[str]:
    """Returns the keys of the texts that are nearest to a name, in any case; [] if none is near."""
    lower = {key: text.lower() for key, text in texts.items()}
    found = difflib.get_close_matches(name.lower(), lower.values(), n=2)
    ratios = [difflib.SequenceMatcher(None, text, name.lower()).ratio() for text in found]
    return [key for key, text in lower.items() if text in found and ratios[found.index(text)] == ratios[0]]
