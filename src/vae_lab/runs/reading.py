"""Runs as their folders show them: what was set, how it ended, and its numbers."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeGuard

from vae_lab.errors import RunError
from vae_lab.nested import shown, value_at
from vae_lab.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    EVALUATION,
    FAILURE,
    FIGURES,
    LOGGERS,
    METRICS,
    PRUNED,
    is_export,
    why_no_run,
)
from vae_lab.runs.untrusted import parse_yaml, read_json, read_yaml

_MISSING = object()
_EVALUATED = {"nll": "nll", "nll_error": "nll_error", "nll_samples": "num_samples"}
"""Metrics that are read from evaluation.json, and their names there."""
State = Literal["finished", "pruned", "failed", "unfinished", "unreadable"]


@dataclass(frozen=True)
class RunRecord:
    """Record of a run: what its folder says of it.

    Attributes:
        folder: run folder.
        state: finished with metrics.json, pruned with pruned.json, failed with failure.json, unfinished with none of
            them (it still trains, or its process was ended), or unreadable.
        reason: reason of a failure or of pruning, or what cannot be read, in one line.
        config: whole config; empty for a job that failed before it began.
        overrides: words of the command line, ``key=value`` each; None if they are not recorded.
        metrics: metrics by name, in nats per example: those of the test set, ``nll``, ``nll_error`` and
            ``nll_samples``, the number of importance samples, of evaluation.json, and ``training_seconds``.
        record: content of metrics.json; empty for a run that is not finished.
        other_evaluations: names of the files of evaluations of other splits, data or weights, whose numbers are not
            among the metrics.
    """

    folder: Path
    state: State
    reason: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    other_evaluations: tuple[str, ...] = ()

    @property
    def job(self) -> frozenset[str] | None:
        """The overrides in any order: two runs with the same ones are the same job of a sweep."""
        return None if self.overrides is None else frozenset(self.overrides)

    @property
    def seed(self) -> str:
        """Seed of the run, as a string."""
        return self.setting("seed")

    @property
    def selection(self) -> str:
        """Set by which best.ckpt was chosen: "test set" or "validation set"; '' if the run does not say."""
        return str(self.record.get("selection", ""))

    @property
    def fingerprint(self) -> str:
        """Digest of the test set; '' if the run does not say."""
        return str(value_at(self.record, "fingerprints.test") or "")

    @property
    def overridden(self) -> dict[str, str]:
        """Keys that were set on the command line, with their values as the config would show them."""
        pairs = (word.lstrip("+~").partition("=") for word in self.overrides or ())
        return {key: _plain(value) for key, _, value in pairs}

    def setting(self, key: str) -> str:
        """Returns a key's value on the command line, or a group's option, as a string; '' if the run does not say."""
        choice = value_at(self.config, f"choices.{key}")
        if choice is not None:
            return shown(choice)
        node = value_at(self.config, key, _MISSING)
        if node is _MISSING:
            return self.overridden.get(key, "")
        return shown(node.get("_target_", "")) if isinstance(node, Mapping) else shown(node)


def find_runs(folder: Path) -> list[RunRecord]:
    """Returns every run in ``folder`` and below it, in the order of their paths; no exported runs, which are copies.

    Links to folders are followed; what several paths lead to is found once.
    """
    found, root = [], folder.resolve()
    seen = {root, *root.parents}
    for path, subfolders, files in os.walk(folder, followlinks=True):
        subfolders[:] = _unseen(Path(path), subfolders, seen, of_run=CONFIG in files)
        if not {CONFIG, METRICS, FAILURE}.isdisjoint(files) and not is_export(Path(path)):
            try:
                run = read_run(Path(path))
            except Exception as error:  # one broken run must not end the report of all others
                run = RunRecord(Path(path), "unreadable", f"{type(error).__name__}: {error}"[:150])
            if run is not None:
                found.append(run)
    return found


def _unseen(path: Path, names: Iterable[str], seen: set[Path], of_run: bool) -> list[str]:
    """Returns the subfolders to look into, links last, and adds them to those that were ``seen``."""
    unseen = []
    for name in sorted(names, key=lambda name: ((path / name).is_symlink(), name)):
        real = (path / name).resolve()
        if not (name.startswith(".") or real in seen or (of_run and name in (CHECKPOINTS, FIGURES))):
            seen.add(real)
            unseen.append(name)
    return unseen


def read_run(folder: Path) -> RunRecord | None:
    """Returns the run in a folder; None if there is none."""
    problems: list[str] = []
    config = _read(folder / CONFIG, read_yaml, problems)
    failure = _read(folder / FAILURE, read_json, problems)
    record = _read(folder / METRICS, read_json, problems)
    pruned = {} if record else _read(folder / PRUNED, read_json, problems)
    if not failure and not record and not problems and not {"model", "data"} <= set(config):
        return None
    if record and not problems:
        _expect(folder / CONFIG, bool(config), "missing", problems)
        _expect(folder / METRICS, isinstance(record.get("metrics"), Mapping), "no metrics in it", problems)
    ends: dict[State, Any] = {"failed": failure, "finished": record, "pruned": pruned}
    state: State = "unreadable" if problems else next((end for end, found in ends.items() if found), "unfinished")
    metrics = _metrics(folder, record, problems) if state == "finished" else {}
    overrides = failure.get("overrides", config.get("overrides"))
    if overrides is not None and not isinstance(overrides, list):
        problems.append(f"{CONFIG}: overrides are not a list")
        state, overrides = "unreadable", None
    return RunRecord(
        folder,
        state,
        "; ".join(problems) or str((failure or pruned).get("reason", "")),
        config,
        None if overrides is None else tuple(map(str, overrides)),
        metrics,
        record,
        tuple(sorted(path.name for path in folder.glob("evaluation_*.json"))),
    )


def saved_config(run: Path) -> dict[str, Any]:
    """Returns the config.yaml of a run that can be resumed.

    Raises:
        RunError: if there is none, or none that says how the run was started.
    """
    if is_export(run):
        remedy = f"{shlex.quote(f'init_from={run}')} starts a new run from its weights"
        raise RunError(f"{run}: an exported run, which has no optimizer and no command line; {remedy}")
    try:
        config = read_yaml(run / CONFIG)
    except OSError as error:
        raise RunError(f"resume={run}: {why_no_run(run, 'resume')}") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    if not isinstance(config, dict) or not isinstance(config.get("overrides"), list):
        raise RunError(f"{run / CONFIG}: does not say how the run was started; overrides are missing")
    return config


def record_of(path: Path) -> dict[str, Any]:
    """Returns a record such as metrics.json; empty if the file is missing or broken."""
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def is_of_other_weights(evaluation: Mapping[str, Any], metrics: Mapping[str, Any]) -> bool:
    """True if an evaluation is of weights of another step than metrics.json; False if one of them does not say."""
    return None not in (steps := (evaluation.get("step"), metrics.get("step"))) and steps[0] != steps[1]


def recorded_ids(run: Path) -> dict[str, str]:
    """Returns the id of the run at each tracking server, by the class of its logger; none without loggers.json.

    Raises:
        RunError: for a file of another form.
    """
    remedy = "delete it, and the run gets a new id there"
    try:
        ids = read_json(run / LOGGERS)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{error}; {remedy}") from error
    if not isinstance(ids, dict) or not all(isinstance(value, str) for value in ids.values()):
        raise RunError(f"{run / LOGGERS}: must hold one id for each logger; {remedy}")
    return ids


def _plain(value: str) -> str:
    """Returns the value of an override as the config would show it: False as false, 1e-3 as 0.001."""
    with contextlib.suppress(ValueError):
        value = shown(parse_yaml(value))
    with contextlib.suppress(ValueError):
        return value if value.lstrip("-").isdigit() else shown(float(value))
    return value


def _read(path: Path, read: Callable[[Path], Any], problems: list[str]) -> Mapping[str, Any]:
    """Returns the content of a file; nothing if it is missing or, with a line for ``problems``, broken."""
    try:
        content = read(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(" ".join(str(error).removeprefix(f"{path.parent}{os.sep}").split())[:150])
        return {}
    _expect(path, isinstance(content, Mapping) and bool(content), "not the record of a run", problems)
    return content if isinstance(content, Mapping) else {}


def _expect(path: Path, fulfilled: bool, otherwise: str, problems: list[str]) -> None:
    if not fulfilled:
        problems.append(f"{path.name}: {otherwise}")


def _metrics(folder: Path, record: Mapping[str, Any], problems: list[str]) -> dict[str, float]:
    evaluation = _read(folder / EVALUATION, read_json, problems)
    if is_of_other_weights(evaluation, record):
        steps = f"of step {evaluation['step']}, {METRICS} of step {record['step']}"
        problems.append(f"{EVALUATION}: left out, because it is {steps}; evaluate again")
        evaluation = {}
    files = {
        METRICS: {name.removeprefix("test/"): value for name, value in record["metrics"].items()},
        EVALUATION: {name: evaluation[key] for name, key in _EVALUATED.items() if key in evaluation},
    }
    found = {}
    for file, values in files.items():
        for name, value in values.items():
            if _is_number(value):
                found[name] = float(value)
            else:
                problems.append(f"{file}: {name} is not a finite number ({shown(value)[:30]})")
    seconds = record.get("training_seconds")
    return found | ({"training_seconds": float(seconds)} if _is_number(seconds) else {})


def _is_number(value: Any) -> TypeGuard[float]:
    """True for a finite number; an integer of hundreds of digits is JSON, too, but not a float."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000
