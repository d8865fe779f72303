"""python -m vae_lab.encode run=outputs/vae-mnist/... split=all out=codes.parquet: codes and scores of each example."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from vae_lab.cli import command
from vae_lab.cli.trainers import open_run
from vae_lab.errors import naming_data_root
from vae_lab.settings import EncodingSettings

if TYPE_CHECKING:
    from vae_lab.data import ImageDataModule
    from vae_lab.runs.loading import SavedRun


def encode(cfg: DictConfig) -> None:
    """Writes the table of a run's codes, by default in the run folder."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab import evaluation  # noqa: PLC0415
    from vae_lab.runs.data import SPLITS, changed_splits  # noqa: PLC0415
    from vae_lab.runs.folder import CODES  # noqa: PLC0415
    from vae_lab.runs.loading import find_run  # noqa: PLC0415

    settings = command.settings_of(EncodingSettings, cfg)
    run = find_run(cfg.run)
    if cfg.out:
        evaluation.check_format(Path(cfg.out))
    model, _, data, trainer = open_run(cfg, run)
    started = time.monotonic()
    with naming_data_root():
        path = Path(cfg.out).expanduser() if cfg.out else run.folder / CODES / _file_name(cfg, run, data, settings)
        rows = evaluation.encode(model, data, trainer, path, settings)
        changed = changed_splits(run, data, SPLITS if settings.split == "all" else [settings.split])
    print(f"written to   {path}: {rows} rows in {time.monotonic() - started:.1f} s")
    if changed and (settings.split == "all" or not cfg.data_root):
        others = "other examples than in the training, which may have had some of these"
        print(f"data changed {', '.join(changed)}: {others}")


def _file_name(cfg: DictConfig, run: SavedRun, data: ImageDataModule, settings: EncodingSettings) -> str:
    """Returns the name of the table, with all that is not the run's own."""
    from vae_lab.runs.evaluations import name_ending, other_root  # noqa: PLC0415

    root = other_root(run, cfg.data_root, data, "test" if settings.split == "all" else settings.split)
    samples = "" if settings.num_samples is None else f"_{settings.num_samples}_samples"
    return f"{settings.split}{name_ending(run, cfg.weights, root)}{samples}.npz"


def main() -> None:
    """Runs the command."""
    command.run(encode, "encode")


if __name__ == "__main__":
    main()
