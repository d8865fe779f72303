"""python -m vae_lab.train model=vae data=mnist latent_dim=16: trains and tests one model, or sweeps with -m."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vae_lab.cli import command
from vae_lab.cli.compose import Composition, assemble, composition_of, name_whole_root
from vae_lab.cli.messages import printable
from vae_lab.cli.resume import checkpoint_to_resume, differences, keep_own_defaults, moved_data
from vae_lab.errors import PrunedError, RunError
from vae_lab.nested import key_of
from vae_lab.runs.folder import save_pruned
from vae_lab.runs.locks import locked
from vae_lab.sweeps import jobs
from vae_lab.types import IN_MEMORY

if TYPE_CHECKING:
    from vae_lab.data.given import GivenData
    from vae_lab.runs.loading import SavedRun
    from vae_lab.training import VariationalModule

_SETTINGS = (
    "model",
    "data",
    "likelihood",
    "network",
    "prior",
    "posterior",
    "objective",
    "warmup",
    "optimizer",
    "scheduler",
    "experiment",
)
"""Groups whose option defines the run; the others only say where it runs and what it logs."""


def train(cfg: DictConfig) -> None:
    """Trains one run in its folder, to which no other process may write meanwhile."""
    with locked(Path(cfg.run_dir)):
        train_in_folder(composition_of(cfg, HydraConfig.get()))


def train_in_folder(composition: Composition, given: GivenData | None = None) -> VariationalModule:
    """Trains one run in its folder, which this process has locked, and returns what was trained.

    Args:
        given: data that a Python program holds; None: they are read as the config says.
    """
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab.runs.data import changed_splits  # noqa: PLC0415
    from vae_lab.runs.loading import find_run  # noqa: PLC0415
    from vae_lab.training import Record, fit, prepare_process  # noqa: PLC0415

    cfg = composition.cfg
    keep_own_defaults(composition)
    name_whole_root(cfg)
    if given is not None and "root" in cfg.data:
        OmegaConf.update(cfg, "data.root", IN_MEMORY)
    config = composition.record()
    folder = Path(cfg.run_dir)
    checkpoint = checkpoint_to_resume(config, folder)
    prepare_process(cfg.seed)
    resumed = find_run(checkpoint) if checkpoint else None
    recorded = resumed.recorded_spec() if resumed else None
    data, module, trainer = assemble(composition, given.give if given else None, recorded)
    config |= {key: part for key, part in composition.record().items() if key in ("likelihood", "model", "choices")}
    if given is not None:
        config["in_memory"] = given.description(data)
    if resumed:
        _check_same_arrays(resumed.config, config, folder)
        resumed.check_resumed_data(data.spec)
        if trainer.is_global_zero and (line := moved_data(resumed.config, config["data"].get("root"))):
            print(printable(line))
        if trainer.is_global_zero and (changed := changed_splits(resumed, data)):
            print(
                f"data changed {', '.join(changed)}: other examples than the run had so far, so that it may be"
                " tested on some that it was trained on; a new run has splits of its own"
            )
    elif cfg.init_from is not None:
        config["init_from"] = str(Path(cfg.init_from).expanduser().absolute())
        _start_from(find_run(cfg.init_from, "init_from"), module, config, shows=trainer.is_global_zero)
    shared = _shared_words()
    swept = [] if shared is None else _keys(composition.overrides, shared)
    record = Record(folder, cfg.seed, config, _hyperparameters(composition, shared or ()), swept)
    try:
        fit(trainer, module, data, record, cfg.test_checkpoint, cfg.decoder_bias, checkpoint)
    except PrunedError as stop:
        if trainer.is_global_zero:
            save_pruned(folder, composition.overrides, str(stop))
            print(f"pruned       {stop}")
    return module


def _check_same_arrays(recorded: Mapping[str, Any], config: Mapping[str, Any], run: Path) -> None:
    """Raises RunError for other arrays in memory than those that a resumed run began with."""
    before, now = recorded.get("in_memory"), config.get("in_memory")
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return
    if "fingerprint" not in before or "fingerprint" not in now:  # of loaders of older runs, and of random examples
        before, now = ({k: v for k, v in found.items() if k != "fingerprint"} for found in (before, now))
    if dict(before) != dict(now):
        key = next(key for key in [*before, *now] if before.get(key) != now.get(key))
        what = "other values" if key == "fingerprint" else f"{key} was {before.get(key)}, is {now.get(key)}"
        raise RunError(f"resume={run}: other data than the run began with: {what}; give the same, or start a new run")


def _start_from(source: SavedRun, module: VariationalModule, config: dict[str, Any], shows: bool) -> None:
    """Loads the weights of another run into a new one; prints what was loaded and how the other model differs."""
    from vae_lab.training import take_weights  # noqa: PLC0415

    if config["decoder_bias"] != "default":
        raise RunError(
            f"decoder_bias={config['decoder_bias']}: would replace a part of the weights of "
            f"init_from={source.folder}; leave out one of the two"
        )
    lines = take_weights(module, source)
    changed = differences({"model": source.config["model"]}, {"model": config["model"]})
    changed = [line for line in changed if ".initialization was " not in line]
    if changed:
        lines.append(f"init_from: the model differs from that of {source.folder}: {'; '.join(changed)}")
    if shows:
        print("\n".join(map(printable, lines)))


def _hyperparameters(composition: Composition, shared: Collection[str]) -> dict[str, Any]:
    """Returns what the HPARAMS tab shows: the option of each group, the main sizes, and whatever the user set.

    Args:
        composition: composition of the run.
        shared: words that all jobs of a sweep share, which are left out.
    """
    cfg, overrides, choices = composition
    groups = {group: choices[group] for group in _SETTINGS if choices[group]}
    sizes = {key: OmegaConf.select(cfg, key) for key in ("latent_dim", "seed", "data.batch_size", "optimizer.lr")}
    chosen = {key: OmegaConf.select(cfg, key) for key in _keys(overrides, shared) if key not in choices}
    return {key: value for key, value in (groups | sizes | chosen).items() if not OmegaConf.is_config(value)}


def _keys(overrides: Sequence[str], shared: Collection[str]) -> list[str]:
    return [key_of(word) for word in overrides if word not in shared]


def _shared_words() -> Collection[str] | None:
    """Returns the words that all jobs of a sweep share; None for a run outside of a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    excluded: Collection[str] = HydraConfig.get().job.config.override_dirname.exclude_keys
    return excluded


def main() -> None:
    """Runs the command."""
    command.run(train, "train", jobs.run_job)


if __name__ == "__main__":
    main()
