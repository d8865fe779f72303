"""Prints tables and lines on the screen, every string as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> None:
    """Prints a table.

    Args:
        title: title above the table.
        header: titles of the columns.
        rows: cells of each row.
        right: titles of the columns whose cells are aligned on the right.
    """
    columns = (Column(Text(name), overflow="fold", justify="right" if name in right else "left") for name in header)
    table = Table(*columns, title=Text(title, "table.title"), title_justify="left")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(soft_wrap=True).print(table)


def print_numbers(title: str, rows: Iterable[Sequence[str]]) -> None:
    """Prints metrics with their values and units."""
    print_table(title, ("metric", "value", "unit"), rows, right=("value",))


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines without marking numbers and paths in them."""
    for line in lines:
        Console(soft_wrap=True).print(line, highlight=False, markup=False)
