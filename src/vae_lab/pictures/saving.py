"""Writes pictures and arrays as files, whole or not at all: a reader never sees half of one."""

from __future__ import annotations

from collections.abc import Mapping
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
