"""python -m vae_lab.sample run=outputs/cvae-mnist/... y=3: samples and other pictures of a run, with their arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from vae_lab.cli import command
from vae_lab.errors import RunError, naming_data_root
from vae_lab.runs.folder import SAMPLES
from vae_lab.settings import Request

if TYPE_CHECKING:
    from torch import Tensor

    from vae_lab.pictures import Sheet


def sample(cfg: DictConfig) -> None:
    """Writes each sheet that is asked for as NAME.png and NAME.npz, and prints the paths.

    Data that are not pictures are written as NAME.npy too, and those of a table as NAME.csv.
    """
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab.pictures import requested  # noqa: PLC0415
    from vae_lab.pictures.columns import check_columns  # noqa: PLC0415
    from vae_lab.runs.data import open_data  # noqa: PLC0415
    from vae_lab.runs.evaluations import name_ending, other_root  # noqa: PLC0415
    from vae_lab.runs.loading import find_run  # noqa: PLC0415

    request = command.settings_of(Request, cfg)
    run = find_run(cfg.run)
    model = run.model(cfg.packages, weights=cfg.weights)
    check_columns(model.spec, request.columns)
    folder = Path(cfg.out).expanduser() if cfg.out else run.folder / SAMPLES
    if folder.exists() and not folder.is_dir():
        raise RunError(f"out={folder}: is a file; name a folder")
    # All sheets before the first is written: a mistake must not leave files behind.
    data = cache(lambda: open_data(run, model, cfg.packages, cfg.data_root, cfg.split))  # samples need none
    with naming_data_root():
        sheets = list(requested(request, model, lambda num, where: data().examples(num, cfg.split, where)))
        root = other_root(run, cfg.data_root, data(), cfg.split) if data.cache_info().currsize else None
    ending = name_ending(run, cfg.weights, root)
    drawn = [sheet.draw(request.columns) if sheet.drawable else None for _, sheet in sheets]
    for (name, sheet), picture in zip(sheets, drawn, strict=True):
        for path in _save(sheet, picture, folder, name + ending):
            print(path)


def _save(sheet: Sheet, picture: Tensor | None, folder: Path, name: str) -> Iterator[Path]:
    """Writes the picture and the arrays of a sheet, and of data that are not pictures the numbers by themselves."""
    from vae_lab.pictures import save_array, save_arrays, save_picture, save_table  # noqa: PLC0415

    if picture is not None:
        yield save_picture(picture, folder, name)
    yield save_arrays(sheet.arrays, folder, name)
    if sheet.shows_numbers:
        yield save_array(sheet.arrays["images"], folder, name)
    if columns := sheet.table():
        yield save_table(columns, folder, name)


def main() -> None:
    """Runs the command."""
    command.run(sample, "sample")


if __name__ == "__main__":
    main()
