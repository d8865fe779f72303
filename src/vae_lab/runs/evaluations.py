"""Names of the files that commands write of a run; evaluation.json is that of its own test set."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_lab.files import resolved
from vae_lab.runs.data import is_own_data
from vae_lab.runs.loading import SavedRun, find_run
from vae_lab.runs.reading import record_of
from vae_lab.types import SplitName

if TYPE_CHECKING:
    from vae_lab.data import ImageDataModule

_MAX_NAME = 40


def evaluation_path(run: SavedRun, other_root: str | None, split: str, weights: str = "average") -> Path:
    """Returns the file of an evaluation of a whole split; arguments as of `name_ending`."""
    return run.folder / f"evaluation{name_ending(run, weights, other_root, '' if split == 'test' else split)}.json"


def name_ending(run: SavedRun, weights: str, other_root: str | None = None, split: str = "") -> str:
    """Returns the ending of a file's name that says which data and weights it is of, such as ``_last_raw_weights``.

    It is empty for the run's own data and weights.

    Args:
        weights: kind of weights, average or raw.
        other_root: folder of the data if they are not those of the run; else None.
        split: split of the data, if the name says it.
    """
    parts = [] if other_root is None else [_folder_name(other_root)]
    parts += [split] if split else []
    if run.checkpoint.resolve() != find_run(run.folder).checkpoint.resolve():
        parts.append(_safe(run.checkpoint.stem))
    parts += ["raw_weights"] if weights == "raw" else []
    return "".join(f"_{part}" for part in parts)


def other_root(run: SavedRun, data_root: str | None, data: ImageDataModule, split: SplitName) -> str | None:
    """Returns ``data_root`` if the data there are not those of the run, else None; arguments as `is_own_data`."""
    return None if data_root is None or is_own_data(run, data_root, data, split) else data_root


def beside_better(path: Path, result: Mapping[str, Any], total: int) -> Path:
    """Returns the path if the result may replace the one there; else another path, so that the better one stays.

    Args:
        result: result of `vae_lab.evaluation.evaluate`, its ``precision`` and the ``step`` of the weights. It
            does not replace one of the same step if it is of a part of the split, or of fewer examples or samples, in
            16 bits instead of more, or lacks the log p(x) that the other has.
    """
    before = record_of(path)
    if before.get("step") not in (None, result["step"]):
        return path
    less = []
    if result["num_examples"] < max(total, _count(before, "num_examples")):
        less.append(f"{result['num_examples']}_examples")
    if result["num_samples"] < _count(before, "num_samples"):
        less.append(f"{result['num_samples']}_samples")
    if "16" in result["precision"] and "16" not in str(before.get("precision", "16")):
        less.append(_safe(result["precision"]))
    if "nll_unconditional" in before.keys() - result.keys():
        less.append("given_labels")
    return path.with_stem("_".join([path.stem, *less]))


def _count(record: Mapping[str, Any], key: str) -> int:
    count = record.get(key)
    return count if isinstance(count, int) else 0


def _folder_name(root: str) -> str:
    """Returns the name of a folder and a digest of its whole path, since several folders may have one name."""
    folder = resolved(root)
    return f"{_safe(folder.name)}_{zlib.crc32(str(folder).encode('utf-8', 'surrogateescape')):08x}"


def _safe(name: str) -> str:
    return re.sub(r"\W", "_", name)[:_MAX_NAME]
