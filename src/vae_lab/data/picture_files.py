"""Picture files: opened without running a program, and recognised by their sizes and times."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image


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
