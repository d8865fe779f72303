"""Arrays, data frames and AnnData that a Python program holds, in the place of files, as `vae_lab.fit` gives them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.array.store import Kind, Role, Stored
from vae_lab.data.arrays import Arrays, fingerprint
from vae_lab.data.picture.files import pixels_of
from vae_lab.data.table.columns import one_hot, shown
from vae_lab.plain_values import are_pictures, as_array, refuse_other_rows
from vae_lab.types import SplitName, listed

_CONDITIONS: tuple[Kind, ...] = ("labels", "attributes", "numbers")


class ArraysInMemory:
    """Arrays by role, with the interface of `ArrayStore`.

    Args:
        train: examples of the training split and, beside them or None, their labels; or a mapping of ``labels``,
            ``attributes`` and ``numbers`` to such arrays. Columns of a data frame keep their names.
        val, test: examples and labels of the other splits; None: a part of the training split. Columns of data frames
            are taken in the order of those of ``train``.

    Raises:
        ValueError: for arrays without examples, another key, different numbers of examples and labels, or labels of
            pandas whose index has other rows.
    """

    def __init__(self, train: tuple[Any, Any], val: tuple[Any, Any] | None = None, test: Any = None) -> None:
        given: dict[SplitName, tuple[Any, Any] | None] = {"train": train, "val": val, "test": test}
        self.arrays: dict[Role, NDArray[Any]] = {}
        self.found: dict[Role, Stored] = {}
        self.passed_over: list[str] = []
        self._names: dict[Kind, tuple[str, ...]] = {}
        for split, pair in given.items():
            if pair is None:
                continue
            self._take(split, "images", "x", pair[0])
            for kind, name, value in _conditions(pair[1]):
                self._take(split, kind, name, value)
            self._check_lengths(split)
            source = "" if split == "train" else f"{split} "
            refuse_other_rows(f"{source}y", pair[1], f"{source}x", pair[0])

    def _take(self, split: SplitName, kind: Kind, name: str, value: Any) -> None:
        if value is None:
            return
        if kind == "labels" and (declared := _declared_names(value)):
            value = [None if is_missing(each) else shown(each) for each in np.asarray(value, object).ravel().tolist()]
            if split == "train":
                self._names[kind] = declared
        stored = self.found[split, kind] = Stored(Path(name if split == "train" else f"{split} {name}"))
        names = column_names(value)
        if kind != "labels" or len(names) > 1:  # one column of labels may hold strings
            value = numbers_of_frame(str(stored), value, self.names(kind))
            if split == "train" and names:
                self._names[kind] = names
        self.arrays[split, kind] = _array(str(stored), value)

    def open(self, role: Role) -> NDArray[Any]:
        """Returns an array."""
        return self.arrays[role]

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Returns the names of the columns of a data frame; empty for anything else."""
        return self._names.get(kind, ())

    def description(self) -> dict[str, str]:
        """Returns dtype and shape of each array, and a digest of all values, by which the data are recognised."""
        described = {str(self.found[role]): f"{array.dtype} {array.shape}" for role, array in self.arrays.items()}
        digests = [
            fingerprint(Arrays(x, self._all_of_y(split)), np.arange(len(x)))
            for (split, kind), x in self.arrays.items()
            if kind == "images"
        ]
        return {**described, "fingerprint": " ".join(digests)}

    def _all_of_y(self, split: SplitName) -> NDArray[Any] | None:
        """Returns labels, attributes and numbers side by side for the digest; the labels alone as they are."""
        parts = [self.arrays[split, kind] for kind in _CONDITIONS if (split, kind) in self.arrays]
        if len(parts) < 2:
            return parts[0] if parts else None
        return np.concatenate([part.reshape(len(part), -1).astype("U32") for part in parts], axis=1)

    def _check_lengths(self, split: SplitName) -> None:
        x = self.arrays[split, "images"]
        for kind in _CONDITIONS:
            y = self.arrays.get((split, kind))
            if y is not None and len(y) != len(x):
                raise ValueError(f"{self.found[split, kind]}: {len(y)} {kind} for {len(x)} examples")


def _conditions(y: Any) -> Iterator[tuple[Kind, str, Any]]:
    """Yields kind, name in messages, and array of each part of y."""
    if not isinstance(y, Mapping):
        yield "labels", "y", y
        return
    for kind, value in y.items():
        if kind not in _CONDITIONS:
            raise ValueError(f"y: {kind!r} is not a kind of condition; give {', '.join(_CONDITIONS)}")
        yield kind, f"y[{kind}]", value


def _declared_names(labels: Any) -> tuple[str, ...]:
    """Returns all names of ordered categories, in order; empty for other labels, and for the numbers 0, 1, 2, ..."""
    column = labels.iloc[:, 0] if len(column_names(labels)) == 1 and hasattr(labels, "iloc") else labels
    dtype: Any = getattr(column, "dtype", None)
    if not getattr(dtype, "ordered", type(dtype).__name__ == "Enum"):  # of pandas; of polars
        return ()
    names = tuple(map(shown, dtype.categories))
    return () if names == tuple(map(str, range(len(names)))) else names


def _array(name: str, value: Any) -> NDArray[Any]:
    """Returns the array of anything that holds one: a tensor, a data frame, nested lists.

    Raises:
        ValueError: for something that holds none, or for missing values among strings.
    """
    _refuse_container(name, value)
    if hasattr(value, "detach"):
        value = value.detach().cpu().resolve_neg()
    elif isinstance(value, list | tuple) and any(isinstance(each, str) for each in value):
        value = np.array(value, dtype=object)  # NumPy would make a missing one among strings the string nan
    array = _rectangular(name, value)
    if array.dtype == object:
        _refuse_missing(name, array)
        array = _rectangular(name, array.tolist())
    if array.dtype == object or not array.ndim:
        found = f"{name}: a {type(value).__name__} of {array.dtype} {array.shape}"
        kind = f" of numbers or strings; {type(array.flat[0]).__name__} is neither" if array.ndim and array.size else ""
        raise ValueError(f"{found}, must be an array (N, ...){kind}{_remedy(name, value)}")
    return array


def _refuse_container(name: str, value: Any) -> None:
    """Raises ValueError for a mapping of arrays, such as an .npz archive, and for a data set of Hugging Face."""
    if isinstance(value, Mapping):
        held, remedy = [*map(str, value)], "give the arrays in it, x or (x, y)"
    elif type(value).__module__.startswith("datasets."):
        held = value.column_names
        remedy = "save_to_disk writes it, and fit('huggingface', overrides=['data.root=FOLDER']) reads it"
    else:
        return
    raise ValueError(f"{name}: a {type(value).__name__} of objects {listed(held)}; {remedy}")


def _remedy(name: str, value: Any) -> str:
    if hasattr(value, "toarray"):
        return f"; give {name}.toarray()"
    if isinstance(value, Path):
        return f"; fit('array', overrides=['data.root={value}']) reads arrays, 'image_folder' pictures"
    return ""


def _rectangular(name: str, value: Any) -> NDArray[Any]:
    """Returns `as_array`; raises ValueError for examples of different shapes, and for what is not an array."""
    if are_pictures(value):
        value = list(map(pixels_of, value))
    try:
        return as_array(value)
    except Exception as error:
        reason = "examples of different shapes" if "inhomogeneous" in str(error) else error
        if "BFloat16" in str(error):
            reason = f"{error}; give {name}.float()"
        pairs = isinstance(value, list) and (len(value) == 2 or isinstance(value[0], tuple))
        remedy = "; examples with labels are a pair (x, y) of two arrays" if pairs else ""
        raise ValueError(f"{name}: a {type(value).__name__}, must be an array ({reason}){remedy}") from error


def _refuse_missing(name: str, array: NDArray[Any]) -> None:
    missing = [
        row for row, each in enumerate(array.reshape(len(array), -1)[:, 0] if array.ndim else ()) if is_missing(each)
    ]
    if missing:
        raise ValueError(
            f"{name}: {len(missing)} of {len(array)} values are missing, the first in row {missing[0]}; leave such"
            " examples out"
        )


def column_names(value: Any) -> tuple[str, ...]:
    """Returns the names of the columns of a frame or a table, or of the variables of an AnnData; empty if none."""
    if _is_anndata(value):
        return tuple(map(str, value.var_names))
    return tuple(map(str, value.column_names if _is_arrow(value) else getattr(value, "columns", ())))


def numbers_of_frame(name: str, value: Any, wanted: Sequence[str] = ()) -> Any:
    """Returns the columns of a data frame, a table of Arrow or an AnnData, (N, columns), NaN where a number is missing.

    Anything else is returned as it is.

    Args:
        name: name of the value in messages.
        value: data frame, AnnData or anything else.
        wanted: names of the columns of the training data, in whose order the columns are returned; ``kind=a`` is where
            the column ``kind`` says a. Empty: all columns as they stand, as of a frame whose columns have no names but
            0, 1, 2, ...

    Raises:
        ValueError: for a column that is missing, occurs twice, or holds something else than numbers.
    """
    names = column_names(value)
    if not names:
        return value
    if _is_arrow(value):
        value = value.to_pandas()
    elif type(value).__name__ == "LazyFrame":
        value = value.collect()
    if not wanted or names == tuple(map(str, range(len(names)))):
        wanted = names
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: the column {next(each for each in names if names.count(each) > 1)} occurs twice")
    places = {each: place for place, each in enumerate(names)}
    of_category = {each: column for each in wanted if each not in places and (column := _categorical(each, places))}
    missing = [each for each in wanted if each not in places and each not in of_category]
    if missing:
        raise ValueError(f"{name}: no column {missing[0]}; the model was trained on {listed(wanted)}")
    if _is_anndata(value):
        x = value.X.toarray() if hasattr(value.X, "toarray") else value.X
        return x if wanted == names else x[:, [places[each] for each in wanted]]
    columns: dict[str, list[NDArray[Any]]] = {}
    for each in wanted:
        column = of_category.get(each, each)
        cells = value[value.columns[places[column]]]
        if each not in of_category:
            columns[each] = [_numbers(name, each, cells)]
        elif column not in columns:
            known = [other.removeprefix(f"{column}=") for other in wanted if of_category.get(other) == column]
            columns[column] = [*_one_hot(f"{name}: column {column}", cells, known).T]
    return np.stack([array for parts in columns.values() for array in parts], axis=1)


def is_missing(value: Any) -> bool:
    """True for None, NaN and the like, which are not equal to themselves."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124
    except TypeError:  # pandas.NA
        return True
    except ValueError:  # an array
        return False


def _is_anndata(value: Any) -> bool:
    return hasattr(value, "var_names") and hasattr(value, "X")


def _is_arrow(value: Any) -> bool:
    """True for a table or a batch of pyarrow."""
    return type(value).__module__.startswith("pyarrow") and hasattr(value, "column_names")


def _categorical(one_hot_name: str, columns: Collection[str]) -> str:
    """Returns the column ``kind`` that ``kind=a`` is one category of; empty if there is none."""
    words = one_hot_name.split("=")
    return next((name for end in range(1, len(words)) if (name := "=".join(words[:end])) in columns), "")


def _numbers(name: str, column: str, values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    holds_text = array.dtype.kind == "O" and any(isinstance(each, str) for each in array)
    if array.dtype.kind == "O" and not holds_text:  # numbers, of which some are missing
        with contextlib.suppress(TypeError, ValueError):
            array = np.array([np.nan if is_missing(each) else each for each in array], np.float64)
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"{name}: column {column} holds {array.dtype} and not numbers; save the table and use data=table,"
            " which reads categories, or leave the column out"
        )
    return array


def _one_hot(where: str, values: Any, known: Sequence[str]) -> NDArray[Any]:
    cells = np.asarray(values, object).tolist()
    texts = [None if is_missing(cell) else shown(cell) for cell in cells]
    distinct = sorted({text for text in texts if text is not None})
    places = {text: place for place, text in enumerate(distinct)}
    return one_hot(distinct, np.array([-1 if text is None else places[text] for text in texts]), known, where)
