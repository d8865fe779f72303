"""SIGINT and SIGTERM as wishes: training sees them between steps, saves and leaves; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_received: int | None = None


def listen() -> None:
    """From now on SIGINT and SIGTERM are noted, and `received` tells them. Only the main thread can."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _note)


def received() -> int | None:
    """The signal that has come, if one has."""
    return _received


def forget() -> None:
    """Python's own way again, as if nothing had come."""
    global _received  # noqa: PLW0603  (signals are the process's)
    _received = None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _note(number: int, frame: FrameType | None) -> None:
    global _received  # noqa: PLW0603
    if _received is not None:
        raise SystemExit(128 + number)
    _received = number
