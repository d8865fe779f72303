"""Tests three rules of prose: docstrings open with a verb, entries can be read alone, and some phrases are banned."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "configs", "docs", "examples", "benchmarks", "tests")
FILES = [*(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))), *sorted(ROOT.glob("*.md"))]
READ = [path for path in FILES if path.suffix in (".py", ".md", ".yaml") and path != Path(__file__).resolve()]
PYTHON = [path for path in READ if path.suffix == ".py"]

OPENING = re.compile(r"(What|Whether|How|Where|Which|Of|As|It|They)\b")
ENTRY = re.compile(r"^ +[a-z_]\w*(, \w+)*: (of|as|in|from|between) .*", re.MULTILINE)
BANNED = re.compile(
    r"without a word|as if (it|they) never|as if nothing|(?<!there )\bis no (?!longer|more|other|such)|\bshall\b"
    r"|Should an? |in each place|\ba text\b|nats an |(bits|images|examples|seconds|ms) a (dim|pixel|second|step|batch)"
    r"|numbers that are no |for nothing|nobody|g[ai]ve[ns]? (it|the run) up|taken? up again|wishes|\bforgets\b|stirs?\b"
    r"|what it (knows|says)|no matter what|looked at together|a habit",
    re.IGNORECASE,
)


@cache
def docstrings(path: Path) -> list[str]:
    """Returns the docstrings of a file: of modules, classes and functions, and those below attributes."""
    return list(_docstrings(path))


def _docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for child in node.body if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) else []:
            text = getattr(getattr(child, "value", None), "value", None)
            if isinstance(child, ast.Expr) and isinstance(text, str):
                yield text


@pytest.mark.parametrize("rule", [OPENING, ENTRY], ids=["opening", "entry"])
def test_docstrings_open_with_a_verb_and_their_entries_stand_alone(rule: re.Pattern[str]) -> None:
    search = rule.match if rule is OPENING else rule.search
    wrong = {f"{path.relative_to(ROOT)}: {text[:70]!r}" for path in PYTHON for text in docstrings(path) if search(text)}
    assert not sorted(wrong)


def test_no_banned_phrase() -> None:
    lines = [(path, line) for path in READ for line in path.read_text(encoding="utf-8").splitlines()]
    assert not [f"{path.relative_to(ROOT)}: {line.strip()}" for path, line in lines if BANNED.search(line)]
