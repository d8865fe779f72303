"""Provenance of a number: the machine, the versions of the packages, and the state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("vae-lab", "torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy", "scikit-learn")


def provenance() -> dict[str, Any]:
    """Returns what one needs to get a number again."""
    return {
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            **_of_torch(),
        },
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "git": git_state(),
    }


def git_state() -> dict[str, Any] | None:
    """Returns the commit of the lab's code and whether it was changed since.

    Of an installed lab, which lies in no repository, those of the working folder; None outside a repository.
    """
    own = Path(__file__)
    folder = own.parent if _git(own.parent, "ls-files", "--error-unmatch", own.name) else Path()
    commit = _git(folder, "rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain"))}


def _of_torch() -> dict[str, Any]:
    import torch  # noqa: PLC0415  (a job that fails before it begins does not need it)

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"gpu": gpu, "threads": torch.get_num_threads()}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(("git", *words), cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
