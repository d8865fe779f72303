"""Pictures decoded once into one file on disk, so that the next run opens them at once.

A cache is a folder with three files: ``images.u8``, the decoded pictures one after another, ``kept.npy``, the place of
each in the list that was decoded, and ``notes.json``, remarks for the user of the pictures. The folder's name
carries a digest of that list and of how it was decoded, so a change of either makes another cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from vae_lab.data.arrays import GIGABYTE, Images, Indices
from vae_lab.data.sets.published_files import partial_folder, safe_on_disk

FORMAT_VERSION = 4
"""Raise it whenever the same files would be decoded into other bytes."""


def cache_folder(root: str, name: str, key: object) -> Path:
    """Returns the folder of the cache of ``key`` (any JSON): in ``root``, or in ``~/.cache`` if that is read-only."""
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, key], sort_keys=True).encode()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vae_lab"
    place = Path(root).expanduser()
    return (place / ".vae_lab" if os.access(place, os.W_OK) else home) / f"{name}-{digest}"


def write(folder: Path, pictures: Iterable[tuple[int, Images]], notes: Callable[[], object] = dict) -> None:
    """Writes (place, picture) pairs and, after the last one, notes (any JSON) as one cache: complete or not at all.

    Of two processes that write the same cache at once, the second to finish keeps the first one's.
    """
    with partial_folder(folder.parent, ".partial-") as partial:
        whole = partial / folder.name
        whole.mkdir()
        kept = []
        with open(whole / "images.u8", "wb") as file:
            for place, picture in pictures:
                file.write(picture.tobytes())
                kept.append(place)
            safe_on_disk(file)
        with open(whole / "kept.npy", "wb") as file:
            np.save(file, np.array(kept, np.int64))
            safe_on_disk(file)
        (whole / "notes.json").write_text(json.dumps(notes()), "utf-8")
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def write_json(path: Path, content: object) -> None:
    """Writes a small file beside the caches, complete or not at all."""
    with partial_folder(path.parent, ".partial-") as partial:
        whole = partial / path.name
        whole.write_text(json.dumps(content), "utf-8")
        whole.replace(path)


def notes(folder: Path) -> object:
    """Returns the notes of a cache; None if they are missing or damaged, as the pictures do not depend on them."""
    try:
        return json.loads((folder / "notes.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None


def read(folder: Path, shape: tuple[int, int, int], num_files: int, memory_limit_gb: float) -> tuple[Images, Indices]:
    """Returns the pictures (N, *shape), memory-mapped above the limit, and the place of each in the list of files.

    Raises:
        ValueError: naming a file that is corrupt or truncated.
    """
    kept = _kept(folder, num_files)
    path, size = folder / "images.u8", len(kept) * math.prod(shape)
    present = path.stat().st_size if path.is_file() else 0
    if present != size:
        raise ValueError(f"{path}: {size} bytes expected, {present} present; delete {folder}")
    whole = (len(kept), *shape)
    if size > memory_limit_gb * GIGABYTE:
        return np.memmap(path, np.uint8, "r", shape=whole), kept
    return np.fromfile(path, np.uint8).reshape(whole), kept


def _kept(folder: Path, num_files: int) -> Indices:
    path = folder / "kept.npy"
    try:
        kept: Indices = np.array(open_memmap(path, mode="r"))  # a map: a corrupt size must not be allocated
        if kept.dtype != np.int64 or kept.ndim != 1:
            raise ValueError(f"{kept.dtype} {kept.shape}")
        if kept[0] < 0 or kept[-1] >= num_files or (np.diff(kept) <= 0).any():
            raise ValueError(f"places are not ascending in 0..{num_files - 1}")
    except Exception as error:  # of a corrupt header anything may come
        raise ValueError(f"{path}: corrupt or truncated ({' '.join(str(error).split())}); delete {folder}") from error
    return kept
