"""Prints tables and lines on the screen, every string as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vae_lab.collapse import unit_title

_UNITS = {
    "effective_samples": "samples",
    "bits_per_dim": "bits",
    "mig": "",
    "sap": "",
    "dci_disentanglement": "",
    "dci_completeness": "",
    "dci_informativeness": "",
    "factor_vae_score": "",
    "num_samples": "",
}
"""Units by metric; counts of latent dimensions have those of `unit_title`, all others are nats per example."""


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> None:
    """Prints a table.

    Args:
        right: titles of the columns whose cells are aligned on the right.
    """
    columns = (Column(Text(name), overflow="fold", justify="right" if name in right else "left") for name in header)
    table = Table(*columns, title=Text(title, "table.title"), title_justify="left")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(soft_wrap=True, force_jupyter=False).print(table)


def print_results(title: str, results: Mapping[str, Any], rows: Iterable[Sequence[str]] = ()) -> None:
    """Prints metrics with their values and units.

    Args:
        results: numbers by name; a standard error ``NAME_error`` is shown beside its number.
        rows: cells of further rows: name, value and unit.
    """
    names = [name for name in results if not name.endswith("_error")]
    units = _UNITS | ({"bits_per_dim": "bits, of the nll"} if "nll" in results else {})
    numbers = [_result_row(name, results[name], results.get(f"{name}_error"), units) for name in names]
    print_table(title, ("metric", "value", "unit"), [*numbers, *rows], right=("value",))


def _result_row(name: str, value: Any, error: float | None, units: Mapping[str, str]) -> tuple[str, str, str]:
    count = unit_title(name)
    number = f"{value:.0f}" if count else f"{value:.3f}" if isinstance(value, float) else str(value)
    unit = count or units.get(name, "nats per example")
    return name, number if error is None else f"{number} ± {error:.3f}", unit


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines without marking numbers and paths in them."""
    for line in lines:
        Console(soft_wrap=True, force_jupyter=False).print(line, highlight=False, markup=False)
