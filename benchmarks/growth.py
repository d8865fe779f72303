"""python -m benchmarks.growth: a set larger than the memory it may use, trained from a memory map and from memory.

Writes 3.2 GB of noise to a temporary folder, trains on it in processes of their own, in turn, and prints speed and peak
resident memory of each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

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


def measured(root: str, limit_gb: float, epochs: int, batches: int) -> dict[str, list[float] | float]:
    """The same in a process of its own."""
    words = ["--root", root, "--limit", str(limit_gb), "--epochs", str(epochs), "--batches", str(batches)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", *words], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def row(num: int = 260_000, rounds: int = 2, epochs: int = 3, batches: int = 300) -> tuple[str, ...]:
    """Images a second from the map and from memory, their ratio, and the peak resident memory of both."""
    speeds: dict[float, list[float]] = {0.5: [], 100.0: []}
    peaks: dict[float, float] = {}
    with tempfile.TemporaryDirectory() as root:
        write_set(Path(root), num)
        for _ in range(rounds):
            for limit, found in speeds.items():
                result = measured(root, limit, epochs, batches)
                found += [batches * 128 / seconds for seconds in result["seconds"][1:]]
                peaks[limit] = result["peak"]
    mapped, memory = (statistics.median(found) for found in speeds.values())
    gigabytes = num * CHANNELS * SIDE * SIDE / 1e9
    resident = (f"{peaks[limit]:.2f} GB" for limit in speeds)
    return (f"{gigabytes:.1f} GB", f"{mapped:,.0f}", f"{memory:,.0f}", f"{mapped / memory:.2f}", *resident)


HEADER = ("set", "mapped, images/s", "in memory, images/s", "ratio", "peak resident, mapped", "in memory")


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
        print(dict(zip(HEADER, row(epochs=options.epochs, batches=options.batches), strict=True)))


if __name__ == "__main__":
    main()
