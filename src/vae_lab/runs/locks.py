"""Locks of run folders and sweep folders: one process at a time writes there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from vae_lab.errors import RunError

NAME = ".lock"
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Variables of launchers; the first process of a run has none above 0."""

AT_END = contextlib.ExitStack()
"""Locks that a command holds until it ends, in whatever way, and folders that it has made and then removes if they are
empty; `vae_lab.cli.command.run` closes it."""


def hold(folder: Path) -> None:
    """Holds a folder until the command ends; see `locked`."""
    AT_END.enter_context(locked(folder))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder until the end of the with-block, or of the process, however it ends.

    Of the processes of one run only the first takes the lock. On Windows, and on file systems without locks, nothing
    is held.

    Args:
        folder: existing folder; a hidden file lies in it meanwhile.

    Raises:
        RunError: if another process holds it; it names that process.
    """
    if sys.platform == "win32" or any(int(os.environ.get(name) or 0) > 0 for name in RANKS):
        yield
        return
    path = folder / NAME
    descriptor = _take(path)
    try:
        with contextlib.suppress(OSError):  # of a full disk: the lock holds without a name, too
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _own_name().encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before others can take it
        os.close(descriptor)


def check_free(folder: Path) -> None:
    """Raises `RunError` if another process holds the folder."""
    if (folder / NAME).is_file():
        with locked(folder):
            pass


def _take(path: Path) -> int:
    """Returns an open file with the lock on it: the one of that name, not one that another process has just removed."""
    import fcntl  # noqa: PLC0415  (Windows lacks it)

    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.ELOOP):
                raise
            raise RunError(f"{path}: a folder or a link, which cannot lock {path.parent}; remove it") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.pread(descriptor, 1000, 0))
            os.close(descriptor)
            raise RunError(f"{path.parent}: {holder} works there; wait until it has ended, or stop it") from None
        except OSError as error:
            warnings.warn(f"{path.parent}: cannot be locked ({error}); let no other process write there", stacklevel=3)
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


def _own_name() -> str:
    return json.dumps([socket.gethostname(), os.getpid(), datetime.now().strftime("%Y-%m-%d %H:%M:%S")])


def _holder(content: bytes) -> str:
    """Returns the process that wrote its name, in words."""
    try:
        host, pid, since = json.loads(content)
    except ValueError:  # of a process that has only just taken it
        return "another process"
    return f"process {pid} on {host} (since {since})"
