"""Runs a command under Hydra; a user's mistake ends in one line and a non-zero exit code, not in a traceback."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Sequence
from inspect import signature
from string import Template
from typing import Any, NoReturn, TypeVar

import hydra
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from vae_lab.cli.check import ConfigError, check_config
from vae_lab.cli.compose import config_dir, groups
from vae_lab.cli.messages import FULL_ERROR, fail, naming_what_takes_memory
from vae_lab.cli.overrides import check_words, quoted_names
from vae_lab.cli.paths import with_quoted_path
from vae_lab.cli.remedies import formatted_warning, naming_keys
from vae_lab.cli.repeated_words import completed_words
from vae_lab.runs import locks

Task = Callable[[DictConfig], None]
T = TypeVar("T")

_INTERRUPTED = 130
"""The exit code of a program that was stopped by Ctrl-C, as shells have it."""

_FLAGS = ("--help -h", "--hydra-help", "--version", "--resolve", "--run -r", "--multirun -m", "--shell-completion -sc")
"""Names of Hydra's options without a value."""

_VALUES = ("--package -p", "--config-path -cp", "--config-name -cn", "--config-dir -cd", "--experimental-rerun")
"""Names of Hydra's options with a value."""

_INFO = ("all", "aliases", "config", "defaults", "defaults-tree", "plugins", "searchpath")


def run(task: Task, config_name: str, run_job: Callable[[Task, DictConfig], None] | None = None) -> None:
    """Composes the config from the command line and calls ``task`` with it, once or for each job of a sweep.

    The config is checked in the order that `vae_lab.cli.compose` states.

    Args:
        config_name: name of the primary config and of the command.
        run_job: calls the task for a job of a sweep; None: as for a single run.
    """
    warnings.formatwarning = formatted_warning
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # Hydra would print what it logs of its font cache
    os.environ.setdefault(FULL_ERROR, os.environ.get("HYDRA_FULL_ERROR", "0"))
    # Hydra would print its own errors; with this they reach us as they are.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def frugal(cfg: DictConfig) -> None:
        with naming_what_takes_memory(config_name), naming_keys(cfg):
            task(cfg)

    def job(cfg: DictConfig) -> None:
        if run_job and HydraConfig.get().mode == RunMode.MULTIRUN:
            run_job(frugal, cfg)
            return
        try:
            check_config(cfg, config_name)
            frugal(cfg)
        except Exception as error:  # before Hydra sees it, which would print the overrides
            fail(error)

    if "" not in sys.path and os.getcwd() not in sys.path:  # of a console script, unlike python -m
        sys.path.insert(0, os.getcwd())
    command = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(job)
    try:
        options, typed = _ordered(sys.argv[1:])
        multirun = "--multirun" in options
        words = completed_words([with_quoted_path(word, multirun) for word in typed], multirun)
        sys.argv[1:] = [*options, *(words if multirun else map(quoted_names, words))]
        check_words(sys.argv[1 + len(options) :], groups())
        if options == ["--help"]:
            _print_help(config_name, sys.argv[2:])
        else:
            command()
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    except Exception as error:
        fail(error)
    finally:
        locks.AT_END.close()


class _Parser(ArgumentParser):
    """Parser of Hydra's options, whose mistakes end the command as others do."""

    def __init__(self) -> None:
        super().__init__(add_help=False)
        for names in _FLAGS:
            self.add_argument(*names.split(), action="store_true")
        for names in _VALUES:
            self.add_argument(*names.split())
        self.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
        self.add_argument("--info", "-i", nargs="?", const="all", choices=_INFO)
        self.add_argument("words", nargs="*")

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help lists the options")


def _ordered(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the options of a command line, each as one word, and its overrides: Hydra takes none between overrides.

    Raises:
        ConfigError: for an unknown option.
    """
    found = vars(_Parser().parse_intermixed_args(list(words)))
    overrides = found.pop("words")
    if found["config_dir"]:
        found["config_dir"] = os.path.expanduser(found["config_dir"])
    options = {f"--{name.replace('_', '-')}": value for name, value in found.items() if value not in (None, False)}
    return [name if value is True else f"{name}={value}" for name, value in options.items()], overrides


def settings_of(kind: type[T], cfg: DictConfig) -> T:
    """Returns the settings of a kind that the config of a command has, as plain containers."""
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return kind(**{name: plain[name] for name in signature(kind).parameters})


def _print_help(config_name: str, words: Sequence[str]) -> None:
    """Prints the help of a command as Hydra does, which takes another 0.4 s to list the options of the groups."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = hydra.compose(config_name, list(words), return_hydra_config=True)
    page = Template(cfg.hydra.help.template)
    with open_dict(cfg):
        del cfg["hydra"]
    listed = "".join(f"{group}: {', '.join(options)}\n" for group, options in sorted(groups().items()))
    filled = {"APP_CONFIG_GROUPS": listed, "CONFIG": OmegaConf.to_yaml(cfg)}
    print(page.substitute(defaultdict(str, filled)))  # Hydra 1.4 has a field for aliases, of which there are none
