"""python -m vae_lab.export run=outputs/vae-mnist/... format=all: a run for other programs, compared with the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from vae_lab.cli import command
from vae_lab.errors import RunError
from vae_lab.files import unfinished_folder
from vae_lab.settings import ExportSettings

if TYPE_CHECKING:
    from vae_lab.exports.writing import Export


def export(cfg: DictConfig) -> None:
    """Writes the files, prints how near they are to the run, and uploads them if asked to.

    Exits with 1 if one of them differs from the run, or if the only format that was asked for cannot be written.
    """
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab.exports.parity import TOLERANCE  # noqa: PLC0415
    from vae_lab.exports.push import check_push, push  # noqa: PLC0415
    from vae_lab.exports.writing import export_run, formats_of  # noqa: PLC0415
    from vae_lab.runs.folder import EXPORT, make_unique_folder  # noqa: PLC0415
    from vae_lab.runs.loading import find_run  # noqa: PLC0415

    settings = command.settings_of(ExportSettings, cfg)
    formats_of(settings)
    if settings.push:
        check_push(settings.push)
    run = find_run(cfg.run)
    if cfg.out and Path(cfg.out).expanduser().exists():
        raise RunError(f"out={cfg.out}: exists already; name a new folder")
    wanted = Path(cfg.out).expanduser() if cfg.out else run.folder / EXPORT
    with unfinished_folder(wanted) as unfinished:
        written = export_run(run, unfinished, settings, cfg.packages, print)
        written.folder = make_unique_folder(wanted)
        unfinished.replace(written.folder)  # whole, or absent if the command is killed
    folder = written.folder
    show(written)
    if not written.largest <= TOLERANCE:
        raise RunError(f"{folder}: differs from the run by {written.largest:.1e}, more than {TOLERANCE:g}")
    if written.refused and (settings.format != "all" or not written.errors):
        raise RunError(f"format={settings.format}: not all graphs can be written, for the reasons above")
    if settings.push:
        print(f"uploaded to  {push(folder, settings.push, settings.private)}")


def show(written: Export) -> None:
    """Prints the errors by graph and format, what could not be written, and the folder."""
    from vae_lab.screen import print_lines, print_table  # noqa: PLC0415

    formats = written.formats
    rows = written.error_rows(formats)
    print_table("largest difference from the run, relative", ("graph", *formats), rows, formats)
    print_lines([*(f"not written  {line}" for line in written.refused), f"written to   {written.folder}"])


def main() -> None:
    """Runs the command."""
    command.run(export, "export")


if __name__ == "__main__":
    main()
