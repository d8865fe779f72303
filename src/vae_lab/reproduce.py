"""python -m vae_lab.reproduce run=outputs/vae-mnist/...: trains a finished run again and compares, bit for bit."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from vae_lab.cli import command
from vae_lab.cli.compose import words_for_other_processes
from vae_lab.cli.paths import quoted
from vae_lab.cli.repeated_words import started_with
from vae_lab.cli.unused import OF_BEFORE
from vae_lab.errors import RunError

if TYPE_CHECKING:
    from vae_lab.runs.reproduction import Reproduction


_UNKNOWN = (
    "nothing that is recorded differs; what may: a resume with other options, a GPU, or the number of threads,"
    " which older runs do not record"
)


def reproduce(cfg: DictConfig) -> None:
    """Trains the run again in a new folder, prints how the two differ, and exits with 1 if they do."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab.runs.folder import METRICS, make_unique_folder, remove_if_empty  # noqa: PLC0415
    from vae_lab.runs.loading import find_run  # noqa: PLC0415
    from vae_lab.runs.locks import AT_END  # noqa: PLC0415
    from vae_lab.runs.reproduction import compared  # noqa: PLC0415

    run = find_run(cfg.run).folder.resolve()
    words = started_with(run, cfg.data_root)
    if not (run / METRICS).is_file():
        remedy = f"{shlex.quote(f'resume={cfg.run}')} finishes it"
        raise RunError(f"run={cfg.run}: not finished, because there is no {METRICS}; {remedy}")
    wanted = Path(cfg.out).expanduser() if cfg.out else run.with_name(f"{run.name}_again")
    if cfg.out and wanted.exists():
        raise RunError(f"out={wanted}: exists already; name a new folder")
    again = make_unique_folder(wanted)
    AT_END.callback(remove_if_empty, again)
    words += [f"hydra.run.dir={quoted(str(again))}", *words_for_other_processes(HydraConfig.get())]
    environment = os.environ | {OF_BEFORE: "1"}
    trained = subprocess.run([sys.executable, "-m", "vae_lab.train", *words], check=False, env=environment)
    if trained.returncode:
        raise RunError(
            f"run={cfg.run}: could not be trained again (exit code {trained.returncode}), for the reason above"
        )
    found = compared(run, again)
    show(found, again)
    if not found.equal:
        raise SystemExit(1)


def show(found: Reproduction, again: Path) -> None:
    """Prints the metrics of both runs, and how and why they differ."""
    from vae_lab.screen import print_lines, print_table  # noqa: PLC0415

    rows = [(name, f"{was:.6g}", f"{now:.6g}", f"{now - was:+.2g}") for name, (was, now) in found.metrics.items()]
    print_table("the run and its repetition", ("metric", "was", "is", "difference"), rows, ("was", "is", "difference"))
    lines = [f"run folder   {again}"]
    if found.equal:
        lines.append(f"reproduced   to the last bit: {found.tensors} tensors of weights and {len(rows)} test metrics")
    else:
        lines.append(
            f"differs      {found.different} of {found.tensors} tensors of weights, by at most {found.largest:.2g}"
        )
    lines += [f"other data   the {split} set is not what it was" for split in found.data]
    label = "although" if found.equal else "why"
    lines += [f"{'' if number else label:<13}{change}" for number, change in enumerate(found.circumstances)]
    if not (found.equal or found.data or found.circumstances):
        lines.append(f"{label:<13}{_UNKNOWN}")
    print_lines(lines)


def main() -> None:
    """Runs the command."""
    command.run(reproduce, "reproduce")


if __name__ == "__main__":
    main()
