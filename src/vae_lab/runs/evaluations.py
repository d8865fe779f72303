"""Where an evaluation is filed: evaluation.json is that of the run's own test set, all others have their own names."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.runs.loading import SavedRun, find_run
from vae_lab.runs.untrusted import read_json
from vae_lab.types import SplitName

if TYPE_CHECKING:
    from vae_lab.data import ImageDataModule

OWN = "evaluation.json"
"""The evaluation that reports read: the run's own weights on its own, whole test set."""
MAX_NAME = 40


def evaluation_path(
    run: SavedRun, other_root: str | None, split: str, num_examples: int, total: int, weights: str = "average"
) -> Path:
    """Returns the file of an evaluation by what was evaluated; a new one of the same replaces the old.

    Args:
        run: the run, with the checkpoint that was evaluated.
        other_root: folder of the data, if they are not those of the run; else None.
        split: split of the data.
        num_examples: examples that were evaluated; a part of the split has a name of its own, as have fewer examples
            than those of the file that is there.
        total: examples in the split.
        weights: average or raw.
    """
    parts = ["evaluation"]
    if other_root is not None:
        parts.append(_folder_name(other_root))
    if split != "test":
        parts.append(split)
    if run.checkpoint.resolve() != find_run(run.folder).checkpoint.resolve():
        parts.append(_safe(run.checkpoint.stem))
    if weights == "raw":
        parts.append("raw_weights")
    path = run.folder / f"{'_'.join(parts)}.json"
    if num_examples < max(total, _examples_in(path)):
        return path.with_stem(f"{path.stem}_{num_examples}_examples")
    return path


def is_own_data(run: SavedRun, data_root: str | None, data: ImageDataModule, split: SplitName) -> bool:
    """True if a split holds what it held when the run ended; of older runs, if it lies where it lay.

    Args:
        run: the run.
        data_root: folder of the data that was asked for; None for the one in the run's config.
        data: the data.
        split: split of them.
    """
    recorded = _recorded(run).get(split)
    if recorded is not None:
        return bool(recorded == data.fingerprint(split))
    own = run.config["data"].get("root")
    return data_root is None or (isinstance(own, str) and _resolved(data_root) == _resolved(own))


def _recorded(run: SavedRun) -> Mapping[str, Any]:
    """Returns the fingerprints of the splits in metrics.json; none of them in runs that are older or unfinished."""
    try:
        found = read_json(run.folder / "metrics.json")["fingerprints"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _resolved(folder: str) -> Path:
    return Path(folder).expanduser().resolve()


def _folder_name(root: str) -> str:
    """Returns the name of a folder and a digest of its whole path, since several folders may have one name."""
    folder = _resolved(root)
    return f"{_safe(folder.name)}_{zlib.crc32(str(folder).encode('utf-8', 'surrogateescape')):08x}"


def _safe(name: str) -> str:
    return re.sub(r"\W", "_", name)[:MAX_NAME]


def _examples_in(path: Path) -> float:
    """Returns how many examples the evaluation in a file is of; 0 if there is none that can be read."""
    try:
        found = read_json(path)["num_examples"]
    except (OSError, ValueError, TypeError, KeyError):
        return 0
    return found if isinstance(found, int) else 0
