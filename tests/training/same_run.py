"""Compares two runs: the files that they leave must be the same to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def state_of(run: Path) -> dict[str, Any]:
    """All that the last checkpoint holds, but for the time it took and where it lies."""
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del state["curves"], state["callbacks"]["LastCheckpoint"]
    state.pop("ended_curves", None)  # of a run that ended within an epoch
    return plain(state, str(run))


def plain(value: Any, run: str) -> Any:
    """With tensors as lists and the run's own path taken out, so that == compares to the last bit."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {plain(key, run): plain(child, run) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child, run) for child in value]
    return value.replace(run, "RUN") if isinstance(value, str) else value


def curves_of(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag != "train/examples_per_second"]  # of the machine
    # Sorted, as files begun in the same second come in any order.
    return {tag: sorted((event.step, event.value) for event in events.Scalars(tag)) for tag in tags}


def assert_same(run: Path, reference: Path) -> None:
    assert state_of(run) == state_of(reference)
    assert curves_of(run) == curves_of(reference)
