"""Compares the config of a run that goes on with that of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vae_lab.cli.by_data import is_auto, keep_found, set_likelihood
from vae_lab.cli.compose import Composition, config_dir, groups
from vae_lab.cli.repeated_words import moved_choices
from vae_lab.errors import RunError
from vae_lab.files import absolute
from vae_lab.nested import key_around, key_of, leaves, shown, value_at
from vae_lab.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    LAST,
    UNTRAINED,
    first_result,
    is_run,
    last_checkpoint,
    relative_to_run,
)
from vae_lab.runs.reading import saved_config
from vae_lab.runs.sweep_folder import is_sweep

_MAY_DIFFER = (
    *UNTRAINED,
    "trainer.max_epochs",
    "trainer.max_steps",
    "trainer.max_time",
    "steps_per_pass",
    "logger._target_",
    "data.root",
    "in_memory",
)
"""Keys that may differ from those of the run: how long it goes on, and what has no part in what is trained.

Other data in ``data.root`` are found out by their spec.
"""

_FIXED_KEYS = {
    "seed": "the first weights and the validation set came from it",
    "data.seed": "the validation set came from it",
    "data.split_seed": "examples of the test set would be trained on",
    "data.images": "the best score so far is of other data",
    "data.val_size": "examples of the validation set would be trained on, or the best score is of other data",
    "data.binarization": "the best score so far is of other data",
    "data.image_size": "the best score so far is of other data",
    "decoder_bias": "it acts on the first weights only",
    "init_from": "it acts on the first weights only",
}
"""Keys that a run cannot change once it has begun, with the reason."""

_DEFAULTS_OF_OLDER_RUNS = {
    "data.balance": False,
    "data.images.fit": "crop",
    "data.images.header": "auto",
    "data.images.kind": "auto",
    "data.images.leave_out": [],
    "data.missing": "refuse",
    "data.split_seed": None,
    "data.standardize": "auto",
    "data.support": "auto",
}
"""Keys that older runs did not have, with the value that means what they did."""

_OWN_DEFAULTS = frozenset({"data.val_size", "data.root", "data.split_seed", "likelihood.scale"})
"""Keys whose defaults another version, folder or kind of data changes: a run goes on with its own value."""


def keep_own_defaults(composition: Composition) -> None:
    """Sets the keys of `_OWN_DEFAULTS` to the values of the resumed run, unless the command line gives them.

    An option that was left to the data gets the value that the run has found, in ``choices`` too: the run is resumed
    again from what it records now.
    """
    cfg = composition.cfg
    run = Path(cfg.run_dir)
    if cfg.resume is None or last_checkpoint(run) is None:
        return
    saved = saved_config(run)
    recorded = _DEFAULTS_OF_OLDER_RUNS | dict(leaves(saved))
    for key in _OWN_DEFAULTS - {key_of(word) for word in composition.overrides}:
        if key in recorded and OmegaConf.select(cfg, key) is not None:
            OmegaConf.update(cfg, key, recorded[key])
    keep_found(cfg, saved)
    chosen = value_at(saved, "choices.likelihood")
    if is_auto(cfg) and chosen in groups()["likelihood"]:
        scale = value_at(saved, "likelihood.scale")
        set_likelihood(cfg, chosen, config_dir(), **({} if scale is None else {"scale": scale}))
        composition.choices["likelihood"] = chosen


def checkpoint_to_resume(config: dict[str, Any], run: Path) -> Path | None:
    """Returns the checkpoint to resume from; None for a run from the start.

    Args:
        config: config of the command line as plain containers; ``init_from`` becomes what a resumed run recorded.

    Raises:
        RunError: if there is nothing to resume, if a new run would write over another, or if the config
            differs from that of the run and ``resume_changed`` does not allow it.
    """
    asked = config["resume"]
    checkpoint = last_checkpoint(run)
    if asked is None or (checkpoint is None and asked == "auto"):
        if not (asked and _was_killed(run)):
            refuse_to_overwrite(run)
        return None
    if checkpoint is None:
        raise RunError(f"resume={run}: no checkpoint there yet ({run / CHECKPOINTS / LAST}); start a new run")
    before = {"init_from": None} | saved_config(run)
    if _names_same_source(before, config):
        config["init_from"] = before["init_from"]
    changed = differences(before, config)
    _refuse_kept(before, config, run)
    if changed and not config["resume_changed"]:
        given = {key_of(str(word)) for word in config["overrides"]}
        former = moved_choices(before.get("choices") or {}, config["choices"], given)
        exactly = f"{' '.join(former)} goes on with the defaults that the run began with; " if former else ""
        raise RunError(
            f"resume={run}: the config differs from that of the run: {'; '.join(changed)}. "
            f"{exactly}resume_changed=true goes on nevertheless"
        )
    return checkpoint


def _was_killed(run: Path) -> bool:
    """True if a run ended before its first last.ckpt, even if there is a best one; resume=auto then starts it again."""
    result = first_result(run)
    finished = result is not None and result.suffix != ".ckpt"
    return not finished and value_at(_own_config(run), "callbacks.last_checkpoint") is not None


def _own_config(run: Path) -> Mapping[str, Any]:
    """Returns the config of a run; empty if there is none, or one that is not of a run."""
    try:
        return saved_config(run)
    except RunError:
        return {}


def refuse_to_overwrite(run: Path) -> None:
    """Raises RunError if a new run would write over results of another one, over files of no run, or into a sweep.

    A run that was killed before its first checkpoint has none, and starts again.
    """
    if is_sweep(run) and not is_run(run):
        raise RunError(f"{run}: holds a sweep; a run needs another hydra.run.dir")
    if last_checkpoint(run):
        raise RunError(
            f"{run}: holds a run already; resume=auto goes on with it, a new one needs another hydra.run.dir"
        )
    result = first_result(run)
    if result is None and is_run(run) and not _own_config(run):
        result = run / CONFIG
    if result is not None:
        no_last = f", but no {LAST} that resume could go on from" if is_run(run) else ""
        if result.name != CONFIG and _was_killed(run):
            no_last += "; resume=auto starts it again from the beginning"
        raise RunError(
            f"{run}: holds {result.relative_to(run)} already{no_last}; a new run would write over it and needs another "
            "hydra.run.dir"
        )


def _names_same_source(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """True if the command line names the run that the first weights came from, or none; it may be gone by now."""
    was, asked = (next((w for w in c["overrides"] if key_of(str(w)) == "init_from"), None) for c in (before, now))
    path = now["init_from"]
    return asked in (None, was) or (path is not None and str(Path(path).expanduser().absolute()) == before["init_from"])


def moved_data(before: Mapping[str, Any], root: str) -> str | None:
    """Returns a line for a run that goes on with data in another folder than its config has; None for the same one."""
    was = value_at(before, "data.root")
    if not isinstance(was, str) or absolute(was) == root:
        return None
    return f"data.root={root}: the run goes on with the data there; so far they were in {was}"


def _refuse_kept(before: Mapping[str, Any], now: Mapping[str, Any], run: Path) -> None:
    """Raises RunError for a changed key that a run cannot change once it has begun."""
    new = dict(leaves(now))
    for key in sorted(new, key=lambda key: (key.count("."), key)):  # seed before data.seed
        was = value_at(before, key, new[key])
        name = key_around(key, _FIXED_KEYS)
        reason = _FIXED_KEYS[name or "decoder_bias"] if name or key.endswith(".initialization") else None
        if reason and was != new[key]:
            raise RunError(f"{key}={new[key]}: resume={run} keeps {was}, because {reason}; start a new run for it")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns the keys whose values differ, each as ``key was x, is y``."""
    old, new = (dict(leaves(relative_to_run(config))) for config in (before, now))
    return [
        f"{key} was {shown(old.get(key))}, is {shown(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _DEFAULTS_OF_OLDER_RUNS.get(key)) != new.get(key) and key_around(key, _MAY_DIFFER) is None
    ]
