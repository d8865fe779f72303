"""python -m benchmarks.against COMMIT: the speed of training in this checkout, relative to an earlier commit's.

Each trains in a process of its own on the same cores, an epoch of each in turn (A B, B A, ...), for two separate runs
on a shared machine differ by more than most changes do. The figure is the median over the turns of the ratio of
processor seconds, with its quartiles; above 1 the checkout is faster. Three minutes a model on two quiet cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.tables import Section, print_sections, quartiles, shown_quartiles

HERE = Path(__file__).parents[1]
MODELS = {
    "vae": ("model=vae",),
    "cvae": ("model=cvae",),
    "mhvae": ("model=mhvae", "network=mlp", "model.latent_dims=[64,10]", "warmup=none"),
    "ladder": ("model=ladder", "network=mlp", "model.latent_dims=[64,32,10]", "warmup=none"),
    "conv": ("network=conv",),
}
STEPS = 60
"""Steps of a turn."""


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Gives a folder with the files of a commit."""
    git = ["git", "-C", str(HERE)]
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run([*git, "archive", commit], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive)
        yield Path(folder)


def start(tree: Path, rounds: int, words: tuple[str, ...]) -> subprocess.Popen[str]:
    """Starts a training with the code of a folder; it waits for its first turn."""
    settings = ("data.val_size=0", "data.batch_size=128", "compile=false", "trainer.enable_progress_bar=false")
    lengths = (f"trainer.limit_train_batches={STEPS}", f"trainer.max_epochs={rounds + WARM_UP}")
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", HERE / "benchmarks" / "turns.py", *settings, *lengths, *words],
        env=os.environ | {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}"},
        cwd=tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


WARM_UP = 2
"""Turns at the beginning that are not counted."""


def turn(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Lets a training take an epoch; returns the seconds of the processor and of the clock that its steps took."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("turn:"):
            processor, clock = line.split()[1:]
            return float(processor), float(clock)
    raise RuntimeError(f"a training ended with exit code {process.wait()} before its last turn")


def ratios(earlier: Path, rounds: int, words: tuple[str, ...]) -> list[tuple[float, float]]:
    """Returns, for each turn, the seconds of an earlier tree divided by those of this checkout: processor, clock."""
    pair = [start(tree, rounds, words) for tree in (earlier, HERE)]
    try:
        found = [both(pair, first=number % 2) for number in range(WARM_UP + rounds)]
        return [(then[0] / now[0], then[1] / now[1]) for then, now in found[WARM_UP:]]
    finally:
        for process in pair:
            process.kill()
            process.communicate()


def both(pair: list[subprocess.Popen[str]], first: int) -> list[tuple[float, float]]:
    """Lets both trainings take a turn, the ``first`` before the other; returns their seconds in the pair's order."""
    if first:
        return [turn(process) for process in pair[::-1]][::-1]
    return [turn(process) for process in pair]


def main() -> None:
    """Measures each model in turn and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="the commit that is compared with")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    rows = []
    with checkout(options.commit) as earlier:
        for model in options.models:
            columns = zip(*ratios(earlier, options.rounds, MODELS[model]), strict=True)
            rows.append((model, *(shown_quartiles(*quartiles(list(column))) for column in columns)))
    header = ("model", "speed relative to it, processor time", "clock")
    print_sections([Section(f"A training step beside {options.commit}'s, {options.rounds} turns", header, rows)])


if __name__ == "__main__":
    main()
