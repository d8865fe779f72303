"""python -m benchmarks.gpu: everything that a GPU must show, in one call of ten minutes on a bare machine.

Parts run in order of value: correctness, speed beside bare loops, rows of docs/results.md. The JSON of --out is written
whole after each of them, so that a run that is killed keeps what it has. With --write a JSON goes into
docs/performance.md and docs/results; nothing is measured then. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from benchmarks import gpu_correctness, gpu_report, gpu_resume, gpu_rows, gpu_speed
from benchmarks.bench import Bench, Part
from vae_lab.errors import RunError
from vae_lab.files import write_text
from vae_lab.runs.provenance import provenance
from vae_lab.training import prepare_process

PARTS: tuple[Part, ...] = (*gpu_correctness.PARTS, *gpu_resume.PARTS, *gpu_speed.PARTS, *gpu_rows.PARTS)
LIMIT = 570.0
"""Seconds: a call of ten minutes, with time left to end."""


class OutOfTimeError(BaseException):
    """The limit was reached within a part; not an Exception, so that no handler continues after it."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Context manager that raises OutOfTimeError when its time is over."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.1, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(part: Part, bench: Bench) -> dict[str, Any]:
    """Returns the result of a part as plain data: status, seconds, and its return value or the reason of a failure."""
    left = bench.seconds_left()
    if left < (0 if bench.tiny else part.seconds):
        return {"status": "skipped", "reason": f"needs about {part.seconds:.0f} s, {max(0, left):.0f} s are left"}
    started = time.monotonic()
    try:
        with ended_after(left):
            result = part.run(bench)
        status = "not applicable" if "not_applicable" in result else "done"
        found = {"status": status, "result": result}
    except OutOfTimeError:
        found = {"status": "failed", "error": "the limit was reached within this part"}
    except (Exception, SystemExit) as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        found = {"status": "failed", "error": line, "traceback": traceback.format_exc()}
    return {**found, "seconds": round(time.monotonic() - started, 1)}


def measure(parts: Sequence[Part], bench: Bench, out: Path, limit: float, commit: str | None = None) -> dict[str, Any]:
    """Runs the parts one after another, writes the JSON after each and prints a line for it.

    Args:
        parts: the parts to run.
        bench: the device, the sizes and the time that is left.
        out: the JSON.
        limit: seconds of the whole.
        commit: commit of the code; None: git is asked.
    """
    found: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": bench.device.type,
        "tiny": bench.tiny,
        "limit_seconds": limit,
        **provenance(),
        "parts": {},
    }
    if commit:
        found["git"] = {"commit": commit, "changed": commit.endswith("-changed")}
    for part in parts:
        found["parts"][part.name] = {"group": part.group, **outcome(part, bench)}
        found["seconds"] = round(limit - bench.seconds_left(), 1)
        write_text(out, json.dumps(found, indent=2) + "\n")
        print(f"{found['seconds']:6.1f} s  {part.name}: {summary(found['parts'][part.name])}", flush=True)
    return found


def summary(part: dict[str, Any]) -> str:
    result = part.get("result", {})
    holds = {True: ", holds", False: ", DOES NOT HOLD", None: ""}[result.get("holds")]
    why = part.get("error") or part.get("reason") or result.get("not_applicable")
    return f"{part['status']}{holds}" + (f": {why}" if why else f" in {part['seconds']} s")


def went_well(found: dict[str, Any]) -> bool:
    """True if no part failed and all checks passed."""
    return all(
        part["status"] != "failed" and part.get("result", {}).get("holds", True) for part in found["parts"].values()
    )


def chosen(names: Sequence[str] | None) -> list[Part]:
    """Returns parts by their names or groups; all without names.

    Raises:
        SystemExit: for a name that is neither.
    """
    known = {part.name for part in PARTS} | {part.group for part in PARTS}
    if wrong := [name for name in names or () if name not in known]:
        sys.exit(f"error: --only {' '.join(wrong)}: no such part; choose from {', '.join(sorted(known))}")
    return [part for part in PARTS if not names or part.name in names or part.group in names]


def device_of(choice: str) -> torch.device:
    """Returns the device that is asked for; with auto, a GPU if there is one.

    Raises:
        SystemExit: for cuda without a GPU.
    """
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        sys.exit("error: --device cuda: PyTorch sees no GPU; --device cpu --tiny tries the script")
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def main(words: Sequence[str] | None = None) -> None:
    """Measures into a JSON, or writes one into the documents."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds after which it ends itself (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="names or groups: correctness, speed, rows")
    parser.add_argument("--tiny", action="store_true", help="sizes that show that it runs, and measure nothing")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="JSON to write (%(default)s)")
    parser.add_argument("--commit", help="of the code, on a machine without git; the JSON records it")
    parser.add_argument("--write", type=Path, metavar="JSON", help="write this JSON into the documents instead")
    options = parser.parse_args(words)
    if options.write:
        try:
            gpu_report.write(options.write)
        except (ValueError, OSError, RunError) as error:
            sys.exit(f"error: --write {options.write}: {error}")
        return
    parts, device = chosen(options.only), device_of(options.device)
    # What deterministic training needs, before cuBLAS is first called; a Hopper chip has it by default.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    prepare_process(0)
    bench = Bench(device, options.tiny, lambda: options.limit - (time.monotonic() - started))
    found = measure(parts, bench, options.out, options.limit, options.commit)
    print(f"written to   {options.out}")
    sys.exit(0 if went_well(found) else 1)


if __name__ == "__main__":
    main()
