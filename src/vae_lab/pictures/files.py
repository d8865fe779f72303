"""Pictures and arrays as files, whole or not at all: a reader never sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor
from torchvision.utils import save_image


def save_picture(picture: Tensor, folder: str | Path, tag: str) -> Path:
    """Writes ``folder/<tag, with _ for />.png``.

    Raises:
        OSError: where it cannot be written.
    """
    path = Path(folder) / f"{tag.replace('/', '_')}.png"
    with _replaced(path) as unfinished:
        save_image(picture, unfinished, format="png")
    return path


def save_arrays(arrays: Mapping[str, Tensor], folder: str | Path, tag: str) -> Path:
    """Writes ``folder/<tag, with _ for />.npz``: plain arrays, which `numpy.load` reads without pickle.

    Raises:
        OSError: where it cannot be written.
    """
    path = Path(folder) / f"{tag.replace('/', '_')}.npz"
    with _replaced(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: array.cpu().numpy() for name, array in arrays.items()})
    return path


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Where to write what becomes ``path`` in the end, and vanishes should the writing fail."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
