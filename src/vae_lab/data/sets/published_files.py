"""Finds the files of a published data set on this machine, or else downloads them whole."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchvision.datasets.utils import check_integrity

ABANDONED = 24 * 60 * 60
"""Seconds after which a partial folder is no longer written to."""

_CHECKOUT = Path(__file__).resolve().parents[3]


def existing(path: Path) -> Path | None:
    """Returns the file, or else its gzipped form, or else None."""
    return next((p for p in (path, path.with_name(f"{path.name}.gz")) if p.exists()), None)


def locate(
    name: str,
    root: str,
    subfolder: str,
    files: Sequence[str],
    download: Callable[[str], object],
    elsewhere: Mapping[str, str] | None = None,
) -> Path:
    """Returns the first folder that holds all the files: ``subfolder`` of a folder of data, or one of ``elsewhere``.

    Folders of data are ``root``, that of the environment variable VAE_LAB_DATA (or else ``data``), and
    ``../shared/data``.

    If there is none, ``download(folder)`` must put them under ``folder``, from where they move into ``root`` only when
    all has gone well: an interrupted download is never taken for a good one.

    Args:
        name: name of the data set, for the error.
        root: folder of data of the user.
        subfolder: path of this set in a folder of data.
        files: names of the files; each may be gzipped.
        download: downloader, called with a temporary folder of data.
        elsewhere: further folders that may hold the files themselves, each with the Debian package that fills it.

    Raises:
        FileNotFoundError: if they are nowhere and cannot be downloaded; it names the folders, the files and the ways to
            get them.
    """
    home = Path(root).expanduser()
    own = Path(os.environ.get("VAE_LAB_DATA", "data")).expanduser().absolute()  # for a run that was made elsewhere
    data = [home, own, Path("../shared/data").absolute(), _CHECKOUT.parent / "shared" / "data"]
    folders = list(dict.fromkeys([*(folder / subfolder for folder in data), *map(Path, elsewhere or {})]))
    for folder in folders:
        if all(existing(folder / file) for file in files):
            return folder
    try:
        _download(home, download)
    except Exception as error:  # every downloader fails in its own way: URLError, RuntimeError, gdown's, requests'
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"{name}: not found in {', '.join(map(str, folders))} (expected {', '.join(files)}),"
            f" and the download failed: {reason}; without a network, {_other_ways(subfolder, elsewhere or {})}"
        ) from error
    return folders[0]


def _other_ways(subfolder: str, elsewhere: Mapping[str, str]) -> str:
    """Returns the ways to get the files of a data set without a download."""
    ways = [f"install Debian's package {package}" for package in elsewhere.values()]
    place = f"FOLDER/{subfolder}" if subfolder else "FOLDER"
    return " or ".join([*ways, f"put the files into {place} and set data.root=FOLDER or VAE_LAB_DATA=FOLDER"])


def corrupt(name: str, folder: Path, md5: Mapping[str, str]) -> ValueError:
    """Returns the error that names the files of a data set whose digest is not the published one."""
    files = [str(folder / file) for file, digest in md5.items() if not check_integrity(folder / file, digest)]
    return ValueError(f"{name}: corrupt or truncated: {', '.join(files)}; delete them to download them again")


@contextmanager
def partial_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Context manager with a folder in ``parent`` for something that is moved once it is whole; then it is deleted.

    Folders that killed processes left are deleted a day later: until then they may be another process's.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for abandoned in parent.glob(f"{prefix}*"):
        if time.time() - _last_touched(abandoned) > ABANDONED:
            shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as partial:
        yield Path(partial)


def safe_on_disk(file: IO[bytes]) -> None:
    """Writes a file to the disk at once, so that a loss of power leaves it whole."""
    file.flush()
    os.fsync(file.fileno())


def _last_touched(folder: Path) -> float:
    """Returns the time of the last change in a folder; now, if it is just being deleted."""
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _download(root: Path, download: Callable[[str], object]) -> None:
    with partial_folder(root, ".download-") as partial:
        download(str(partial))
        for item in partial.iterdir():
            _move(item, root / item.name)


def _move(source: Path, target: Path) -> None:
    """Moves a file or a folder in one step, or into a folder that is already there, piece by piece."""
    try:
        os.replace(source, target)
    except OSError:
        if not (source.is_dir() and target.is_dir()):
            raise
        for item in source.iterdir():
            _move(item, target / item.name)
