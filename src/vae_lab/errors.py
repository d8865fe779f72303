"""Expected failures of a run, reported in one line without a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class RunError(RuntimeError):
    """Failure of a run that is reported in one line."""


class PrunedError(RunError):
    """The search stopped this trial because other trials are better."""


class NonFiniteLossError(RunError):
    """A term of the loss became NaN or infinite."""


def one_line(error: BaseException, most: int | None = None) -> str:
    """Returns the message of an error in one line, of so many letters at most; its class if it has no message."""
    return " ".join(str(error).split())[:most] or type(error).__name__


_OPTION = re.compile(r"(?<![\w/.])data\.(?!root\b)(images\.)?[a-z_]+\b(?=[ =]|$)")
"""A key of the data that only training takes."""


@contextmanager
def naming_data_root() -> Iterator[None]:
    """Context manager in which errors name ``data_root``, the key of evaluate and sample, and not ``data.root``."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        remedy = "; data_root=FOLDER names where the data lie now" if text.startswith("data.root=") else ""
        if _OPTION.search(text):
            remedy += " (an option of training: this command reads data as the run did)"
        elif "data.root" not in text:
            raise
        raise RunError(f"{text.replace('data.root', 'data_root')}{remedy}") from error
