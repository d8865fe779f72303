"""Where and how large a part of `python -m benchmarks.gpu` runs, and what a part is."""

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
        """The size to use."""
        return tiny if self.tiny else full

    def trainer(self, precision: str = "32-true") -> tuple[str, ...]:
        """Overrides that choose the device and the precision, without progress bar."""
        choice = "gpu" if self.on_gpu else "cpu"
        return (f"trainer={choice}", f"trainer.precision={precision}", "trainer.enable_progress_bar=false")


class Part(NamedTuple):
    """One part of the benchmark.

    Attributes:
        name: as --only and the JSON name it.
        group: correctness, speed or rows.
        seconds: about what it takes on a GPU; it is skipped where less is left.
        run: returns plain data for the JSON; a key ``holds`` says whether what had to hold does.
    """

    name: str
    group: str
    seconds: float
    run: Callable[[Bench], dict[str, Any]]


NOT_APPLICABLE = {"not_applicable": "needs a CUDA device"}
"""What a part returns that means nothing on a CPU."""
