"""Compares a run with its repetition: weights to the last bit, metrics, and what differs between the two machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_lab.nested import leaves
from vae_lab.runs.checkpoints import model_weights, read_checkpoint
from vae_lab.runs.folder import CHECKPOINTS, LAST, METRICS
from vae_lab.runs.untrusted import read_json

_CIRCUMSTANCES = ("versions", "machine", "git")


class Reproduction(NamedTuple):
    """Differences between a run and its repetition.

    Attributes:
        metrics: value recorded and value found again, by metric; in nats per example.
        tensors: number of tensors of the last weights.
        different: number of tensors of which any number differs.
        largest: largest difference between two weights; infinite for other shapes.
        data: splits whose data differ, by their digests.
        circumstances: what differs between the two, such as ``versions.torch was 2.6.0, is 2.11.0``.
    """

    metrics: dict[str, tuple[float, float]]
    tensors: int
    different: int
    largest: float
    data: list[str]
    circumstances: list[str]

    @property
    def equal(self) -> bool:
        """True if weights and metrics are the same to the last bit."""
        return not self.different and all(was == now for was, now in self.metrics.values())


def compared(run: Path, again: Path) -> Reproduction:
    """Returns the differences between two finished runs.

    Raises:
        OSError, ValueError, RunError: for a record or a checkpoint that is missing or broken.
    """
    before, now = read_json(run / METRICS), read_json(again / METRICS)
    weights, found = _weights(run), _weights(again)
    names = weights.keys() | found.keys()
    gaps = [_gap(weights.get(name), found.get(name)) for name in names]
    prints, others = before.get("fingerprints") or {}, now.get("fingerprints") or {}
    return Reproduction(
        {name: (value, now["metrics"].get(name, float("nan"))) for name, value in before["metrics"].items()},
        len(names),
        sum(gap > 0 for gap in gaps),
        max(gaps, default=0.0),
        [split for split in prints if prints[split] != others.get(split)],
        _changes({key: before.get(key) for key in _CIRCUMSTANCES}, {key: now.get(key) for key in _CIRCUMSTANCES}),
    )


def _weights(run: Path) -> Mapping[str, Tensor]:
    path = run / CHECKPOINTS / LAST
    return model_weights(read_checkpoint(path), path, "raw")


def _gap(one: Tensor | None, other: Tensor | None) -> float:
    """Returns the largest difference between two tensors, 0 only if all bits are the same."""
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return float("inf")
    if torch.equal(one, other):
        return 0.0
    gap = float((one.double() - other.double()).abs().max())
    return gap if gap > 0 else float("inf")  # NaN


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns what differs; a value that the older record lacks is not known to differ."""
    old, new = dict(leaves(before)), dict(leaves(now))
    keys = sorted(key for key in old.keys() & new.keys() if old[key] != new[key])
    return [f"{key} was {old[key]}, is {new[key]}" for key in keys]
