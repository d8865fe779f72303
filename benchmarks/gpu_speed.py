"""Speed on a GPU, each figure beside a bare loop in the same process."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from benchmarks import bare, evaluation, loops, peers, program, speed
from benchmarks.bench import Bench, Part
from benchmarks.gpu_correctness import SMALL
from benchmarks.tables import quartiles

BATCHES, EPOCHS = 250, 3
"""Batches of an epoch, and epochs, of which the first is not counted."""


class Training(NamedTuple):
    """A network of `benchmarks.speed`, and how it is trained on a GPU.

    Attributes:
        training: the network, its overrides and its batch size.
        precision: precision of vae_lab and of the bare loops.
        compiled: train with compile=true, too, and compare with a compiled bare loop.
    """

    training: speed.Training
    precision: str = "32-true"
    compiled: bool = False


TRAININGS = {
    "mlp_128": Training(speed.TRAININGS[0], compiled=True),
    "mlp_512": Training(speed.TRAININGS[1]),
    "mhvae": Training(speed.TRAININGS[2], "bf16-mixed"),
    "conv": Training(speed.TRAININGS[3], "bf16-mixed", compiled=True),
    "deep": Training(speed.SIX_LEVELS, "bf16-mixed"),
}


def bare_loops(asked: Training, images: Tensor, tiny: bool) -> dict[str, loops.Steps]:
    """The loops to compare with; a CUDA graph and a compiled loop only where they are to be measured."""
    network, batch_size = bare.NETWORKS[asked.training.network], asked.training.batch_size
    bf16 = asked.precision == "bf16-mixed"
    found: dict[str, loops.Steps] = {"eager": loops.eager(network(), images, batch_size, bf16)}
    if asked.compiled and not tiny:
        found["compiled"] = loops.eager(network(), images, batch_size, bf16, compile=True)
        found["compiled"](1)
    if images.device.type == "cuda":
        found["cuda_graph"] = loops.Graphed(network(), images, batch_size, bf16)
    return found


def training(asked: Training, bench: Bench) -> dict[str, Any]:
    """Returns images per second of vae_lab, captured, plain and compiled, and of the bare loops, in turn."""
    if bench.tiny:
        asked = asked._replace(training=asked.training._replace(batch_size=20))
    most = min(asked.training.batches, BATCHES) if asked.training == speed.SIX_LEVELS else BATCHES
    sized = asked.training._replace(batches=min(bench.pick(most, 32), 60_000 // asked.training.batch_size))
    others = bare_loops(asked, speed.training_images().to(bench.device), bench.tiny)
    words = (*speed.training_words(sized), *bench.trainer(asked.precision), "trainer.limit_val_batches=1")
    if bench.tiny:
        words += SMALL.get(sized.network, ())
    compiled = {}
    for compile in ("false",) if bench.tiny else ("graph", "false", "true")[: 2 + asked.compiled]:
        callback = program.Paired(*others.values())
        epochs = f"trainer.max_epochs={bench.pick(EPOCHS, 2)}"
        seconds = program.run(callback, *words, f"compile={compile}", epochs)
        measured = of_passes(callback.seconds, list(others), sized.batch_size)
        compiled[compile] = {**measured, "peak_bytes": callback.peak_bytes, "compile_seconds": seconds}
    name = f"{sized.name}, batch {sized.batch_size}"
    return {"name": name, "precision": asked.precision, "compile": compiled}


def of_passes(seconds: Sequence[tuple[float, ...]], others: Sequence[str], batch_size: int) -> dict[str, Any]:
    """Speeds and ratios over passes, the seconds per step of vae_lab and of each other loop in each pass."""
    lab, *bare_seconds = zip(*seconds, strict=True)
    speeds = {"vae_lab": lab, **dict(zip(others, bare_seconds, strict=True))}
    ratios = {
        name: quartiles([loop / ours for loop, ours in zip(steps, lab, strict=True)])
        for name, steps in speeds.items()
        if name != "vae_lab"
    }
    medians = {name: batch_size / statistics.median(steps) for name, steps in speeds.items()}
    return {"passes": len(lab), "images_per_second": medians, "ratio_to": ratios}


def pythae(bench: Bench) -> dict[str, Any]:
    """Returns images per second of whole epochs of 784-256-2 at batch 128, of vae_lab and of pythae."""
    if not peers.installed():
        return {"not_applicable": "pythae is not installed"}
    images = speed.training_images()[: bench.pick(60_000, 256)].to(bench.device)
    epochs = bench.pick(3, 2)
    words = (*speed.GREY, *speed.MLP, *bench.trainer(), f"trainer.max_epochs={epochs}", "callbacks=none")
    limits = ("trainer.limit_train_batches=2", "trainer.limit_val_batches=1") if bench.tiny else ()
    programs: dict[str, Callable[[], list[float]]] = {
        "vae_lab": lambda: program.epochs(*words, *limits, f"compile={'false' if bench.tiny else 'true'}"),
        "pythae": lambda: peers.pythae_epochs(images, 128, epochs),
    }
    found = {name: len(images) / statistics.median(run()[1:]) for name, run in programs.items()}
    return {"images_per_second": found, "ratio": found["vae_lab"] / found["pythae"]}


def importance(bench: Bench) -> dict[str, Any]:
    """Floating-point rates of importance-sampled evaluation in float32, as a share of the matrix product's."""
    rows = {}
    for name, words in {"784-256-2": speed.MLP, "784-200-200-50": speed.DEEP}.items():
        examples, samples = bench.pick(1000, 10), bench.pick(evaluation.SAMPLES, 20)
        sizes = {"examples": examples, "samples": samples, "size": bench.pick(8192, 64)}
        rate, matrix, images = evaluation.measure(*words, device=bench.device.type, **sizes)
        rows[name] = {"flops": rate, "matrix_flops": matrix, "ratio": rate / matrix, "images_per_second": images}
    return {"samples": samples, "networks": rows}


PARTS = (
    *(Part(name, "speed", 20, partial(training, asked)) for name, asked in TRAININGS.items()),
    Part("evaluation", "speed", 15, importance),
    Part("pythae", "speed", 40, pythae),
)
