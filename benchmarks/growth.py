"""python -m benchmarks.growth: a set larger than the memory it may use, trained from a memory map and from memory.

Writes 3.2 GB of noise to a temporary folder, takes steps on it from the map and from memory in turn, then runs the
program on each in a process of its own, for the peak of its resident memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from benchmarks import program
from benchmarks.tables import quartiles, shown_quartiles

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


def train(root: str, limit_gb: float) -> None:
    """One run in this process; prints its peak memory in GB."""
    words = (f"data.root={root}", f"data.memory_limit_gb={limit_gb}", "trainer.limit_train_batches=150")
    program.fitted("data=array", "data.val_size=500", "trainer.max_epochs=2", *words, *NETWORK)
    status = Path("/proc/self/status").read_text().split()  # getrusage would count what the parent held at the fork
    print(int(status[status.index("VmHWM:") + 1]) / 1e6)


def peak_memory(root: str, limit_gb: float) -> float:
    """The same in a process of its own."""
    words = ["--root", root, "--limit", str(limit_gb)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", *words], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def steps_beside(root: str) -> list[tuple[float, float]]:
    """Seconds of ten steps with batches from the map and from memory, in turn, of one model in this process."""
    batches, module = [], None
    for limit in LIMITS:
        words = ("data=array", "data.val_size=500", f"data.root={root}", f"data.memory_limit_gb={limit}", *NETWORK)
        run = program.composed(*words)
        module = module or run.module
        batches.append(iter(run.data.train_dataloader()))
    optimizer = torch.optim.Adam(module.model.parameters(), lr=1e-3, fused=True)
    pairs = []
    for _ in range(40):
        seconds = []
        for source in batches:
            start = time.perf_counter()
            for batch in islice(source, 10):
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
        peaks = [peak_memory(root, limit) for limit in LIMITS]
    ratio = shown_quartiles(*quartiles([memory / mapped for mapped, memory in pairs]))
    shown = [f"{statistics.median(column) * 100:.1f}" for column in zip(*pairs, strict=True)]
    gigabytes = num * CHANNELS * SIDE * SIDE / 1e9
    resident = (f"{peak:.2f} GB" for peak in peaks)
    return (f"{gigabytes:.1f} GB", *shown, ratio, *resident)


LIMITS = (0.5, 100.0)
"""data.memory_limit_gb below and above the size of the set."""
HEADER = ("set", "mapped, ms per step", "in memory, ms per step", "ratio of speeds", "peak resident, mapped", "in RAM")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root")
    parser.add_argument("--limit", type=float)
    options = parser.parse_args()
    if options.root:
        train(options.root, options.limit)
    else:
        print(dict(zip(HEADER, row(), strict=True)))


if __name__ == "__main__":
    main()
