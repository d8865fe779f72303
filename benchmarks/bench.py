"""Parts of `python -m benchmarks.gpu`, and the device and sizes that they run with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch


@dataclass(frozen=True)
class Bench:
    """The device of a benchmark, and the time that is left.

    Attributes:
        device: the device that is measured: cuda or cpu.
        tiny: use sizes that a CPU finishes in seconds: they show that the code runs, and measure nothing.
        seconds_left: returns the seconds until the benchmark must end.
    """

    device: torch.device
    tiny: bool
    seconds_left: Callable[[], float]

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def pick(self, full: int, tiny: int) -> int:
        """Returns the size to use."""
        return tiny if self.tiny else full

    def trainer(self, precision: str = "32-true") -> tuple[str, ...]:
        """Returns overrides that choose the device and the precision, without progress bar."""
        choice = "gpu" if self.on_gpu else "cpu"
        return (f"trainer={choice}", f"trainer.precision={precision}", "trainer.enable_progress_bar=false")


class Part(NamedTuple):
    """One part of the benchmark.

    Attributes:
        name: name for --only and in the JSON.
        group: correctness, speed or rows.
        seconds: approximate duration on a GPU; the part is skipped if less time is left.
        run: function that returns plain data for the JSON; ``holds`` is True if its checks passed.
    """

    name: str
    group: str
    seconds: float
    run: Callable[[Bench], dict[str, Any]]


NOT_APPLICABLE = {"not_applicable": "needs a CUDA device"}
"""Result of a part that needs a GPU, on a CPU."""
