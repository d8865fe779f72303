"""Runs a command under Hydra; a user's mistake ends in one line and a non-zero exit, not in a stack trace."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError, OmegaConfBaseException

from vae_lab.cli import keys
from vae_lab.cli.check import ConfigError, check_config, did_you_mean
from vae_lab.cli.overrides import check_words, quoted_classes
from vae_lab.cli.paths import PATHS, ordered, path_of, with_quoted_path
from vae_lab.cli.resume import completed_words
from vae_lab.errors import RunError
from vae_lab.runs import locks
from vae_lab.sweeps import jobs
from vae_lab.sweeps import launchers as launching

keys.install()  # at import, because a job in a process of another launcher composes its config there

FULL_ERROR = "VAE_LAB_FULL_ERROR"
"""The user's own HYDRA_FULL_ERROR, kept for the processes that this one starts."""

EXPECTED_NAMES = ("MisconfigurationException", "OutOfMemoryError")
"""Of errors of packages that take long to import."""

OUT_OF_MEMORY = "out of memory|can't allocate memory|not enough memory: you tried to allocate"
"""Words of torch's RuntimeError when memory runs out, on a GPU and on CPUs."""

TAKE_MEMORY = {
    "train": "data.batch_size, eval_samples, objective.num_samples, data.memory_limit_gb or the sizes under network",
    "evaluate": "batch_size, elbo_samples or chunk",
    "sample": "num",
}
"""The keys of each command that set how much memory it takes."""

INTERRUPTED = 130
"""The exit code of a program that was stopped by Ctrl-C, as shells have it."""


def config_dir() -> Path:
    """The Hydra tree: shipped inside the package, or that of the checkout the package lies in."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parents[1] / "configs"


def groups() -> dict[str, list[str]]:
    """Returns the options of each group of the Hydra tree."""
    folders = (folder for folder in config_dir().iterdir() if folder.is_dir())
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def composed_choices(words: Sequence[str]) -> dict[str, str | None]:
    """Returns the option that a training with these overrides has in each group; nothing if they do not compose."""
    cfg = composed(words)
    return {group: cfg.hydra.runtime.choices.get(group) for group in groups()} if cfg else {}


def composed(words: Sequence[str]) -> DictConfig | None:
    """Returns the config of a training with these overrides, Hydra's own part included; None if they do not compose."""
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from hydra.core.global_hydra import GlobalHydra  # noqa: PLC0415

    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose("train", overrides=list(words), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ConfigError):  # the command itself will say why
        return None
    finally:
        GlobalHydra.instance().clear()


def run(task: Callable[[DictConfig], None], config_name: str) -> None:
    """Composes the config from the command line and calls ``task`` with it, once or for each job of a sweep."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache, which Hydra would print
    os.environ.setdefault(FULL_ERROR, os.environ.get("HYDRA_FULL_ERROR", "0"))
    # Hydra would print its own errors; with this they reach us as they are.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def frugal(cfg: DictConfig) -> None:
        with _naming_what_takes_memory(config_name):
            task(cfg)

    def job(cfg: DictConfig) -> None:
        if jobs.in_sweep(cfg):
            _run_in_sweep(frugal, cfg)
        else:
            _run_alone(frugal, cfg)

    if "" not in sys.path and os.getcwd() not in sys.path:  # of a console script, unlike python -m
        sys.path.insert(0, os.getcwd())
    command = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=config_name)(job)
    try:
        options, typed = ordered(sys.argv[1:])
        multirun = "--multirun" in options
        words = completed_words([with_quoted_path(word, multirun) for word in typed], multirun)
        sys.argv[1:] = [*options, *(words if multirun else map(quoted_classes, words))]
        check_words(sys.argv[1 + len(options) :], groups())
        command()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        fail(error)
    finally:
        locks.HELD.close()


@contextlib.contextmanager
def _naming_what_takes_memory(config_name: str) -> Iterator[None]:
    """Says which keys reduce the memory that a command takes, where it runs out of it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search(OUT_OF_MEMORY, str(error)):
            raise
        reason = " ".join(str(error).split())[:150] or "no reason given"
        raise RunError(f"out of memory ({reason}); reduce {TAKE_MEMORY[config_name]}") from error


def _run_alone(task: Callable[[DictConfig], None], cfg: DictConfig) -> None:
    try:
        check_config(cfg)
        task(cfg)
    except Exception as error:
        with contextlib.suppress(OSError):  # takes back the folder that Hydra made for a run that never began
            folder = jobs.job_folder()
            folder.rmdir()
            if folder.parent.parent.name == "outputs":
                folder.parent.rmdir()
        fail(error)


def _run_in_sweep(task: Callable[[DictConfig], None], cfg: DictConfig) -> None:
    """A job that fails writes down why and lets the others go on; one that is finished already stays as it is."""
    folder, overrides = jobs.job_folder(), jobs.job_overrides()
    try:
        if not jobs.take_up(folder, overrides):
            return
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return
    try:
        check_config(cfg)
        if jobs.wants_several_processes(cfg):
            jobs.run_apart(folder, overrides)
        else:
            cfg.resume = "auto"
            task(cfg)
    except Exception as error:
        reason = _message(error)
        if not _in_one_line(error):
            reason = f"{type(error).__name__}: {reason}"
            print(f"the traceback is in {jobs.save_trace(folder, error)}", file=sys.stderr)
        jobs.save_failure(folder, overrides, error, reason)
        print(f"error: {reason}", file=sys.stderr)
    gc.collect()  # of a failed job, too: the next one may need the memory


def fail(error: Exception) -> NoReturn:
    """Prints one line for a user's mistake and exits with 1; raises anything else, and all with HYDRA_FULL_ERROR=1."""
    if not _in_one_line(error):
        raise error
    print(f"error: {printable(_message(error))}", file=sys.stderr)
    raise SystemExit(1)


def printable(text: str) -> str:
    """With whatever would end the line or stir the terminal written out, as ``<0x1b>``."""
    return "".join(c if c.isprintable() else f"<{ord(c):#x}>" for c in text)


def _in_one_line(error: Exception) -> bool:
    """Whether it is a user's mistake, and the user did not ask for all traces."""
    if os.environ.get(FULL_ERROR, "0") not in ("0", ""):
        return False
    expected = (ValueError, OSError, ImportError, HydraException, OmegaConfBaseException, RunError)
    cause = _root(error)
    if isinstance(cause, RuntimeError) and _raised_by_lightning(cause):
        return True
    return isinstance(cause, expected) or type(cause).__name__ in EXPECTED_NAMES or _is_of_a_component(error)


def _raised_by_lightning(error: BaseException) -> bool:
    """True if Lightning itself refused something, such as a metric that a callback does not find."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith(("pytorch_lightning.", "lightning_"))


def _is_of_a_component(error: Exception) -> bool:
    """Whether a component could not be built of what the config gives it, whatever the error: a key too few, say."""
    late = isinstance(error, TypeError) and "required positional argument" in str(error)  # of one that was prepared
    return late or isinstance(error, InstantiationException)


def _root(error: BaseException) -> BaseException:
    """What went wrong in the first place, under Hydra's wrapping."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _message(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        missing = launching.missing_launcher(option) if group == "hydra/launcher" else None
        if missing:
            return missing
        return (
            f"{group}={option}: no such option{_nearest(option, error.options)}choose from {', '.join(error.options)}"
        )
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not of the form key=value ({' '.join(str(error).split())})"
    root = _root(error)
    if isinstance(root, ConfigAttributeError | ConfigKeyError) and root.full_key:
        return f"{root.full_key}: no such key"
    if isinstance(root, InterpolationKeyError) and (line := _unresolved(str(root))):
        return line
    reason = " ".join(str(root).split()) or type(root).__name__
    key = re.search(r"full_key: (\S+)", str(error))
    return f"{key[1]}: {reason}" if key and not isinstance(root, HydraException | ValueError | OSError) else reason


def _unresolved(reason: str) -> str | None:
    """Returns the word of the command line that refers to a key which is not there, with a remedy; None for no word."""
    found = re.search(r"Interpolation key '([^']+)'", reason)
    word = next((word for word in sys.argv[1:] if found and f"${{{found[1]}}}" in word), None)
    if found is None or word is None:
        return None
    key, _, value = word.partition("=")
    is_path = key.lstrip("+") in PATHS
    remedy = "choose a path without ${" if is_path else "give it a value"
    return f"{key}={path_of(word) if is_path else value}: there is no key {found[1]}; {remedy}"


def _nearest(option: str, options: Sequence[str]) -> str:
    hint = did_you_mean(option, options)
    return f"{hint} " if hint.startswith("; did") else "; "
