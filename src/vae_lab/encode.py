"""python -m vae_lab.encode run=outputs/vae-mnist/... split=all out=codes.parquet: codes and scores of each example."""

from __future__ import annotations

import time
from pathlib import Path

from omegaconf import DictConfig

from vae_lab.cli import command
from vae_lab.cli.trainers import open_run
from vae_lab.errors import naming_data_root
from vae_lab.settings import EncodingSettings, settings_of


def encode(cfg: DictConfig) -> None:
    """Writes the table of a run's codes, by default in the run folder."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab import evaluation  # noqa: PLC0415
    from vae_lab.runs.folder import CODES  # noqa: PLC0415
    from vae_lab.runs.loading import find_run  # noqa: PLC0415

    settings = settings_of(EncodingSettings, cfg)
    run = find_run(cfg.run)
    path = Path(cfg.out).expanduser() if cfg.out else run.folder / CODES / f"{settings.split}.npz"
    evaluation.check_format(path)
    model, data, trainer = open_run(cfg, run)
    started = time.monotonic()
    with naming_data_root():
        rows = evaluation.encode(model, data, trainer, path, settings)
    print(f"written to   {path}: {rows} rows in {time.monotonic() - started:.1f} s")


def main() -> None:
    """Runs the command."""
    command.run(encode, "encode")


if __name__ == "__main__":
    main()
