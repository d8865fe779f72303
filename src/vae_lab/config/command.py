"""Runs a command under Hydra; a user's mistake ends in one line and a non-zero exit, not in a stack trace."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vae_lab.config.check import check_config, did_you_mean
from vae_lab.errors import RunError

FULL_ERROR = "VAE_LAB_FULL_ERROR"
"""The user's own HYDRA_FULL_ERROR, kept for the processes that this one starts."""


def config_dir() -> Path:
    """The Hydra tree: shipped inside the package, or that of the checkout the package lies in."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parents[1] / "configs"


def run(task: Callable[[DictConfig], None], config_name: str) -> None:
    """Composes the config from the command line and calls ``task`` with it, once or for each job of a sweep."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    os.environ.setdefault(FULL_ERROR, os.environ.get("HYDRA_FULL_ERROR", "0"))
    # Hydra would print its own errors; with this they reach us as they are.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def checked(cfg: DictConfig) -> None:
        try:
            check_config(cfg)
            task(cfg)
        except Exception as error:
            _remove_if_empty(HydraConfig.get().runtime.output_dir)
            fail(error)

    command = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(checked)
    try:
        command()
    except Exception as error:
        fail(error, config_name)


def _remove_if_empty(folder: str) -> None:
    """Takes back the folder that Hydra made for a run that never began."""
    with contextlib.suppress(OSError):
        Path(folder).rmdir()


def fail(error: Exception, config_name: str | None = None) -> NoReturn:
    """Prints one line for a user's mistake and exits with 1; raises anything else, and all with HYDRA_FULL_ERROR=1."""
    if os.environ.get(FULL_ERROR, "0") not in ("0", "") or not _is_users(error):
        raise error
    print(f"error: {_message(error, config_name)}", file=sys.stderr)
    raise SystemExit(1)


def _is_users(error: Exception) -> bool:
    expected = (ValueError, OSError, ImportError, HydraException, OmegaConfBaseException, RunError)
    cause = _root(error)
    return isinstance(cause, expected) or type(cause).__name__ == "MisconfigurationException"


def _root(error: BaseException) -> BaseException:
    """What went wrong in the first place, under Hydra's wrapping."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _message(error: Exception, config_name: str | None) -> str:
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        return (
            f"{group}={option}: no such option{_nearest(option, error.options)}choose from {', '.join(error.options)}"
        )
    if isinstance(error, ConfigCompositionException) and config_name is not None:
        unknown = _unknown_key(error)
        if unknown:
            return f"{unknown}: no such key{did_you_mean(unknown, _known_keys(config_name))}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not of the form key=value ({' '.join(str(error).split())})"
    root = _root(error)
    return " ".join(str(root).split()) or type(root).__name__


def _nearest(option: str, options: Sequence[str]) -> str:
    hint = did_you_mean(option, options)
    return f"{hint} " if hint.startswith("; did") else "; "


def _unknown_key(error: ConfigCompositionException) -> str | None:
    cause = error.__cause__
    full_key = getattr(cause, "full_key", None)
    return str(full_key) if full_key else None


def _known_keys(config_name: str) -> list[str]:
    from hydra.core.global_hydra import GlobalHydra  # noqa: PLC0415

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(config_name, overrides=[word for word in sys.argv[1:] if _is_group_choice(word)])
    return list(_dotted(OmegaConf.to_container(cfg, resolve=False)))


def _is_group_choice(word: str) -> bool:
    group, _, option = word.partition("=")
    return bool(option) and (config_dir() / group / f"{option}.yaml").is_file()


def _dotted(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, child in node.items():
            if not str(name).startswith("_"):
                yield f"{prefix}{name}"
                yield from _dotted(child, f"{prefix}{name}.")
