"""docs/results.md says what the evaluations beside it say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.results import FOLDER, render_results, write_results
from vae_lab.errors import RunError


def kept(folder: Path, entry: dict[str, Any], **result: float) -> Path:
    """A folder with one published figure and, if there is a result, the evaluation of it."""
    folder.mkdir()
    whole = {
        "record": "one",
        "title": "One",
        "command": "experiment=one",
        "metric": "nll",
        "source": "A. Author",
        "expected": "40 min",
    } | entry
    (folder / "published.yaml").write_text(yaml.safe_dump([whole]))
    if result:
        run = {"name": "one", "seed": 7, "epochs": 3, "training_seconds": 120.0}
        machine = {"cpus": 2, "gpu": None}
        (folder / "one.json").write_text(
            json.dumps({"nll_error": 0.25, "num_samples": 50, "run": run, "machine": machine, **result})
        )
    return folder


def test_a_row_is_what_was_measured(tmp_path: Path) -> None:
    text = render_results(kept(tmp_path / "results", {"published": 86.76}, nll=87.126))
    row = next(line for line in text.splitlines() if line.startswith("| One"))
    assert "| 87.13 ± 0.25 | +0.37 | 50 | 7 | 3 epochs, 2 min | CPU, 2 cores |" in row


def test_a_bar_in_a_title_is_no_column(tmp_path: Path) -> None:
    text = render_results(kept(tmp_path / "results", {"published": 86.76, "title": "p(z|y)"}, nll=86.0))
    assert "| p(z\\|y): `experiment=one` |" in text


def test_scores_stand_side_by_side(tmp_path: Path) -> None:
    entry = {"published": 0.21, "metric": "mig", "higher_is_better": True}
    scores = {"mig": 0.123, "sap": 0.02, "dci_disentanglement": 0.3, "factor_vae_score": 0.8, "elbo": -30.0}
    lines = render_results(kept(tmp_path / "results", entry, nll=29.0, **scores)).splitlines()
    row = next(line for line in lines if line.startswith("| One"))
    assert "| 0.21 (A. Author) | 0.12 | 0.02 | 0.30 | 0.80 | -30.00 | 7 | 3 epochs, 2 min |" in row
    assert lines.index(row) > lines.index(next(line for line in lines if "Disentanglement" in line))
    assert "- One: `experiment=one`; published 0.21 (A. Author)" in render_results(kept(tmp_path / "other", entry))


def test_what_was_not_run_is_in_a_list_of_its_own(tmp_path: Path) -> None:
    table, _, listed = render_results(kept(tmp_path / "results", {"published": 86.76})).partition("## Not run yet")
    assert "One" not in table
    assert "- One: `experiment=one`; published 86.76 (A. Author); expected to take 40 min" in listed
    assert "Not run" not in render_results(kept(tmp_path / "other", {"published": 86.76}, nll=86.0))


def test_what_was_not_run_says_how_long_it_would_take(tmp_path: Path) -> None:
    folder = kept(tmp_path / "results", {"published": 86.76})
    (entry,) = yaml.safe_load((folder / "published.yaml").read_text())
    del entry["expected"]
    (folder / "published.yaml").write_text(yaml.safe_dump([entry]))
    with pytest.raises(RunError, match=r"one: not run, and published\.yaml does not say how long"):
        render_results(folder)


def test_a_large_shortfall_needs_an_explanation(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"one: 1\.24 nats worse than published, and no note says why"):
        render_results(kept(tmp_path / "a", {"published": 86.76}, nll=88.0))
    assert "**One.** Too short." in render_results(
        kept(tmp_path / "b", {"published": 86.76, "note": "Too short."}, nll=88.0)
    )
    higher = {"published": 396.8, "sign": -1, "higher_is_better": True}
    assert "| 396.50 ± 0.25 | -0.30 |" in render_results(kept(tmp_path / "c", higher, nll=-396.5))
    with pytest.raises(RunError, match="nats worse"):
        render_results(kept(tmp_path / "d", higher, nll=-390.0))


def test_broken_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no published\.yaml"):
        write_results(tmp_path)
    folder = kept(tmp_path / "results", {"published": 1.0}, nll=1.0)
    (folder / "one.json").write_text("{")
    with pytest.raises(RunError, match="not readable as JSON"):
        render_results(folder)
    (folder / "one.json").write_text("{}")
    with pytest.raises(RunError, match=r"not an evaluation\.json"):
        render_results(folder)


def test_the_page_of_this_repository_is_rendered() -> None:
    assert FOLDER.with_suffix(".md").read_text(encoding="utf-8") == render_results(FOLDER)
