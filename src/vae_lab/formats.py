"""The format of checkpoints: its number, and the migration of older ones.

The only place that knows what older checkpoints lack. A change of what a checkpoint holds raises `FORMAT`, adds to
`migrated` the value that older ones imply, and keeps a small run of the old format in ``tests/saved_runs``.
"""

from __future__ import annotations

from typing import Any

from vae_lab.errors import RunError

FORMAT = 1
"""Of the checkpoints that this version writes. Those of format 0 carry no number."""

DEFAULTS: dict[str, Any] = {
    "callbacks": {},
    "curves": None,
    "lr_schedulers": [],
    "optimizer": None,
    "planned_steps": None,
    "schedule_steps": None,
}
"""Values of the parts that a checkpoint of format 0 may lack."""

PROGRESS_DEFAULTS: dict[str, Any] = {"batch_size": None, "monitored": {}, "should_stop": False, "skipped": (0, 0)}
"""The same for its ``progress``."""


def migrated(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns a checkpoint of any known format as one of today's.

    Args:
        checkpoint: the dictionary that a checkpoint file holds.

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
    checkpoint = {**DEFAULTS, **checkpoint, "format": FORMAT}
    if isinstance(checkpoint.get("progress"), dict):
        progress = {**PROGRESS_DEFAULTS, **checkpoint["progress"]}
        checkpoint["progress"] = {"logged_step": progress.get("step"), **progress}
    return checkpoint
