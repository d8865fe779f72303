"""Builds components from a config that may be a stranger's: only classes of trusted packages."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from vae_lab.errors import RunError

_TRUSTED = ("vae_lab", "torch.nn")
"""Packages whose classes a config may name."""


@contextmanager
def usual_defaults() -> Iterator[None]:
    """Context manager in which new tensors are float32 on the CPU, whatever defaults the program has set for torch."""
    import torch  # noqa: PLC0415  (a report reads configs, but builds no model)

    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def build(node: Any, packages: Sequence[str] = ()) -> Any:
    """Returns what a config node describes: a node with a `_target_` is called, or prepared if it is `_partial_`.

    Hydra's `instantiate` would call anything that can be imported. Here a target is a class defined in a trusted
    package, so that opening a run executes nothing but the constructors of known components.

    Args:
        node: plain containers, as YAML gives them.
        packages: packages that are trusted besides `_TRUSTED`.

    Raises:
        RunError: naming a target that is not trusted or does not exist, or a constructor that refuses its values.
    """
    if isinstance(node, list):
        return [build(child, packages) for child in node]
    if not isinstance(node, Mapping):
        return node
    options = {
        str(name): build(child, packages) for name, child in node.items() if name not in ("_target_", "_partial_")
    }
    if "_target_" not in node:
        return options
    target = _trusted_class(node["_target_"], (*_TRUSTED, *packages))
    if node.get("_partial_"):
        return partial(target, **options)
    try:
        return target(**options)
    except TypeError as error:
        raise RunError(f"_target_={node['_target_']}: {error}") from error


def _trusted_class(path: Any, packages: Sequence[str]) -> Callable[..., Any]:
    refused = f"_target_={path}: not a class of {', '.join(packages)}"
    if not isinstance(path, str) or not _within(path, packages):
        package = path.partition(".")[0] if isinstance(path, str) and "." in path else ""
        named = f": packages=[{package}]" if package.isidentifier() else ""
        raise RunError(f"{refused}; name its package if you trust it{named}")
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError) as error:  # ValueError: for a name that no file can have
        raise RunError(f"_target_={path}: there is no such class") from error
    # A trusted module may have imported something else: what counts is where the class was defined.
    if not inspect.isclass(found) or not _within(f"{found.__module__}.", packages):
        raise RunError(refused)
    return found


def _within(path: str, packages: Sequence[str]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)


def package_names(packages: Any) -> Sequence[str]:
    """Returns the names of packages, of which one may be given as a string; raises TypeError for anything else."""
    packages = (packages,) if isinstance(packages, str) else packages
    if not isinstance(packages, Sequence) or not all(isinstance(name, str) for name in packages):
        raise TypeError(f"packages={packages!r}: must be names of packages, such as ('mine',)")
    return packages
