"""Collects one row for each example on disk, and writes them as Parquet, NumPy's archive or AnnData."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from vae_lab.data.arrays import reserve
from vae_lab.errors import RunError
from vae_lab.files import atomic_path

Array = NDArray[Any]
_ROWS_AT_ONCE = 4096


class CodeTable:
    """Columns of ``size`` rows in a folder, each a memory-mapped file: memory does not grow with the rows.

    Args:
        folder: empty folder for the files.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self.filled = 0
        self.columns: dict[str, Array] = {}

    def add(self, rows: Mapping[str, Array]) -> None:
        """Appends rows: an array (n, ...) for each column."""
        (num,) = {len(values) for values in rows.values()}
        for name, values in rows.items():
            if name not in self.columns:
                shape = (self.size, *values.shape[1:])
                path = self.folder / f"{name}.npy"
                self.columns[name] = open_memmap(path, "w+", values.dtype, shape)
                with path.open("r+b") as file:
                    reserve(file.fileno(), str(path))
            self.columns[name][self.filled : self.filled + num] = values
        self.filled += num


def check_format(path: Path) -> None:
    """Raises `RunError` for a file whose ending names no format, or one that needs a package that is missing."""
    if path.suffix not in _WRITERS:
        raise RunError(f"out={path}: must end in {', '.join(_WRITERS)}, the formats that a table of codes has")
    if path.is_dir():
        raise RunError(f"out={path}: is a folder; name a file in it")
    package, extra, _ = _WRITERS[path.suffix]
    try:
        import_module(package)
    except ImportError as error:
        raise RunError(f"out={path}: needs {package}; pip install 'vae-lab[{extra}]', or name a .npz file") from error


def write_table(table: CodeTable, path: Path) -> None:
    """Writes a table in the format that the ending of ``path`` names, whole or not at all."""
    assert table.filled == table.size, "every row is there"
    with atomic_path(path) as unfinished:
        _WRITERS[path.suffix][2](table, unfinished)


def _write_npz(table: CodeTable, path: Path) -> None:
    import zipfile  # noqa: PLC0415

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, column in table.columns.items():
            column.flush()  # type: ignore[attr-defined]
            with (
                (table.folder / f"{name}.npy").open("rb") as source,
                archive.open(f"{name}.npy", "w", force_zip64=True) as to,
            ):
                shutil.copyfileobj(source, to)


def _write_parquet(table: CodeTable, path: Path) -> None:
    """Writes scalars as columns, and codes as columns of lists, flattened."""
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    def batches() -> Iterator[Any]:
        for start in range(0, max(table.size, 1), _ROWS_AT_ONCE):
            parts = {name: np.array(column[start : start + _ROWS_AT_ONCE]) for name, column in table.columns.items()}
            yield pyarrow.table({name: _arrow(values) for name, values in parts.items()})

    parts = batches()
    first = next(parts)
    with parquet.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def _arrow(values: Array) -> Any:
    import pyarrow  # noqa: PLC0415

    if values.ndim == 1:
        return pyarrow.array(values)
    flat = values.reshape(len(values), -1)
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat.reshape(-1)), flat.shape[1])


def _write_h5ad(table: CodeTable, path: Path) -> None:
    """Writes scalars as ``obs`` and codes, flattened, as ``obsm``."""
    import anndata  # noqa: PLC0415
    import pandas  # noqa: PLC0415

    scalars = {name: np.array(column) for name, column in table.columns.items() if column.ndim == 1}
    index = pandas.Index(map(str, range(table.size)))
    obs = pandas.DataFrame(scalars, index=index)
    for name, values in scalars.items():
        if values.dtype.kind == "U":  # as anndata would convert them itself, with a line for each
            names = values.astype(object)
            obs[name] = pandas.Categorical(names) if len(np.unique(values)) < table.size else names
    # As plain arrays, because anndata knows no memory maps; they stay on disk.
    plain = {name: column.view(np.ndarray) for name, column in table.columns.items() if column.ndim > 1}
    obsm = {name: column.reshape(table.size, -1) for name, column in plain.items()}
    anndata.AnnData(obs=obs, obsm=obsm).write_h5ad(path)


_WRITERS: dict[str, tuple[str, str, Callable[[CodeTable, Path], None]]] = {
    ".npz": ("numpy", "", _write_npz),
    ".parquet": ("pyarrow", "table", _write_parquet),
    ".h5ad": ("anndata", "anndata", _write_h5ad),
}
"""Ending of a file -> the package that writes it, the extra that brings the package, and the function."""
