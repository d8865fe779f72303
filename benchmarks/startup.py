"""From the shell to the first training step, beside the imports that cannot be avoided."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import pytorch_lightning as pl


class ExitAfterFirstStep(pl.Callback):
    """Ends the process when the first step is done."""

    def on_train_batch_end(self, *args: object) -> None:
        os._exit(0)


COMMANDS = {
    "import torch, pytorch_lightning": ["-c", "import torch, pytorch_lightning"],
    "python -m vae_lab.train, to the first step": [
        "-m",
        "vae_lab.train",
        "trainer=cpu",
        "+callbacks.exit._target_=benchmarks.startup.ExitAfterFirstStep",
    ],
    "python -m vae_lab.train --help": ["-m", "vae_lab.train", "--help"],
    "python -m vae_lab.train model=vea (an error)": ["-m", "vae_lab.train", "model=vea"],
}


def seconds(words: list[str]) -> float:
    """Wall-clock time of a Python command."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"hydra.run.dir={folder}"] if "trainer=cpu" in words else []
        start = time.perf_counter()
        subprocess.run([sys.executable, *words, *outputs], check=False, capture_output=True)
        return time.perf_counter() - start
