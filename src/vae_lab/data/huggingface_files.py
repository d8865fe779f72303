"""Opens data sets of Hugging Face; an error is one line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vae_lab.types import listed


def open_local(root: str) -> dict[str, Any]:
    """Returns the splits of a folder that `save_to_disk` wrote, or of Parquet or Arrow files named after splits.

    Raises:
        FileNotFoundError: if there is no data set.
        ImportError: without `datasets`.
        ValueError: for one that cannot be read.
    """
    datasets = _datasets()
    place = Path(root).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"{place}: no such folder; name the folder of the data set, or data.images.dataset")
    try:
        if (place / "dataset_dict.json").exists() or (place / "state.json").exists():
            found = datasets.load_from_disk(str(place))
            return dict(found) if isinstance(found, dict) else {"train": found}
        files = _files_by_split(place)
        return {split: _read(datasets, paths) for split, paths in files.items()}
    except FileNotFoundError:
        raise
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
    """Returns Parquet or Arrow files by the first word of their names, as in ``data/train-00000-of-00002.parquet``."""
    suffixes = (".parquet", ".arrow")
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.suffix in suffixes)
    if not files:
        raise FileNotFoundError(f"{place}: no data set in it; expected what save_to_disk writes, or train.parquet")
    found: dict[str, list[Path]] = {}
    for path in files:
        word = re.split(r"[-_.\d]", path.stem)[0] or path.stem
        found.setdefault(word, []).append(path)
    return found


def _read(datasets: Any, paths: list[Path]) -> Any:
    if paths[0].suffix == ".arrow":
        return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths])
    return datasets.Dataset.from_parquet([str(path) for path in paths], keep_in_memory=True)


def _line(error: Exception) -> str:
    """Returns the first line of an error, and its kind if it says nothing."""
    lines = listed(str(error).splitlines()[:1])
    return lines or type(error).__name__
