"""python -m benchmarks.speed: the whole program beside bare PyTorch loops, a peer and the machine's own rates.

What is compared runs in this process, in turn (A B A B ...), the first epoch of each not counted. Beside the bare loop
the turns are as short as a pass of some 20 steps. With --write the tables go into docs/performance.md. Ten minutes on
two cores.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmarks import bare, evaluation, growth, loops, peers, program, startup
from benchmarks.tables import Section, print_sections, quartiles, shown, shown_quartiles, write_sections
from vae_lab.runs.provenance import git_state
from vae_lab.training import prepare_process

GREY = ("data.binarization=none", "data.val_size=0")
MLP = ("latent_dim=2", "network.widths=[256]")
TWO_LEVELS = ("model=mhvae", "model.latent_dims=[64,10]", "warmup=none")


class Training(NamedTuple):
    """A network that both programs train: its name, overrides, bare network, batch size and batches an epoch."""

    name: str
    overrides: tuple[str, ...]
    network: str
    batch_size: int
    batches: int


TRAININGS = (
    Training("784-256-2", MLP, "mlp", 128, 469),
    Training("784-256-2", MLP, "mlp", 512, 117),
    Training("MHVAE, 2 levels", TWO_LEVELS, "mhvae", 128, 200),
    Training("residual conv", ("network=conv",), "conv", 128, 50),
)
SIX_LEVELS = Training("deep, 6 levels", bare.DEEP, "deep", 64, 40)


def in_turn(programs: dict[str, Callable[[], list[float]]], rounds: int, images: int) -> dict[str, list[float]]:
    """Returns images per second of each program, one entry per counted epoch."""
    speeds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, run in programs.items():
            speeds[name] += [images / seconds for seconds in run()[1:]]
    return speeds


def paired(training: Training, images: Tensor, epochs: int, compile: str) -> tuple[list[tuple[float, ...]], float]:
    """Returns seconds per step of vae_lab and of the bare loop right after, and those that compiling took."""
    callback = program.Paired(loops.eager(bare.NETWORKS[training.network](), images, training.batch_size))
    words = (*training_words(training), f"compile={compile}", f"trainer.max_epochs={epochs}")
    return callback.seconds, program.run(callback, *words)


def training_words(training: Training) -> tuple[str, ...]:
    """Returns the overrides of a training, apart from the number of epochs."""
    sizes = (f"data.batch_size={training.batch_size}", f"trainer.limit_train_batches={training.batches}")
    return (*GREY, *training.overrides, *sizes)


def training_images() -> Tensor:
    """Returns the bytes of the training set, (60000, 1, 28, 28)."""
    data = program.composed(*GREY).data
    return torch.from_numpy(data.split("train").arrays.x.copy())


def training_section(images: Tensor, rounds: int, epochs: int) -> Section:
    rows = []
    for training in TRAININGS:
        found: dict[str, list[tuple[float, ...]]] = {"true": [], "false": []}
        compiling = 0.0
        for _ in range(rounds):
            for compile, pairs in found.items():
                seconds, spent = paired(training, images, epochs, compile)
                pairs.extend(seconds)
                compiling = max(compiling, spent)
        lab, loop = ([training.batch_size / step for step in steps] for steps in zip(*found["true"], strict=True))
        name = f"{training.name}, batch {training.batch_size}"
        rows.append((name, shown(loop), shown(lab), ratio(found["true"]), f"{compiling:.0f} s", ratio(found["false"])))
    header = ("network", "bare loop, images/s", "vae_lab, images/s", "ratio", "compiling", "ratio with compile=false")
    return Section("Training beside a bare loop", header, rows)


def ratio(pairs: Sequence[tuple[float, ...]]) -> str:
    """Returns the median speed of vae_lab relative to the bare steps beside it, with its quartiles."""
    return shown_quartiles(*quartiles([loop / lab for lab, loop in pairs]))


def peer_section(images: Tensor, rounds: int, epochs: int) -> Section:
    network = bare.NETWORKS["mlp"]
    words = (*GREY, *MLP, f"trainer.max_epochs={epochs}", "compile=true")
    programs = {
        "vae_lab": lambda: program.epochs(*words),
        "DataLoader with ToTensor": lambda: bare.epochs(network(), bare.with_transforms(images, 128), epochs),
    }
    if peers.installed():
        programs["pythae 0.1.2"] = lambda: peers.pythae_epochs(images, 128, epochs)
    speeds = in_turn(programs, rounds, len(images))
    rows = [(name, shown(found), advantage(speeds["vae_lab"], found, rounds)) for name, found in speeds.items()]
    if not peers.installed():
        rows.append(("pythae 0.1.2", "not measured: pip install pythae==0.1.2", ""))
    return Section(
        "784-256-2 at batch 128 beside other programs", ("program", "images/s", "vae_lab is faster by"), rows
    )


def advantage(ours: Sequence[float], theirs: Sequence[float], rounds: int) -> str:
    """Returns the ratio of speeds, the median over the rounds: within one the machine changes least."""
    num = len(ours) // rounds  # epochs of a round
    parts = [slice(first, first + num) for first in range(0, len(ours), num)]
    of_round = [statistics.median(ours[part]) / statistics.median(theirs[part]) for part in parts]
    return f"{statistics.median(of_round):.2f} ({min(of_round):.2f} to {max(of_round):.2f})"


def evaluation_section() -> Section:
    rows = []
    for name, words in (("784-256-2, ReLU", MLP), ("784-200-200-50, tanh", DEEP)):
        found = [evaluation.measure(*words) for _ in range(3)]
        rate, matrix, examples = (statistics.median(column) for column in zip(*found, strict=True))
        row = (name, f"{rate / 1e9:.0f}", f"{matrix / 1e9:.0f}", f"{rate / matrix:.2f}", f"{examples:.0f}")
        rows.append(row)
    header = ("network", "evaluation, GFLOP/s", "matrix product, GFLOP/s", "ratio", "images/s")
    return Section("Importance-sampled evaluation, 5000 samples per image", header, rows)


DEEP = ("latent_dim=50", "network.widths=[200,200]", "network.activation=tanh")


def startup_section(rounds: int) -> Section:
    seconds: dict[str, list[float]] = {name: [] for name in startup.COMMANDS}
    for _ in range(rounds + 1):
        for name, words in startup.COMMANDS.items():
            seconds[name].append(startup.seconds(words))
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    base = next(iter(medians.values()))
    rows = [(name, f"{median:.1f}", f"{median / base:.2f}") for name, median in medians.items()]
    return Section("Start-up", ("command", "seconds", "ratio to the imports"), rows)


def machine() -> str:
    git = git_state() or {"commit": "unknown"}
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads; Python {platform.python_version()}, torch "
        f"{torch.__version__}, Lightning {pl.__version__}; commit {git['commit'][:12]}. GPU: "
        + (torch.cuda.get_device_name() if torch.cuda.is_available() else "not measured.")
    )


def main() -> None:
    """Measures, prints tables and, where asked, writes docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", nargs="*", help="training, peers, evaluation, startup, growth")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    prepare_process(0)
    images = training_images()
    measurements: dict[str, Callable[[], Section]] = {
        "training": lambda: training_section(images, options.rounds, options.epochs),
        "peers": lambda: peer_section(images, options.rounds, options.epochs),
        "evaluation": evaluation_section,
        "startup": lambda: startup_section(options.rounds),
        "growth": lambda: Section("A set that stays on disk", growth.HEADER, [growth.row()]),
    }
    for name, measure in measurements.items():
        if name in (options.only or measurements):
            section = measure()
            print_sections([section])
            if options.write:
                write_sections("benchmarks.speed", [section], machine())


if __name__ == "__main__":
    main()
