"""Pictures decoded once into one file on disk, so that the next run opens them at once.

A cache is a folder with two files: ``images.u8``, the decoded pictures one after another, and ``kept.npy``, the place
of each in the list that was decoded. The folder's name carries a digest of that list and of how it was decoded, so a
change of either makes another cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vae_lab.data.arrays import GIGABYTE, Images, Indices

FORMAT_VERSION = 1
"""Raise it whenever the same files would be decoded into other bytes."""


def cache_folder(root: str, name: str, key: object) -> Path:
    """Where the cache of ``key`` (anything JSON) belongs: under ``root``, or in ``~/.cache`` if that is read-only."""
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, key], sort_keys=True).encode()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae_lab"
    place = Path(root).expanduser()
    return (place / ".vae_lab" if os.access(place, os.W_OK) else home) / f"{name}-{digest}"


def write(folder: Path, pictures: Iterable[tuple[int, Images]]) -> None:
    """Writes (place, picture) pairs as one cache that appears complete or not at all.

    Of two processes that write the same cache at once, the second to finish keeps the first one's.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent, ignore_cleanup_errors=True) as partial:
        whole = Path(partial, folder.name)
        whole.mkdir()
        kept = []
        with open(whole / "images.u8", "wb") as file:
            for place, picture in pictures:
                file.write(picture.tobytes())
                kept.append(place)
        np.save(whole / "kept.npy", np.array(kept, np.int64))
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def read(folder: Path, shape: tuple[int, int, int], memory_limit_gb: float) -> tuple[Images, Indices]:
    """The pictures (N, *shape), memory-mapped above the limit, and the place of each in the list.

    Raises:
        ValueError: naming the file, if it is not as long as it should be.
    """
    kept: Indices = np.load(folder / "kept.npy")
    path, size = folder / "images.u8", len(kept) * math.prod(shape)
    if path.stat().st_size != size:
        raise ValueError(f"{path}: {size} bytes expected, {path.stat().st_size} present; delete {folder}")
    whole = (len(kept), *shape)
    if size > memory_limit_gb * GIGABYTE:
        return np.memmap(path, np.uint8, "r", shape=whole), kept
    return np.fromfile(path, np.uint8).reshape(whole), kept
