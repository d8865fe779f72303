"""Where an evaluation is filed: evaluation.json is that of the run's own test set, all others have their own names."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from vae_lab.loading import SavedRun, find_run
from vae_lab.untrusted import read_json

OWN = "evaluation.json"
"""The evaluation that reports read: the run's own weights on its own, whole test set."""
MAX_NAME = 40


def evaluation_path(run: SavedRun, data_root: str | None, split: str, num_examples: int, total: int) -> Path:
    """Returns the file of an evaluation by what was evaluated; a new one of the same replaces the old.

    Args:
        run: the run, with the checkpoint that was evaluated.
        data_root: folder of other data; None for the data that the run was trained on.
        split: split of the data.
        num_examples: examples that were evaluated; a part of the split has a name of its own, as have fewer examples
            than those of the file that is there.
        total: examples in the split.
    """
    parts = ["evaluation"]
    if not is_own_data(run, data_root):
        parts.append(_folder_name(str(data_root)))
    if split != "test":
        parts.append(split)
    if run.checkpoint.resolve() != find_run(run.folder).checkpoint.resolve():
        parts.append(_safe(run.checkpoint.stem))
    path = run.folder / f"{'_'.join(parts)}.json"
    if num_examples < max(total, _examples_in(path)):
        return path.with_stem(f"{path.stem}_{num_examples}_examples")
    return path


def is_own_data(run: SavedRun, data_root: str | None) -> bool:
    """True if the folder is the one that the run was trained on."""
    own = run.config["data"].get("root")
    return data_root is None or (isinstance(own, str) and _resolved(data_root) == _resolved(own))


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
