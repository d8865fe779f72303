"""python -m benchmarks.growth: a set larger than the memory it may use, trained from a memory map and from memory.

Writes 3.2 GB of noise to a temporary folder, takes steps on it from the map and from memory in turn, then runs the
program on each in a process of its own, for the peak of its resident memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIDE, CHANNELS = 64, 3
NETWORK = ("network.widths=[128]", "likelihood=gaussian", "callbacks=none", "logger=none", "compile=false")


def write_set(folder: Path, num: int) -> None:
    """``num`` random pictures as train_images.npy, and a few for the test."""
    rng = np.random.default_rng(0)
    shape = (num, CHANNELS, SIDE, SIDE)
    images = np.lib.format.open_memmap(folder / "train_images.npy", "w+", np.uint8, shape)
    for start in range(0, num, 4096):
        part = images[start : start + 4096]
        part[:] = rng.integers(0, 256, part.shape, np.uint8)
    images.flush()
    np.save(folder / "test_images.npy", rng.integers(0, 256, (512, *shape[1:]), np.uint8))


def train(root: str, limit_gb: float, epochs: int, batches: int) -> None:
    """One run in this process; prints its epochs' seconds and its peak memory in GB as JSON."""
    from benchmarks import program  # noqa: PLC0415

    words = (f"data.root={root}", f"data.memory_limit_gb={limit_gb}", f"trainer.limit_train_batches={batches}")
    seconds = program.epochs("data=array", "data.val_size=500", f"trainer.max_epochs={epochs}", *words, *NETWORK)
    status = Path("/proc/self/status").read_text().split()  # getrusage would count what the parent held at the fork
    peak = int(status[status.index("VmHWM:") + 1]) / 1e6
    print(json.dumps({"seconds": seconds, "peak": peak}))


def measured(root: str, limit_gb: float, epochs: int, batches: int) -> dict[str, Any]:
    """The same in a process of its own."""
    words = ["--root", root, "--limit", str(limit_gb), "--epochs", str(epochs), "--batches", str(batches)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", *words], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def steps_beside(root: str, turns: int = 40, steps: int = 10) -> list[tuple[float, float]]:
    """Seconds of some steps with batches from the map and from memory, in turn, of one model in this process."""
    from benchmarks import program  # noqa: PLC0415

    batches, module = [], None
    for limit in LIMITS:
        words = ("data=array", "data.val_size=500", f"data.root={root}", f"data.memory_limit_gb={limit}", *NETWORK)
        run = program.composed(*words)
        module = module or run.module
        batches.append(iter(run.data.train_dataloader()))
    optimizer = torch.optim.Adam(module.model.parameters(), lr=1e-3, fused=True)
    pairs = []
    for _ in range(turns):
        seconds = []
        for source in batches:
            start = time.perf_counter()
            for batch in islice(source, steps):
                x = run.data.transform(batch, training=True).x
                module.training_loss(x, None, module.objective.scheduled(0)).loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            seconds.append(time.perf_counter() - start)
        pairs.append((seconds[0], seconds[1]))
    return pairs[2:]


def row(num: int = 260_000) -> tuple[str, ...]:
    """Returns milliseconds per step from the map and from memory, the ratio of speeds, and both peaks of memory."""
    with tempfile.TemporaryDirectory() as root:
        write_set(Path(root), num)
        pairs = steps_beside(root)
        peaks = [measured(root, limit, epochs=2, batches=150)["peak"] for limit in LIMITS]
    low, middle, high = statistics.quantiles([memory / mapped for mapped, memory in pairs], n=4)
    shown = [f"{statistics.median(column) * 100:.1f}" for column in zip(*pairs, strict=True)]
    gigabytes = num * CHANNELS * SIDE * SIDE / 1e9
    resident = (f"{peak:.2f} GB" for peak in peaks)
    return (f"{gigabytes:.1f} GB", *shown, f"{middle:.2f} ({low:.2f} to {high:.2f})", *resident)


LIMITS = (0.5, 100.0)
"""data.memory_limit_gb below and above the size of the set."""
HEADER = ("set", "mapped, ms per step", "in memory, ms per step", "ratio of speeds", "peak resident, mapped", "in RAM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root")
    parser.add_argument("--limit", type=float)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batches", type=int, default=300)
    options = parser.parse_args()
    if options.root:
        train(options.root, options.limit, options.epochs, options.batches)
    else:
        print(dict(zip(HEADER, row(), strict=True)))


if __name__ == "__main__":
    main()
