"""python -m benchmarks.results: renders docs/results.md, published figures beside ours, from docs/results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.tables import markdown
from vae_lab.errors import RunError
from vae_lab.files import write_text

FOLDER = Path(__file__).parents[1] / "docs" / "results"
HEADER = ("experiment", "published", "here", "difference", "samples", "seed", "training", "machine")
EXPLAINED_ABOVE = 0.5
"""Nats by which ours may be worse than published; a larger shortfall needs a note."""


def write_results(folder: Path) -> Path:
    """Renders ``folder``/published.yaml with the evaluations beside it into the page of the same name.

    ``folder``/<experiment>.json is the evaluation.json of a run of that experiment; notes.md is appended as it is.

    Args:
        folder: folder of the records, such as docs/results with the page docs/results.md.

    Returns:
        Path of the page.

    Raises:
        RunError: for a folder without published.yaml, a file that is not an evaluation, an evaluation worse than
            published by more than `EXPLAINED_ABOVE` nats without a note, or an experiment neither run nor with its
            expected time.
    """
    page = folder.with_suffix(".md")
    write_text(page, render_results(folder))
    return page


def render_results(folder: Path) -> str:
    """Returns the text of the page; see `write_results`."""
    if not (folder / "published.yaml").is_file():
        raise RunError(f"{folder}: no published.yaml there, which names the published figures")
    experiments = yaml.safe_load((folder / "published.yaml").read_text(encoding="utf-8"))
    pairs = [(entry, _record(folder / f"{entry['record']}.json")) for entry in experiments]
    run = [(entry, record) for entry, record in pairs if record is not None]
    scored = [pair for pair in run if pair[0]["metric"] == "mig"]
    others = [pair for pair in run if pair not in scored]
    parts = [INTRODUCTION, markdown([HEADER, *(_row(*pair) for pair in others)])]
    if scored:
        parts += [DISENTANGLEMENT, markdown([SCORES_HEADER, *(_scores(*pair) for pair in scored)])]
    parts += [_note(*pair) for pair in run]
    notes = folder / "notes.md"
    if notes.is_file():
        parts.append(notes.read_text(encoding="utf-8").strip())
    not_run = [_not_run(entry) for entry, record in pairs if record is None]
    if not_run:
        parts += [NOT_RUN, "\n".join(not_run)]
    return "\n\n".join(part for part in parts if part) + "\n"


INTRODUCTION = """# Results

Published figures, run here by one command each: `python -m vae_lab.train experiment=NAME`, then
`python -m vae_lab.evaluate run=FOLDER`. This page is rendered by `python -m benchmarks.results` from the
evaluations that are kept in [docs/results](results), never typed. Figures are in nats per example, ours with the
standard error over the examples (not over trainings); lower is better, unless a row says otherwise."""


DISENTANGLEMENT = """**Disentanglement on `sprites`**: scores from 0 to 1, higher is better, and the test ELBO in nats.
The published ones are of all 737,280 images of dSprites."""

NOT_RUN = """## Not run yet

Set-ups that are ready, with the published figure (of disentanglement the MIG) and the time that the training is
expected to take on one quiet core: measured seconds per step times the steps."""

SCORES = ("mig", "sap", "dci_disentanglement", "factor_vae_score")
SCORES_HEADER = ("experiment", "published MIG", "MIG", "SAP", "DCI", "FactorVAE", "ELBO", "seed", "training")


def _record(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(record, dict) or "nll" not in record:
        raise RunError(f"{path}: not an evaluation.json; nll is missing")
    return record


def _row(entry: Mapping[str, Any], record: Mapping[str, Any]) -> Sequence[str]:
    published = f"{entry['published']} ({entry['source']})"
    value = _value(entry, record)
    error = record.get(f"{entry['metric']}_error")
    run = record["run"]
    return (
        _name(entry),
        published,
        f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}",
        f"{value - entry['published']:+.2f}",
        str(record["num_samples"]),
        str(run["seed"]),
        f"{run['epochs']} epochs, {run['training_seconds'] / 60:.0f} min",
        _machine(record),
    )


def _not_run(entry: Mapping[str, Any]) -> str:
    if "expected" not in entry:
        raise RunError(f"{entry['record']}: not run, and published.yaml does not say how long it is expected to take")
    published = f"published {entry['published']} ({entry['source']})"
    return f"- {_name(entry)}; {published}; expected to take {entry['expected']}"


def _scores(entry: Mapping[str, Any], record: Mapping[str, Any]) -> Sequence[str]:
    published = f"{entry['published']:.2f} ({entry['source']})"
    scores = (f"{record[name]:.2f}" for name in SCORES)
    training = f"{record['run']['epochs']} epochs, {record['run']['training_seconds'] / 60:.0f} min"
    return (_name(entry), published, *scores, f"{record['elbo']:.2f}", str(record["run"]["seed"]), training)


def _name(entry: Mapping[str, Any]) -> str:
    schedule = f", {entry['schedule']}" if "schedule" in entry else ""
    return f"{entry['title']}: `{entry['command']}`{schedule}"


def _value(entry: Mapping[str, Any], record: Mapping[str, Any]) -> float:
    return float(record[entry["metric"]] * entry.get("sign", 1))


def _machine(record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    return f"{machine.get('gpu') or 'CPU'}, {machine['cpus']} cores"


def _note(entry: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    note = entry.get("note", "").strip()
    worse = (_value(entry, record) - entry["published"]) * (-1 if entry.get("higher_is_better") else 1)
    if worse > EXPLAINED_ABOVE and not note:
        raise RunError(f"{entry['record']}: {worse:.2f} nats worse than published, and no note says why")
    return f"**{entry['title']}.** {note}" if note else ""


if __name__ == "__main__":
    print(f"written to   {write_results(FOLDER)}")
