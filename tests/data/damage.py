"""Bytes as bad disks, broken transfers and bad intentions leave them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

QUICK = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(QUICK, max_examples=250)


def damage(data: st.DataObject, content: bytes) -> bytes:
    """The bytes after one to three accidents, half of them in the header."""
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3), "accidents")):
        kind = data.draw(st.sampled_from(("flip", "overwrite", "zero", "insert", "duplicate", "remove", "cut")))
        last = len(damaged)
        start = data.draw(st.integers(0, min(last, 64)) | st.integers(0, last), "place")
        end = min(last, start + data.draw(st.integers(1, 8) | st.integers(1, 1 + last), "length"))
        if kind == "flip" and start < last:
            damaged[start] ^= 1 << data.draw(st.integers(0, 7), "bit")
        elif kind == "overwrite":
            new = data.draw(st.binary(min_size=1, max_size=8), "bytes")
            damaged[start : start + len(new)] = new
        elif kind == "zero":
            damaged[start:end] = bytes(end - start)
        elif kind == "insert":
            damaged[start:start] = data.draw(st.binary(min_size=1, max_size=8), "bytes")
        elif kind == "duplicate":
            damaged[start:start] = damaged[start:end]
        elif kind == "remove":
            del damaged[start:end]
        elif kind == "cut":
            del damaged[start:]
    return bytes(damaged)
