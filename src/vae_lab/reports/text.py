"""Strings from runs, perhaps a stranger's, as parts of a page, a table of numbers, a picture and a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from vae_lab.reports.varied import as_number

MAX_LETTERS, MAX_LINES = 48, 3
"""Letters in one line of a label in a picture, and lines of one label."""
_MARKUP = re.compile(r"([\\`*\[\]<>|&$!~@])|(?<=http)(:)|(?<=https)(:)|(?<=www)(\.)", re.IGNORECASE)


def printable(text: str) -> str:
    """Returns a string in one line, without what would move a terminal's cursor or cannot be encoded."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def markdown(text: str) -> str:
    """Returns a string such that a Markdown page shows it as it is: no HTML, no links, no pictures, no table cells."""
    return _MARKUP.sub(lambda match: "\\" + match.group(0), printable(text))


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of a Markdown page from cells that are Markdown; the first row has the titles."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], ("---",) * len(rows[0]), *rows[1:]))


def code(text: str) -> str:
    """Returns a string as code of a Markdown page, whatever backticks are in it."""
    text = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def cell(text: str) -> str:
    """Returns a string such that a spreadsheet takes it for text or a number, never for a formula."""
    text = printable(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and as_number(text) is None else text


def label(text: str, letters: int = MAX_LETTERS) -> str:
    """Returns a string such that a picture shows it as it is, on a few lines."""
    lines = textwrap.wrap(printable(text), letters) or [""]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"{lines[MAX_LINES - 1][: letters - 1]}…"]
    shown = "\n".join(lines).replace("$", r"\$")  # matplotlib would read what is between two $ as a formula
    return f" {shown}" if shown.startswith("_") else shown  # it hides a label that starts so
