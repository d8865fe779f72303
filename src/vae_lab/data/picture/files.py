"""Files below a folder, and pictures: found, recognised by sizes and times, opened without running a program."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

GREY_MODES = ("1", "L", "LA", "La")
"""Modes of Pillow in which a picture is grey."""
_ARTEFACTS = ("__MACOSX", "@eaDir")
"""Folders that archives and storage servers leave, with a file of metadata for each picture."""


def is_passed_over(name: str) -> bool:
    """True for the name of a hidden file or folder, or of a folder that an archive or a storage server leaves."""
    return name.startswith(".") or name in _ARTEFACTS


def files_within(folder: Path) -> Sequence[Path]:
    """Returns the files in a folder and in those within, in order; links to folders are followed, each folder once.

    Pipes and broken links count as files, so that they are named among those that cannot be read.
    """
    files: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        whole = os.path.realpath(place)
        folders[:] = [] if whole in seen else [name for name in folders if not is_passed_over(name)]
        if whole not in seen:
            files += [Path(place, name) for name in names if not name.startswith(".")]
        seen.add(whole)
    return sorted(files)


def looks_like_picture(path: Path) -> bool:
    """True for a file whose suffix is that of a format of pictures."""
    Image.init()
    return path.suffix.lower() in Image.EXTENSION


def open_picture(path: Path) -> Image.Image:
    """Opens a picture file.

    Raises:
        ValueError: for anything but a regular file, because a pipe would never end.
        OSError, SyntaxError, ...: any of Pillow's errors for a file that it cannot read.
    """
    if not path.is_file():
        raise ValueError("not a regular file")
    return Image.open(path, formats=_known_formats())


def over_white(image: Image.Image) -> Image.Image:
    """Returns a picture whose transparent parts are white."""
    if not image.has_transparency_data:
        return image
    opaque = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)


def pixels_of(picture: Any) -> Any:
    """Returns a picture of Pillow as it is seen, grey (H, W) or in colour (H, W, 3); 16 bits and floats as they are.

    Anything else is returned as it is.
    """
    if not isinstance(picture, Image.Image):
        return picture
    upright = ImageOps.exif_transpose(picture)
    if upright.mode[0] not in "IF":  # palettes hold numbers of colours, CMYK and YCbCr have other channels
        upright = over_white(upright).convert("L" if upright.mode in GREY_MODES else "RGB")
    return np.asarray(upright)


def stamps(root: str, paths: Sequence[Path]) -> list[tuple[str, int, int, int]]:
    """Returns the path below ``root``, the size and the times of each file; the last one no program can set back."""
    stats = [path.stat() if path.exists() else path.lstat() for path in paths]
    return [
        (os.path.relpath(path, root), s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for path, s in zip(paths, stats, strict=True)
    ]


@cache
def _known_formats() -> list[str]:
    """Returns all formats but those that are programs, which Pillow has Ghostscript or Windows run."""
    Image.init()
    return [name for name in Image.ID if name not in ("EPS", "WMF")]
