"""Tables of measurements: on the screen, and between the marks of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vae_lab.files import write_text
from vae_lab.reports.text import markdown_table
from vae_lab.screen import print_table

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


class Section(NamedTuple):
    """A table of docs/performance.md."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def shown(speeds: Sequence[float]) -> str:
    return f"{statistics.median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f})"


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile; of a single value, three times that value."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return low, middle, high


def shown_quartiles(low: float, middle: float, high: float) -> str:
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of a Markdown page in whose cells Markdown is read; the first row has the titles."""
    return markdown_table([[cell.replace("|", "\\|") for cell in row] for row in rows])


def print_sections(sections: Sequence[Section]) -> None:
    for section in sections:
        print_table(section.title, section.header, section.rows)


def write_sections(program: str, sections: Sequence[Section], machine: str, document: Path = DOCUMENT) -> None:
    """Puts the tables between the marks of ``program``.

    Its other tables stay, and so does what is written by hand before and after the marks.

    Raises:
        ValueError: for a document without those marks.
    """
    begin, end = f"<!-- measured: python -m {program} --write -->", "<!-- end of measured -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise ValueError(f"{document}: has no line {begin}")
    old, _, after = rest.partition(end)
    tables = {block.partition("\n")[0]: block for block in old.split("### ")[1:]}
    for section in sections:
        table = markdown([section.header, *section.rows])
        tables[section.title] = "\n".join((section.title, "", table, "", machine, "", ""))
    measured = "".join(f"### {table}" for table in tables.values())
    write_text(document, f"{before}{begin}\n\n{measured}{end}{after}")
