"""A sweep's folder: the names of what lies in one beside the runs, and the record of a search."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from vae_lab.files import write_text
from vae_lab.runs.folder import save_json
from vae_lab.runs.untrusted import read_json

MULTIRUN = "multirun.yaml"
"""Hydra's config of the sweep, by which its folder is known."""
_RECORD = "search.json"
_NAME = "sweep_name.txt"
DATABASE = "optuna.db"
"""Storage in the folder of the sweep, if the user names none."""


def is_sweep(folder: Path) -> bool:
    """True if a folder holds a sweep."""
    return (folder / MULTIRUN).is_file()


def save_search(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes search.json: the study, its metric, how many trials ended how, and the best one."""
    save_json(folder / _RECORD, record)


def sweep_name(folder: Path) -> str:
    """Returns the name by which a study knows a sweep, which moves with its folder; a new sweep is given one."""
    path = folder / _NAME
    if not path.is_file():
        write_text(path, uuid4().hex + "\n")
    return path.read_text().strip()


def search_lines(folder: Path) -> list[str]:
    """Returns the best trial and how to see all of them, in a few lines; none if nothing was searched."""
    try:
        record = read_json(folder / _RECORD)
        own = (folder / DATABASE).absolute()  # which has moved with the sweep
        storage = f"sqlite:///{own}" if own.is_file() else record["storage"]
        return [*_best(record), f"look at them: optuna-dashboard {shlex.quote(storage)}"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _best(record: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{number} {state}" for state, number in record["trials"].items())
    lines = [f"study {record['study']}: {counts}"]
    if best := record["best"]:
        words = shlex.join(best["overrides"])
        lines.append(f"best trial {best['number']}: {record['metric']} {best['value']:.3f} with {words}")
    return lines
