"""Writes pictures, arrays and tables as files, whole or not at all: a reader never sees half of one."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torchvision.utils import save_image

from vae_lab.files import atomic_path


def save_picture(picture: Tensor, folder: str | Path, tag: str) -> Path:
    """Writes ``folder/<tag, with _ for />.png``.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(folder) / f"{tag.replace('/', '_')}.png"
    with atomic_path(path) as unfinished:
        save_image(picture, unfinished, format="png")
    return path


def save_arrays(arrays: Mapping[str, Tensor], folder: str | Path, tag: str) -> Path:
    """Writes ``folder/<tag, with _ for />.npz``: plain arrays, which `numpy.load` reads without pickle.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(folder) / f"{tag.replace('/', '_')}.npz"
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: array.cpu().numpy() for name, array in arrays.items()})
    return path


def save_array(array: Tensor, folder: str | Path, tag: str) -> Path:
    """Writes ``folder/<tag, with _ for />.npy``.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(folder) / f"{tag.replace('/', '_')}.npy"
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, array.cpu().numpy(), allow_pickle=False)
    return path


def save_table(columns: Mapping[str, Sequence[object]], folder: str | Path, tag: str) -> Path:
    """Writes ``folder/<tag, with _ for />.csv``: the names of the columns, then row by row.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(folder) / f"{tag.replace('/', '_')}.csv"
    with atomic_path(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path
