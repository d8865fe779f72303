"""Reports a user's mistake in one line and a non-zero exit code, not in a traceback."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationKeyError, OmegaConfBaseException

from vae_lab.cli.check import NOT_AN_OVERRIDE, did_you_mean
from vae_lab.cli.paths import PATHS, path_of
from vae_lab.errors import RunError, one_line
from vae_lab.nested import key_of

FULL_ERROR = "VAE_LAB_FULL_ERROR"
"""Environment variable with the user's own HYDRA_FULL_ERROR, kept for the processes that this one starts."""

_EXPECTED_NAMES = ("MisconfigurationException", "OutOfMemoryError")
"""Names of expected errors of packages that take long to import."""

_OUT_OF_MEMORY = "out of memory|can't allocate memory|not enough memory: you tried to allocate"
"""Words of torch's RuntimeError when memory runs out, on a GPU and on CPUs."""

_TAKE_MEMORY = {
    "train": "data.batch_size, eval_samples, objective.num_samples, data.memory_limit_gb or the sizes under network",
    "evaluate": "batch_size, elbo_samples or chunk",
    "sample": "num",
    "encode": "batch_size, elbo_samples or chunk",
    "reproduce": "what the run was trained with",
    "explore": "num_examples",
    "export": "what the run was trained with",
}
"""The keys of each command that set how much memory it takes."""

EXTRAS = {
    "joblib": ("joblib", "hydra-joblib-launcher"),
    "ray": ("ray", "hydra-ray-launcher"),
    "submitit_local": ("submitit", "hydra-submitit-launcher"),
    "submitit_slurm": ("submitit", "hydra-submitit-launcher"),
}
"""The extra of this package, and the package in it, that brings each launcher."""


def fail(error: Exception) -> NoReturn:
    """Prints one line for a user's mistake and exits with 1; raises anything else, and all with HYDRA_FULL_ERROR=1."""
    if not is_expected(error):
        raise error
    print(f"error: {printable(message(error))}", file=sys.stderr)
    raise SystemExit(1)


def printable(text: str) -> str:
    """Returns a string with control characters written out, as ``<0x1b>``."""
    return "".join(c if c.isprintable() else f"<{ord(c):#x}>" for c in text)


def wants_tracebacks() -> bool:
    """True if the user asked for the tracebacks of all errors."""
    return os.environ.get(FULL_ERROR, "0") not in ("0", "")


def is_expected(error: Exception) -> bool:
    """True if the user made a mistake, and did not ask for all tracebacks."""
    if wants_tracebacks():
        return False
    expected = (ValueError, OSError, ImportError, HydraException, OmegaConfBaseException, RunError)
    cause = root_cause(error)
    if isinstance(cause, RuntimeError) and _raised_by_lightning(cause):
        return True
    return isinstance(cause, expected) or type(cause).__name__ in _EXPECTED_NAMES or _is_of_a_component(error)


def _raised_by_lightning(error: BaseException) -> bool:
    """True if Lightning itself refused something, such as a metric that a callback does not find."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").startswith(("pytorch_lightning.", "lightning_"))


def _is_of_a_component(error: Exception) -> bool:
    """True if a component could not be built from its config, whatever the error, such as a missing key."""
    late = isinstance(error, TypeError) and "required positional argument" in str(error)  # of a partial
    return late or isinstance(error, InstantiationException)


def root_cause(error: BaseException) -> BaseException:
    """Returns the error that Hydra has wrapped."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def message(error: Exception) -> str:
    """Returns what is wrong in one line that names the key, if the error knows it."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        if group == "hydra/launcher" and option in EXTRAS:
            extra, package = EXTRAS[option]
            return f"launcher={option}: needs {package}; pip install 'vae-lab[{extra}]'"
        hint = did_you_mean(option, error.options)
        near, own = (hint, "") if hint.startswith("; did") else (";", ", or add your own by --config-dir FOLDER")
        return f"{group}={option}: no such option{near} choose from {', '.join(error.options)}{own}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {NOT_AN_OVERRIDE}"
    root = root_cause(error)
    if isinstance(root, ConfigAttributeError | ConfigKeyError) and root.full_key:
        return f"{root.full_key}: no such key"
    if isinstance(root, InterpolationKeyError) and (line := _unresolved(str(root))):
        return line
    several = r"\1: several values; write a list as [a,b], or add -m to train with each"
    reason = re.sub(r"^Ambiguous value for argument '(.*?)' .*", several, one_line(root))
    key = re.search(r"full_key: (\S+)", str(error))
    return f"{key[1]}: {reason}" if key and not isinstance(root, HydraException | ValueError | OSError) else reason


def _unresolved(reason: str) -> str | None:
    """Returns the word of the command line with an interpolation that fails, and a remedy; None if there is no word."""
    found = re.search(r"Interpolation key '([^']+)'", reason)
    word = next((word for word in sys.argv[1:] if found and f"${{{found[1]}}}" in word), None)
    if found is None or word is None:
        return None
    key, _, value = word.partition("=")
    is_path = key_of(word) in PATHS
    remedy = "choose a path without ${" if is_path else "give it a value"
    return f"{key}={path_of(word) if is_path else value}: there is no key {found[1]}; {remedy}"


@contextmanager
def naming_what_takes_memory(command: str) -> Iterator[None]:
    """Context manager in which errors of a full memory name the keys that reduce what a command takes."""
    try:
        yield
    except RunError:  # which says already what to reduce
        raise
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not re.search(_OUT_OF_MEMORY, str(error)):
            raise
        reason = " ".join(str(error).split())[:150] or "no reason given"
        raise RunError(f"out of memory ({reason}); reduce {_TAKE_MEMORY[command]}") from error
