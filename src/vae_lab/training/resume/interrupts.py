"""Graceful shutdown: handlers record the signal; training checks it between steps, saves a checkpoint and exits.

A second signal exits at once. The signals are SIGINT, SIGTERM and SIGUSR1: scripts for SLURM often send the last, for
which Lightning would write a checkpoint of its own. SIGUSR2 is one of them if it has a handler already: that of
submitit, which queues a job again before its time on a cluster is up. That handler is called once the run is saved.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, *filter(None, [getattr(signal, "SIGUSR1", None)]))  # Windows has no third

_QUEUE_SIGNAL = getattr(signal, "SIGUSR2", None)  # Windows has none

_received: int | None = None
_queue_handler: Callable[[int, FrameType | None], Any] | None = None


def listen() -> None:
    """Installs the handlers that record a signal for `received`; only in the main thread."""
    global _queue_handler  # noqa: PLW0603
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _record)
        handler = signal.getsignal(_QUEUE_SIGNAL) if _QUEUE_SIGNAL else None
        if _QUEUE_SIGNAL and callable(handler) and handler is not _record:
            _queue_handler = handler
            signal.signal(_QUEUE_SIGNAL, _record)


def received() -> int | None:
    """Returns the signal that was received, if any."""
    return _received


def restore_handlers() -> None:
    """Restores the handlers of Python and drops a recorded signal."""
    global _received, _queue_handler  # noqa: PLW0603  (signals are the process's)
    _received = None
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if _QUEUE_SIGNAL and _queue_handler:
            signal.signal(_QUEUE_SIGNAL, _queue_handler)
        _queue_handler = None


def exit_for_signal(number: int) -> NoReturn:
    """Ends the process for a recorded signal, through its own handler if it has one.

    Raises:
        SystemExit: with the exit code of the signal, as in shells; the handler may raise something else.
    """
    restore_handlers()
    if number == _QUEUE_SIGNAL:
        signal.raise_signal(number)
    raise SystemExit(128 + number)


def _record(number: int, frame: FrameType | None) -> None:
    global _received  # noqa: PLW0603
    if _received is not None:
        raise SystemExit(128 + number)
    _received = number
