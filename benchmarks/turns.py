"""One of the two processes of `benchmarks.against`: trains, and takes each epoch when it is told to."""

from __future__ import annotations

import resource
import sys
import time

import pytorch_lightning as pl

from benchmarks import program


class Turns(pl.Callback):
    """Waits for a line on standard input before each epoch; prints the seconds of its steps after it."""

    pass_safe = True

    def on_train_epoch_start(self, trainer: pl.Trainer, *args: object) -> None:
        sys.stdin.readline()
        self.started = _seconds()

    def on_train_epoch_end(self, *args: object) -> None:
        print(TURN, *(now - then for now, then in zip(_seconds(), self.started, strict=True)), flush=True)


TURN = "turn:"
"""The first word of a line with the seconds of an epoch."""


def _seconds() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


if __name__ == "__main__":
    program.run(Turns(), *sys.argv[1:])
