"""The files and folders below a folder, without hidden ones and what archives and storage servers leave behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

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
