"""Writes files whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import glob
import os
import re
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vae_lab.types import IN_MEMORY

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


@contextmanager
def atomic_path(path: Path, sync: bool = False) -> Iterator[Path]:
    """Context manager with a path to write to, which is renamed to ``path`` at the end of the with-block.

    If the writing fails, ``path`` stays as it was and the unfinished file is deleted.

    Args:
        path: path of the file; its folder is made if it does not exist.
        sync: write content and name to the disk before going on, so that a loss of power loses neither.

    Raises:
        OSError: if it cannot be written, as on a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished_path(path)
    try:
        yield unfinished
        if sync:
            _sync(unfinished)
        os.replace(unfinished, path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(path)  # a full disk is found where no name is known
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def absolute(path: str) -> str:
    """Returns the whole path of a file or folder, so that it means the same in every working directory."""
    if path == IN_MEMORY:
        return path
    path = os.path.expanduser(path)
    plain = os.path.abspath(path)  # drops "..", which leads elsewhere behind a link
    whole = os.path.realpath(path)
    return plain if os.path.realpath(plain) == whole else whole


def resolved(path: str) -> Path:
    """Returns the one path of a file or folder that may be named in several ways, links followed."""
    return Path(path).expanduser().resolve()


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes | memoryview, sync: bool = False) -> None:
    """Writes a file whole or not at all; ``sync`` as in `atomic_path`."""
    with atomic_path(path, sync) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """Context manager with an empty folder beside ``path``, which is deleted at the end unless it has been renamed."""
    unfinished = _unfinished_path(path)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished_path(path: Path) -> Path:
    """Returns the hidden path that this process writes to; deletes what killed processes have left for ``path``."""
    for unfinished in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if _is_written(unfinished) is False:
            _delete(unfinished)
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")


def _is_written(unfinished: Path) -> bool | None:
    """True if the process that writes a file lives, False if it has ended; None for one of another machine."""
    match = re.fullmatch(rf".*\.{re.escape(socket.gethostname())}\.(\d+)\.part", unfinished.name)
    if match is None or sys.platform == "win32":  # where os.kill would end the process
        return None
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # a process of another user, or a number that is none
        return True
    return True


def remove_unfinished(folder: Path) -> None:
    """Deletes the unfinished files and folders of a run, but for those that a process of this machine still writes."""
    for unfinished in list(folder.rglob(".*.part")):
        if not _is_written(unfinished):
            _delete(unfinished)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)  # it may have lain in such a folder


def why_not_a_file(path: Path) -> str:
    """Returns the reason why a path is not a regular file, such as ``is a folder``; '' if it is one.

    Raises:
        FileNotFoundError: if nothing lies at that path, not even a link to nothing.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if path.is_symlink():
            return "is a link to nothing"
        raise
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if stat.S_ISREG(mode):
        return ""
    return "is " + next((name for is_kind, name in _KINDS if is_kind(mode)), "not a regular file")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
