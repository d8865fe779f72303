"""The digits for hundreds of runs in one process: they are binarized, and their digest is taken, only once."""

from __future__ import annotations

from typing import Any

from vae_lab.data import split_rows
from vae_lab.data.arrays import Arrays, Examples, Indices
from vae_lab.data.sets.mnist import _embedded_split

BINARIZED, FINGERPRINT = split_rows.binarized, split_rows.fingerprint
samples: dict[tuple[Any, ...], Examples] = {}
digests: dict[tuple[Any, ...], str] = {}


def remember() -> None:
    """Lets runs remember what depends on the digits alone, which is half of the time of a short one."""
    split_rows.binarized = binarized
    split_rows.fingerprint = fingerprint


def place(x: Examples) -> int | None:
    """Returns a number for the arrays of the digits and their samples, which live as long as this process."""
    split = {60_000: "train", 10_000: "t10k"}.get(len(x))
    if split and x.shape[1:] == (1, 28, 28) and x is _embedded_split(split).x:
        return -len(x)
    return next((number for number, each in enumerate(samples.values()) if each is x), None)


def binarized(x: Examples, rows: Indices, seed: int, memory_limit_gb: float) -> Examples:
    """Returns a sample of the digits, the same one each time."""
    number = place(x)
    if number is None:
        return BINARIZED(x, rows, seed, memory_limit_gb)
    key = (number, rows.tobytes(), seed, memory_limit_gb)
    if key not in samples:
        samples[key] = BINARIZED(x, rows, seed, memory_limit_gb)
    return samples[key]


def fingerprint(arrays: Arrays, rows: Indices) -> str:
    """Returns the digest of some digits; of other examples it is always computed."""
    number = place(arrays.x)
    if number is None:
        return FINGERPRINT(arrays, rows)
    key = (number, rows.tobytes())
    if key not in digests:
        digests[key] = FINGERPRINT(arrays, rows)
    return digests[key]
