"""Writes what `python -m benchmarks.gpu` measured into docs/performance.md and docs/results."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_rows import PUBLISHED, schedules
from benchmarks.results import render_results, write_results
from benchmarks.tables import DOCUMENT, Section, print_sections, shown_quartiles, write_sections
from vae_lab.files import write_text

Result = Mapping[str, Any]
Rows = list[tuple[str, ...]]


def write(path: Path, document: Path = DOCUMENT, results: Path = PUBLISHED.parent) -> None:
    """Writes the GPU's tables into ``document`` and its rows, where they are better, into ``results``.

    Raises:
        ValueError: for a JSON that was not measured on a GPU with full sizes.
        RunError: for rows that fall short of the published value without a note; ``results`` stays as it was.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("tiny", True) or found.get("device") != "cuda":
        raise ValueError("measured with --tiny or without a GPU; such numbers are not written into documents")
    sections = sections_of(found["parts"])
    print_sections(sections)
    write_sections("benchmarks.gpu", sections, machine(found), document)
    print(f"written to   {document}")
    rows = {name: of(part) for name, part in found["parts"].items() if part["group"] == "rows"}
    write_rows(
        {name: row | {"record": row["record"] | {"git": found["git"]}} for name, row in rows.items() if row}, results
    )


def machine(found: Result) -> str:
    versions = found["versions"]
    git = found["git"] or {"commit": "unknown", "changed": False}
    commit = git["commit"].removesuffix("-changed")[:12] + " with changes" * git["changed"]
    return (
        f"{found['machine']['gpu']}, {found['machine']['cpus']} CPU cores; Python {found['machine']['python']}, torch "
        f"{versions['torch']}, Lightning {versions['pytorch-lightning']}; commit {commit}; {found['started'][:10]}, "
        f"{found['seconds']:.0f} s in all."
    )


def sections_of(parts: Mapping[str, Result]) -> list[Section]:
    """Tables of all parts that were begun; one that has no result says why."""

    def rows(name: str, header: Sequence[str], make: Callable[[Result], Rows]) -> Rows:
        if name not in parts:
            return []
        result = of(parts[name])
        return [(name, why(parts[name]), *[""] * (len(header) - 2))] if result is None else make(result)

    trained = [
        name for name, part in parts.items() if part["group"] == "speed" and name not in ("evaluation", "pythae")
    ]
    checks = [row for name, lines in CHECKS.items() for row in rows(name, CHECK_HEADER, partial(check_rows, lines))]
    loops = [row for name in trained for row in rows(name, TRAINING_HEADER, training_rows)]
    evaluation = rows("evaluation", EVALUATION_HEADER, evaluation_rows)
    sections = [
        Section("Correctness on a GPU", CHECK_HEADER, checks),
        Section("Training on a GPU beside bare loops", TRAINING_HEADER, loops),
        Section("Evaluation on a GPU, 5000 samples per image", EVALUATION_HEADER, evaluation),
        Section(
            "784-256-2 at batch 128 on a GPU beside pythae", PYTHAE_HEADER, rows("pythae", PYTHAE_HEADER, pythae_rows)
        ),
    ]
    return [section for section in sections if section.rows]


def of(part: Result | None) -> Result | None:
    """The result of a part that was measured."""
    return part["result"] if part is not None and part["status"] == "done" else None


def why(part: Result) -> str:
    """Why a part has no result."""
    reason = part.get("error") or part.get("reason") or part["result"]["not_applicable"]
    return f"not measured ({part['status']}: {reason})"


def worst(*keys: str) -> Callable[[Result], str]:
    """The largest of the relative errors of all models under the keys."""
    return lambda result: f"{max(max(row[key] for key in keys) for row in result['relative_errors'].values()):.1e}"


def waiting(result: Result) -> str:
    places = {name: row["waits"] for name, row in result["settings"].items() if row["waits"]}
    return "; ".join(f"{name}: {', '.join(found)}" for name, found in places.items()) or "none"


Lines = Mapping[str, tuple[Callable[[Result], str], str]]
"""Checks of a part: a description of the result, and the name of the bound if there is one."""

CHECKS: dict[str, Lines] = {
    "captured": {
        "weights after 40 captured steps against plain ones, two compiled, too": (
            worst("difference"),
            "difference",
        ),
    },
    "golden": {
        "float32 against float64 on the CPU, six models: first loss": (worst("first_loss"), "first_loss"),
        "the same: losses of 20 steps": (worst("losses"), "losses"),
        "the same: first gradient": (worst("gradient"), "gradient"),
    },
    "precisions": {"test ELBO in bf16 and fp16 against float32": (worst("bfloat16", "float16"), "elbo")},
    "fp16": {
        "steps of fp16, and those skipped": (lambda found: f"{found['steps']:,}, {found['skipped']} skipped", ""),
    },
    "waits": {"places at which a step waits for the device": (waiting, "")},
    "residence": {"batches come from": (lambda found: ", ".join(found["devices"]), "")},
    "resume": {
        "stopped and resumed, deterministic": (
            lambda found: "the same to the last bit" if found["deterministic_is_bitwise"] else "differs",
            "",
        ),
        "stopped and resumed, by default: relative difference": (
            lambda found: f"{found['default_relative_difference']:.1e}",
            "default_relative_difference",
        ),
    },
}


def check_rows(lines: Lines, result: Result) -> Rows:
    holds = "yes" if result["holds"] else "no"
    bounds = result.get("bounds", {})
    return [
        (check, text(result), f"{bounds[bound]:.0e}" if bound else "", holds) for check, (text, bound) in lines.items()
    ]


CHECK_HEADER = ("check", "found", "bound", "holds")
TRAINING_HEADER = (
    "network",
    "precision",
    "eager loop, images/s",
    "CUDA graph, images/s",
    "vae_lab captured, images/s",
    "captured and compiled, images/s",
    "plain (compile=false), images/s",
    "captured, to the CUDA graph",
    "captured and compiled, to the CUDA graph",
    "captured, to the eager loop",
    "plain, to the eager loop",
    "memory of a plain step",
)
EVALUATION_HEADER = ("network", "evaluation, TFLOP/s", "matrix product, TFLOP/s", "ratio", "images/s")
PYTHAE_HEADER = ("program", "images/s", "vae_lab is faster by")


def training_rows(result: Result) -> Rows:
    captured, plain = result["compile"]["graph"], result["compile"]["false"]
    compiled = result["compile"].get("true")
    loops = [f"{captured['images_per_second'][loop]:,.0f}" for loop in ("eager", "cuda_graph")]
    ours = [f"{way['images_per_second']['vae_lab']:,.0f}" if way else "" for way in (captured, compiled, plain)]
    ways = ((captured, "cuda_graph"), (compiled, "cuda_graph"), (captured, "eager"), (plain, "eager"))
    ratios = [ratio(way, loop) if way else "" for way, loop in ways]
    memory = f"{plain['peak_bytes'] / 1e6:.0f} MB"
    return [(result["name"], result["precision"], *loops, *ours, *ratios, memory)]


def ratio(measured: Result, loop: str) -> str:
    found = measured["ratio_to"].get(loop)
    return shown_quartiles(*found) if found else ""


def evaluation_rows(result: Result) -> Rows:
    return [
        (
            name,
            f"{row['flops'] / 1e12:.1f}",
            f"{row['matrix_flops'] / 1e12:.1f}",
            f"{row['ratio']:.2f}",
            f"{row['images_per_second']:,.0f}",
        )
        for name, row in result["networks"].items()
    ]


def pythae_rows(result: Result) -> Rows:
    speeds = result["images_per_second"]
    return [
        ("vae_lab", f"{speeds['vae_lab']:,.0f}", ""),
        ("pythae 0.1.2", f"{speeds['pythae']:,.0f}", f"{result['ratio']:.1f}"),
    ]


def write_rows(rows: Mapping[str, Result], results: Path) -> None:
    """Puts the records of rows beside published.yaml, where there is none or a worse one, and renders the page."""
    better = {name: row for name, row in rows.items() if improves(row, results / f"{name}.json")}
    if not better:
        return
    with tempfile.TemporaryDirectory() as folder:  # a page that is refused must not leave records behind
        trial = Path(folder) / "results"
        shutil.copytree(results, trial)
        keep(better, trial)
        render_results(trial)
    keep(better, results)
    print(f"written to   {write_results(results)}: {', '.join(better)}")
    for line in schedules(better):
        print(f"to do        {results / 'published.yaml'}: {line}")


def improves(row: Result, path: Path) -> bool:
    """True if a record is better than the one that is kept."""
    return not path.is_file() or row["record"]["nll"] < json.loads(path.read_text(encoding="utf-8"))["nll"]


def keep(rows: Mapping[str, Result], folder: Path) -> None:
    for name, row in rows.items():
        write_text(folder / f"{name}.json", json.dumps(row["record"], indent=2) + "\n")
