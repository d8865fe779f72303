"""Opens data sets of Hugging Face; an error is one line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vae_lab.data.picture.files import files_within
from vae_lab.data.splits import split_named
from vae_lab.types import listed

_SUFFIXES = (".parquet", ".arrow")


def open_local(root: str) -> dict[str, Any]:
    """Returns the splits of a folder that `save_to_disk` wrote, or of Parquet or Arrow files named after splits.

    Raises:
        FileNotFoundError: if there is no data set.
        ImportError: without `datasets`.
        ValueError: for one that cannot be read, and as `_files_by_split`.
    """
    datasets = _datasets()
    place = Path(root).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such folder; name the folder of the data set, or data.images.dataset")
    saved = (place / "dataset_dict.json").exists() or (place / "state.json").exists()
    files = {} if saved else _files_by_split(place)
    try:
        if saved:
            found = datasets.load_from_disk(str(place))
            return dict(found) if isinstance(found, dict) else {"train": found}
        return {split: _read(datasets, paths) for split, paths in files.items()}
    except Exception as error:  # of many kinds, from pyarrow and datasets
        raise ValueError(f"{place}: not readable as a data set ({_line(error)})") from error


def open_named(name: str, config: str | None) -> dict[str, Any]:
    """Returns the splits of a data set on the hub, or in its cache on this machine.

    Raises:
        ImportError: without `datasets`.
        ValueError: if it does not exist, or there is no network; and for the name of a format, which would read
            whatever files lie in the working directory.
    """
    datasets = _datasets()
    if name in datasets.packaged_modules._PACKAGED_DATASETS_MODULES:
        raise ValueError(f"dataset={name}: is a file format, not a data set; data.root names a folder of Parquet files")
    try:
        # Since version 4 the code of a data set is never run.
        with _without_retries():
            return dict(datasets.load_dataset(name, config))
    except Exception as error:  # of many kinds, from datasets, its hub and its requests
        raise ValueError(
            f"dataset={name}: cannot be loaded ({_line(error)}); check the name and the network, or give data.root,"
            " the folder that save_to_disk wrote"
        ) from error


@contextmanager
def _without_retries() -> Iterator[None]:
    """Context manager without the lines of huggingface_hub about requests that it tries again."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _datasets() -> Any:
    try:
        import datasets  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("data=huggingface needs datasets; pip install 'vae-lab[huggingface]'") from error
    return datasets


def _files_by_split(place: Path) -> dict[str, list[Path]]:
    """Returns Parquet or Arrow files by split, as in ``data/train-00000-of-00002.parquet`` or ``train/0000.parquet``.

    The split is the first word of a file's name or, if that is not one, the nearest folder that is named after a split.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: for a split in several folders, which may be several data sets.
    """
    files = [place] if place.is_file() else [path for path in files_within(place) if path.suffix in _SUFFIXES]
    if not files:
        raise FileNotFoundError(f"{place}: no data set in it; expected what save_to_disk writes, or train.parquet")
    found: dict[str, list[Path]] = {}
    folders: dict[str, set[Path]] = {}
    for path in files:
        word = re.split(r"[-_.\d]", path.stem)[0]
        above = [folder for folder in path.parents if folder.is_relative_to(place) and split_named(folder.name)]
        split, folder = (above[0].name, above[0]) if above and not split_named(word) else (word or "train", path.parent)
        found.setdefault(split, []).append(path)
        folders.setdefault(split, set()).add(folder)
    for split, places in folders.items():
        if len(places) > 1:
            named = listed(sorted(str(folder.relative_to(place)) for folder in places))
            raise ValueError(
                f"{place}: files of {split} in {len(places)} folders ({named}); set data.root to one of them, or move"
                " the files into one folder"
            )
    return found


def _read(datasets: Any, paths: list[Path]) -> Any:
    if paths[0].suffix == ".arrow":
        return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths])
    return datasets.Dataset.from_parquet([str(path) for path in paths], keep_in_memory=True)


def _line(error: Exception) -> str:
    """Returns the first line of an error, and its kind if it says nothing."""
    lines = listed(str(error).splitlines()[:1])
    return lines or type(error).__name__
