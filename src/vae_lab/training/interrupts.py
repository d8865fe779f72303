"""Signals as wishes: training sees them between steps, saves and leaves; a second one ends it at once.

They are SIGINT, SIGTERM and SIGUSR1: scripts for SLURM often ask for the last, and Lightning would answer it with a
checkpoint of its own. SIGUSR2 is one where somebody listens to it already: submitit, which queues a job again before
its time on a cluster is up. It is handed on to its listener once the run is saved.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, *filter(None, [getattr(signal, "SIGUSR1", None)]))  # Windows has no third

QUEUE_SIGNAL = getattr(signal, "SIGUSR2", None)  # Windows has none

_received: int | None = None
_queue: Callable[[int, FrameType | None], Any] | None = None


def listen() -> None:
    """From now on the signals are noted, and `received` tells them. Only the main thread can."""
    global _queue  # noqa: PLW0603
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _note)
        listener = signal.getsignal(QUEUE_SIGNAL) if QUEUE_SIGNAL else None
        if QUEUE_SIGNAL and callable(listener) and listener is not _note:
            _queue = listener
            signal.signal(QUEUE_SIGNAL, _note)


def received() -> int | None:
    """The signal that has come, if one has."""
    return _received


def forget() -> None:
    """Python's own way again, as if nothing had come."""
    global _received, _queue  # noqa: PLW0603  (signals are the process's)
    _received = None
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if QUEUE_SIGNAL and _queue:
            signal.signal(QUEUE_SIGNAL, _queue)
        _queue = None


def leave(number: int) -> NoReturn:
    """Ends the process for a signal that was noted, through its own listener if it has one.

    Raises:
        SystemExit: with the exit code of the signal, as shells have it; the listener may raise something else.
    """
    forget()
    if number == QUEUE_SIGNAL:
        signal.raise_signal(number)
    raise SystemExit(128 + number)


def _note(number: int, frame: FrameType | None) -> None:
    global _received  # noqa: PLW0603
    if _received is not None:
        raise SystemExit(128 + number)
    _received = number
