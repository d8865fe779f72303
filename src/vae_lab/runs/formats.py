"""The format of checkpoints: its number, and the migration of older ones.

The only place that knows what older checkpoints lack. A change of what a checkpoint holds raises `FORMAT`, adds to
`migrated` the value that older ones imply, and keeps a small run of the old format in ``tests/saved_runs``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vae_lab.errors import RunError
from vae_lab.nested import value_at

_MISSING = object()
FORMAT = 1
"""Format of the checkpoints that this version writes. Those of format 0 carry no number."""

_DEFAULTS: dict[str, Any] = {
    "callbacks": {},
    "curves": None,
    "loops": None,
    "lr_schedulers": [],
    "optimizer": None,
    "planned_steps": None,
    "schedule_steps": None,
}
"""Values of the parts that a checkpoint of format 0 may lack."""

_PROGRESS_DEFAULTS: dict[str, Any] = {"batch_size": None, "monitored": {}, "should_stop": False, "skipped": (0, 0)}
"""Values of the parts that its ``progress`` may lack."""


_NUMBER = (int, float, type(None))
RESUMED: dict[str, tuple[type, ...]] = {
    "callbacks": (dict,),
    "curves": (dict, type(None)),
    "epoch": (int,),
    "global_step": (int,),
    "loops": (type(None),),  # Lightning's own are not used
    "lr_schedulers": (list,),
    "optimizer": (str, type(None)),
    "optimizer_states": (list,),
    "planned_steps": _NUMBER,
    "pytorch-lightning_version": (str,),
    "schedule_steps": _NUMBER,
    "state_dict": (Mapping,),
    "progress.batch": (int,),
    "progress.batch_size": (int, type(None)),
    "progress.batches": (int,),
    "progress.epoch": (int,),
    "progress.logged_step": (int,),
    "progress.monitored": (dict,),
    "progress.ranks": (list,),
    "progress.should_stop": (bool,),
    "progress.skipped": (list, tuple),
    "progress.step": (int,),
}
"""Parts of a checkpoint from which a run goes on, and their types; a dot leads into one."""


def check_resumable(checkpoint: Mapping[str, Any]) -> None:
    """Raises ValueError naming the first part that a migrated checkpoint lacks, or that is of another type."""
    for name, types in RESUMED.items():
        part = value_at(checkpoint, name, _MISSING)
        if part is _MISSING:
            raise ValueError(f"it lacks {name}")
        if not isinstance(part, types):
            raise ValueError(f"{name} is a {type(part).__name__}")
    if not re.match(r"\d+\.\d+", checkpoint["pytorch-lightning_version"]):
        raise ValueError(f"pytorch-lightning_version={checkpoint['pytorch-lightning_version']!r} is not a version")
    for name in ("callbacks", "progress.ranks", "optimizer_states"):
        parts = value_at(checkpoint, name)
        if not all(isinstance(part, dict) for part in (parts.values() if isinstance(parts, dict) else parts)):
            raise ValueError(f"{name} holds other things than dictionaries")
    if not all({"random", "train_bound"} <= rank.keys() for rank in checkpoint["progress"]["ranks"]):
        raise ValueError("progress.ranks lacks random states or sums")
    if not isinstance(checkpoint.get("ended_curves", {}), dict):  # of runs that ended within an epoch
        raise ValueError("ended_curves is not a dictionary")
    norms = checkpoint.get("gradient_norms")  # of runs with gradient_skip
    kinds = {"norms": Tensor, "seen": int, "skipped": Tensor}
    if norms is not None and not (
        isinstance(norms, dict) and all(isinstance(norms.get(name), kind) for name, kind in kinds.items())
    ):
        raise ValueError("gradient_norms lacks norms or counts")
    for state in checkpoint["optimizer_states"]:
        if not {"state", "param_groups"} <= state.keys():
            raise ValueError("optimizer_states lacks its state or options")


def migrated(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns a checkpoint of any known format as one of today's.

    Raises:
        RunError: for the format of a newer version.
        ValueError: for a format that is not a number.
    """
    found = checkpoint.get("format", 0)
    if type(found) is not int or found < 0:
        raise ValueError(f"format={found!r} is not a format number")
    if found > FORMAT:
        raise RunError(f"format={found}: newer than format {FORMAT} of this version; update vae_lab to read it")
    if found == FORMAT:
        return checkpoint
    checkpoint = {**_DEFAULTS, **checkpoint, "format": FORMAT}
    if isinstance(checkpoint.get("progress"), dict):
        progress = {**_PROGRESS_DEFAULTS, **checkpoint["progress"]}
        checkpoint["progress"] = {"logged_step": progress.get("step"), **progress}
    return checkpoint
