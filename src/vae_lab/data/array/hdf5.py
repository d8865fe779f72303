"""Arrays in HDF5 files, such as that of 3D Shapes; h5py is an extra (pip install 'vae-lab[h5]')."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vae_lab.data.arrays import allocate, chunks, release
from vae_lab.types import listed

SUFFIXES = (".h5", ".hdf5")


def members(path: Path) -> list[str]:
    """Returns the names of the arrays at the top of a file.

    Raises:
        ValueError: for a file that is corrupt or truncated, that has groups alone, or without h5py.
    """
    with _opened(path) as file:
        found = [name for name in file if hasattr(file[name], "shape")]
        if not found and len(file):
            raise ValueError(
                f"{path}: no arrays at the top, only groups ({listed(list(file))}); save them as train_images,"
                " train_labels and the like"
            )
        return found


def read(path: Path, member: str, memory_limit_gb: float) -> NDArray[Any]:
    """Returns an array; above the limit, a memory map of an unnamed file.

    Raises:
        ValueError: for a file that is corrupt or truncated, or without h5py; for values other than numbers.
    """
    with _opened(path) as file:
        stored = file[member]
        if stored.dtype.kind not in "buif":
            raise ValueError(f"{path}: {member}: {stored.dtype}, must be numbers")
        whole = allocate(stored.shape, memory_limit_gb, stored.dtype)
        for rows in chunks(len(stored), max(1, stored.dtype.itemsize * stored.size // max(1, len(stored)))):
            whole[rows] = stored[rows]
            release(whole)
    return whole


def _opened(path: Path) -> Any:
    try:
        import h5py  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(f"{path}: reading it needs h5py; pip install 'vae-lab[h5]'") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: corrupt, truncated or not HDF5 ({' '.join(str(error).split())})") from error
