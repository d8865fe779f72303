"""Rows of docs/results.md, trained for as long as there is time and evaluated, by the commands of a user."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks import program
from benchmarks.bench import Bench, Part

PUBLISHED = Path(__file__).parents[1] / "docs" / "results" / "published.yaml"


class Row(NamedTuple):
    """A row and its training.

    Attributes:
        record: its name in docs/results/published.yaml, which has the command and the published value.
        seconds: what the training may take; fewer epochs are trained where all of them would take longer.
        epochs: number of epochs in the published protocol.
        samples: importance samples of the evaluation.
        precision: precision of the training.
    """

    record: str
    seconds: float
    epochs: int
    samples: int = 5000
    precision: str = "32-true"


ROWS = (
    Row("deep_mnist_gpu", 200, 140, 1000, "bf16-mixed"),
    Row("burda_iwae_50", 90, 3280),
    Row("burda_iwae_mhvae_50", 120, 3280),
    Row("gated_vamp_fashion", 90, 2000),
    Row("gated_mhvae_fashion", 90, 2000),
    Row("ladder_vae", 120, 2000),
    Row("gated_vae", 60, 2000),
    Row("burda_vae", 120, 3280),
)
"""In order of value for time: first what no CPU trains in an afternoon."""

TINY_ROW = "burda_iwae_50"

AROUND = 60
"""Seconds of a row besides its training: two starts of Python, a trial of the speed, the evaluation."""

LEAST = 45
"""Seconds of training below which a row is not begun."""


def published() -> dict[str, dict[str, Any]]:
    """The entries of docs/results/published.yaml by their records."""
    return {entry["record"]: entry for entry in yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))}


class Trial(NamedTuple):
    """Measurements of a trial of a few batches of a training."""

    batches: int
    seconds: float

    def epochs(self, seconds: float) -> int:
        """Returns the number that fits into that time; at least one."""
        return max(1, int(seconds / self.seconds))


def trial(words: tuple[str, ...], bench: Bench) -> Trial:
    """Batches and seconds of one epoch of the training, without validation and pictures."""
    data = program.composed(*words).data
    whole = len(data.train_dataloader())
    batches = min(bench.pick(400, 2), whole)
    # Not callbacks=none: an experiment that sets an option of a callback would then leave half of one.
    quiet = (
        "callbacks.pictures=null",
        "callbacks.projector=null",
        "logger=none",
        "trainer.max_epochs=2",
        "trainer.check_val_every_n_epoch=1",
    )
    limits = (f"trainer.limit_train_batches={batches}", "trainer.limit_val_batches=1")
    return Trial(whole, program.epochs(*words, *quiet, *limits)[-1] * whole / batches)


TINY = (
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.check_val_every_n_epoch=1",
)
WARM_UP = 0.25
"""The largest share of a shortened training that its warm-up may take."""


def length_words(words: tuple[str, ...], epochs: int, batches: int) -> tuple[str, ...]:
    """Overrides for that many epochs, with a shorter warm-up where that of the experiment would take too many."""
    asked = program.composed(*words).config["objective"].get("warmup") or {}
    most = max(1, int(WARM_UP * epochs * batches))
    shorter = (f"warmup.steps={most}",) if asked.get("steps", 0) > most else ()
    return (f"trainer.max_epochs={epochs}", *shorter)


def train_words(row: Row, bench: Bench) -> tuple[str, ...]:
    """Overrides of the training, but for its length."""
    command = published()[row.record]["command"].split()
    return (*(word for word in command if not word.startswith("trainer.max_epochs=")), *bench.trainer(row.precision))


def row_of(row: Row, bench: Bench) -> dict[str, Any]:
    """Trains and evaluates; the record is the evaluation.json, as docs/results keeps it."""
    if bench.tiny and row.record != TINY_ROW:
        return {"not_applicable": "--tiny tries one row only"}
    words = train_words(row, bench)
    seconds = max(1.0, min(row.seconds, bench.seconds_left() - AROUND))
    tried = trial(words, bench)
    epochs = 1 if bench.tiny else min(row.epochs, tried.epochs(seconds))
    length = length_words(words, epochs, tried.batches)
    minutes, rest = divmod(int(1.2 * seconds), 60)
    limits = [f"trainer.max_time='00:{minutes // 60:02}:{minutes % 60:02}:{rest:02}'"]
    if bench.tiny:
        limits += TINY
    with tempfile.TemporaryDirectory() as folder:
        command("vae_lab.train", *words, *length, *limits, f"hydra.run.dir={folder}/run", bench=bench)
        tested = program.composed(*words).config["test_checkpoint"]
        evaluated = [
            f"run={folder}/run/checkpoints/{tested}.ckpt",
            f"num_samples={bench.pick(row.samples, 2)}",
            *bench.trainer(),
        ]
        tiny = ["trainer.limit_test_batches=1", "elbo_samples=2", "batch_size=10"] if bench.tiny else []
        command("vae_lab.evaluate", *evaluated, *tiny, bench=bench)
        (evaluation,) = (Path(folder) / "run").glob("evaluation*.json")  # its name says what was evaluated
        record = json.loads(evaluation.read_text(encoding="utf-8"))
    entry = published()[row.record]
    value = record[entry["metric"]] * entry.get("sign", 1)
    return {
        "command": " ".join(("python -m vae_lab.train", *words, *length)),
        "epochs": record["run"]["epochs"],  # fewer than planned where max_time came first
        "published_epochs": row.epochs,
        "published": entry["published"],
        "here": value,
        "record": record,
    }


def command(module: str, *words: str, bench: Bench) -> None:
    """Runs a command of the lab in a process of its own.

    Raises:
        RuntimeError: for one that fails; it ends with the last line that the command printed.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        timeout=max(1.0, bench.seconds_left()),
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeError(f"python -m {module} {' '.join(words)}: exit code {done.returncode}: {''.join(said[-1:])}")


def schedules(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Lines for docs/results/published.yaml: what was shortened, by record."""
    return [
        f"{record}: schedule: {row['epochs']} epochs of {row['published_epochs']} (shortened)"
        for record, row in rows.items()
        if row["epochs"] < row["published_epochs"]
    ]


PARTS = tuple(Part(row.record, "rows", AROUND + LEAST, partial(row_of, row)) for row in ROWS)
