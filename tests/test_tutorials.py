"""Tests the tutorials: each runs, and its page has the text and the code of its script."""

from __future__ import annotations

import os
import re
import runpy
import time
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
MAX_CPU_SECONDS = 120


def cells(script: str) -> list[str]:
    """Returns the cells of a script in the percent format as a page shows them."""
    found = []
    for kind, body in re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", script, re.MULTILINE | re.DOTALL):
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE) if kind else f"```python\n{body.strip()}\n```"
        found.append(text.strip())
    return found


def test_there_are_eight_tutorials() -> None:
    assert len(SCRIPTS) == 8


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_page_has_the_text_of_its_script(script: Path) -> None:
    page = script.with_suffix(".md").read_text(encoding="utf-8")
    expected = cells(script.read_text(encoding="utf-8"))
    assert [cell for cell in expected if cell not in page] == [], f"make tutorials ARGS={script.stem}"
    assert page.count("```python") == sum(cell.startswith("```python") for cell in expected)
    assert re.search(r"about (\d+ seconds|a minute)", page)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_tutorial_runs(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    before, start = os.times(), time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matplotlib's, that agg shows no windows
        names = runpy.run_path(str(script))
    seconds = sum(os.times()[:4]) - sum(before[:4])
    print(f"{script.stem}: {seconds:.0f} CPU seconds, {time.monotonic() - start:.0f} in all")
    if "plt" in names:
        names["plt"].close("all")
    assert seconds < MAX_CPU_SECONDS
