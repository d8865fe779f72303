"""Tables as files: CSV, Parquet, Feather and Arrow, read by pyarrow (pip install 'vae-lab[table]')."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from vae_lab.data.splits import may_be_split, split_of_folder
from vae_lab.data.table.columns import refuse_numbers_as_names
from vae_lab.types import SplitName, listed

Header = bool | Literal["auto"]

_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t", ".txt": ",;\t|"}
_SUFFIXES = (*_SEPARATORS, ".parquet", ".pq", ".feather", ".arrow", ".ipc")
_REMEDIES = {
    ".npy": "for arrays, set data=array",
    ".npz": "for arrays, set data=array",
    ".h5ad": "vae_lab.fit(anndata.read_h5ad(FILE)) trains on it",
    ".xlsx": "pandas.read_excel(FILE).to_csv('table.csv', index=False) makes one of it",
}
"""Remedy by the suffix of a file that is not a table."""
_COMPRESSED = (".gz", ".bz2", ".zst")
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "null", "NULL", "None", "#N/A", "<NA>"]
"""Values of a CSV that are missing."""


def find_tables(root: str) -> dict[SplitName, Path]:
    """Returns the file of each split; the only table, which is then split by chance, is the training set.

    Args:
        root: folder with ``train.csv`` and, if any, ``val.csv`` and ``test.csv`` or the same of other formats, or with
            one table; or one file.

    Raises:
        FileNotFoundError: if there is no table.
        ValueError: for files of which it is not clear what they hold.
    """
    place = Path(root).expanduser()
    if place.is_file():
        return {"train": place}
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: no such file or folder; name a table such as table.csv, or its folder")
    tables = _tables_in(place)
    if not tables:
        raise FileNotFoundError(f"{place}: no table in it; expected train.csv, or another of {', '.join(_SUFFIXES)}")
    named = [(split_of_folder(_stem(path)), path) for path in tables]
    found = {split: path for split, path in named if split is not None}
    if not found and len(tables) == 1:
        return {"train": tables[0]}
    names = listed([path.name for path in tables])
    if doubtful := [path.name for path in tables if may_be_split(_stem(path))]:
        raise ValueError(f"{place}: {listed(doubtful)} may be a split under another name; rename it to val or test")
    twice = [split for split, count in Counter(split for split, _ in named if split).items() if count > 1]
    if twice:
        raise ValueError(f"{place}: several tables are the {twice[0]} split ({names}); leave one of them")
    if "train" not in found:
        raise ValueError(f"{place}: no table is the training split ({names}); name it train, or give one file")
    return found


def unread_tables(root: str, used: Collection[Path]) -> list[str]:
    """Returns the tables that lie beside those that are read, in words; beside one file, the other splits."""
    place = Path(root).expanduser()
    if place.is_dir():
        others = [path.name for path in _tables_in(place) if path not in used]
        return [f"{len(others)} other tables ({listed(others)})"] if others else []
    if not split_of_folder(_stem(place)):
        return []
    splits = [path.name for path in _tables_in(place.parent) if path != place and split_of_folder(_stem(path))]
    return [f"{listed(splits)} beside {place.name}; data.root={place.parent} reads both"] if splits else []


def is_text(path: Path) -> bool:
    """True for a CSV, whose first line may have the names of the columns."""
    return _suffix(path) in _SEPARATORS


def _tables_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and _suffix(path) in _SUFFIXES)


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def read_table(path: Path, named: Sequence[str] = (), header: Header = "auto") -> Any:
    """Returns a table of pyarrow.

    Args:
        path: file of the table.
        named: names of columns whose values are names, such as categories; in a CSV 007 and 7 are then two of them.
        header: True if the first line of a CSV has the names of the columns; see `Table`.

    Raises:
        ImportError: without pyarrow.
        ValueError: for a file that is not such a table, lines of different lengths, or a name that occurs twice.
    """
    try:
        import pyarrow  # noqa: PLC0415
        from pyarrow import feather, parquet  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("data=table needs pyarrow; pip install 'vae-lab[table]'") from error
    suffix = _suffix(path)
    if suffix not in _SUFFIXES:
        remedy = _REMEDIES.get(suffix, f"expected one of {', '.join(_SUFFIXES)}")
        raise ValueError(f"{path}: not a table; {remedy}")
    try:
        if is_text(path):
            table = _read_csv(path, named, header)
        elif suffix in (".parquet", ".pq"):
            table = parquet.read_table(path)
        else:
            table = feather.read_table(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not in UTF-8; save it in UTF-8") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not readable ({str(error).splitlines()[0]})") from error
    return refuse_table(table, path)


def refuse_table(table: Any, path: Path) -> Any:
    """Returns a table as it is; raises ValueError for one without rows, or with a name that occurs twice."""
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: the column {twice[0]} occurs twice; give each column a name of its own")
    if not table.num_rows:
        raise ValueError(f"{path}: has no rows")
    return table


def _read_csv(path: Path, named: Sequence[str], header: Header) -> Any:
    """Returns a CSV; its ``named`` columns are strings where a number would lose something of them."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    with pa.input_stream(path, compression="detect") as file:
        start = file.read(1 << 16)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path}: in UTF-16; save it in UTF-8")
    head = start.decode("utf-8-sig", "replace").partition("\n")[0]
    separator = max(_SEPARATORS[_suffix(path)], key=head.count)
    if separator not in head and _suffix(path) == ".txt":
        separator = " "  # as numpy.savetxt writes
    # On one thread, because errors then say the row.
    options, parse = csv.ReadOptions(use_threads=False), csv.ParseOptions(delimiter=separator)
    options.autogenerate_column_names = header is False

    def read(**how: Any) -> Any:
        convert = csv.ConvertOptions(null_values=_MISSING, strings_can_be_null=True, **how)
        with pa.input_stream(path, compression="detect") as file:
            return csv.read_csv(file, options, parse, convert)

    table = read()
    if header == "auto":
        refuse_numbers_as_names(table.column_names, path)
    elif not header:
        options.autogenerate_column_names, options.column_names = False, list(map(str, range(table.num_columns)))
        table = table.rename_columns(options.column_names)
    once = [name for name in named if table.column_names.count(name) == 1]
    converted = [name for name in once if str(table[name].type) not in ("string", "bool", "null")]
    if converted:
        texts = read(include_columns=converted, column_types=dict.fromkeys(converted, pa.string()))
        for name in converted:
            if _loses(table[name], texts[name]):
                table = table.set_column(table.column_names.index(name), name, texts[name])
    return table


def _loses(values: Any, texts: Any) -> bool:
    """True if texts are not numbers, or if as numbers they lose a leading zero or two of them become one."""
    from pyarrow import compute  # noqa: PLC0415

    if not str(values.type).startswith(("int", "double")):
        return True
    texts = compute.utf8_trim_whitespace(texts)
    padded = compute.any(compute.match_substring_regex(texts, r"^[+-]?0\d")).as_py()
    return bool(padded) or compute.count_distinct(values) != compute.count_distinct(texts)


def _suffix(path: Path) -> str:
    """Returns the suffix of a table, without that of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""
