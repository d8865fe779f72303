"""Names and scaling of the columns of a table, or of the channels of a signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab.types import DataSpec, listed


def names_of(spec: DataSpec | None, num: int) -> list[str]:
    """Returns the name of each of ``num`` columns or channels: its number if it has none."""
    names = getattr(spec, "columns", ())
    if names:
        return list(names)
    kind = "column" if spec is not None and len(spec.shape) == 1 else "channel"
    return [f"{kind} {i}" for i in range(num)]


def rows_by_column(x: Tensor, spec: DataSpec | None) -> dict[str, list[Any]]:
    """Returns rows (N, D) by the name of the column: numbers, or the value of a category with the largest share."""
    names = names_of(spec, x.shape[1])
    sizes = () if spec is None else spec.categories
    start = x.shape[1] - sum(sizes)
    found: dict[str, list[Any]] = {
        name: [float(f"{value:.9g}") for value in column.tolist()]
        for name, column in zip(names[:start], x.T[:start], strict=True)
    }
    for size in sizes:
        values = names[start : start + size]
        title = _title(values)
        chosen = x[:, start : start + size].argmax(1).tolist()
        found[title] = [values[place][len(title) + 1 :] for place in chosen]
        start += size
    return found


def _title(names: Sequence[str]) -> str:
    """Returns the name of a categorical column, from names such as ``colour=red``: what they share before an equals."""
    parts = names[0].split("=")
    starts = ("=".join(parts[:i]) for i in range(len(parts) - 1, 0, -1))
    return next((start for start in starts if all(name.startswith(f"{start}=") for name in names)), "")


def check_columns(spec: DataSpec | None, shown: Sequence[str]) -> None:
    """Checks the columns that a scatter is to show.

    Raises:
        ValueError: for data that are not a table, a column that it does not have, or more than two.
    """
    if not shown:
        return
    if spec is None or len(spec.shape) != 1:
        raise ValueError(f"columns={list(shown)}: only tables have them; leave it out")
    names = names_of(spec, spec.shape[0])
    missing = [name for name in shown if name not in names]
    if missing or len(shown) > 2:
        wrong = f"the data have no column {missing[0]}" if missing else "name one or two columns"
        raise ValueError(f"columns={list(shown)}: {wrong}; the columns are {listed(names)}")


def standardised(x: Tensor, spec: DataSpec | None) -> Tensor:
    """Returns rows (N, D) in standard deviations from the mean: of the training data if known, else of ``x``."""
    scaling = getattr(spec, "scaling", None)
    if scaling is not None:
        return (x - torch.tensor(scaling.mean)) / torch.tensor(scaling.scale)
    known = x.isfinite()
    mean = x.where(known, torch.nan).nanmean(0)
    spread = (x - mean).where(known, 0.0).square().sum(0).div(known.sum(0).clamp(min=1)).sqrt()
    return (x - mean) / spread.clamp(min=1e-12)
