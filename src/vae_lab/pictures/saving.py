"""Writes pictures, arrays and tables as files, whole or not at all: a reader never sees half of one.

Each function writes ``folder/<tag, with _ for />`` with the ending of its kind, returns the path, and raises OSError if
it cannot be written.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torchvision.utils import save_image

from vae_lab.files import atomic_path


def save_picture(picture: Tensor, folder: str | Path, tag: str) -> Path:
    """Writes a picture, (3, H, W) in [0, 1], as PNG."""
    path = _path(folder, tag, "png")
    with atomic_path(path) as unfinished:
        save_image(picture, unfinished, format="png")
    return path


def save_arrays(arrays: Mapping[str, Tensor], folder: str | Path, tag: str) -> Path:
    """Writes arrays by name as npz, which `numpy.load` reads without pickle."""
    path = _path(folder, tag, "npz")
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: array.cpu().numpy() for name, array in arrays.items()})
    return path


def save_array(array: Tensor, folder: str | Path, tag: str) -> Path:
    """Writes one array as npy."""
    path = _path(folder, tag, "npy")
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, array.cpu().numpy(), allow_pickle=False)
    return path


def save_table(columns: Mapping[str, Sequence[object]], folder: str | Path, tag: str) -> Path:
    """Writes columns by name as csv: their names, then row by row."""
    path = _path(folder, tag, "csv")
    with atomic_path(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))
    return path


def _path(folder: str | Path, tag: str, ending: str) -> Path:
    return Path(folder) / f"{tag.replace('/', '_')}.{ending}"
