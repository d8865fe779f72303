"""python -m vae_lab.train model=vae data=mnist latent_dim=16: trains and tests one model, or sweeps with -m."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vae_lab.cli import command
from vae_lab.cli.messages import printable
from vae_lab.cli.resume import checkpoint_to_resume, differences, keep_own_defaults, moved_data
from vae_lab.cli.trainers import make_trainer
from vae_lab.errors import PrunedError, RunError
from vae_lab.files import absolute
from vae_lab.runs.folder import save_pruned
from vae_lab.runs.locks import locked
from vae_lab.sweeps import jobs

if TYPE_CHECKING:
    from vae_lab.data import ImageDataModule
    from vae_lab.runs.loading import SavedRun
    from vae_lab.training import VariationalModule

SETTINGS = (
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
"""The groups whose choice is a setting of the run; the others say only where and how it is watched."""

OPTIMIZATION = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")
"""Keys of Lightning's Trainer that our module sees to, as it takes several optimizer steps in one of Lightning's."""


def train(cfg: DictConfig) -> None:
    """Trains one run, from a composed config to a run folder that no other process writes to meanwhile."""
    with locked(Path(cfg.run_dir)):
        train_in_folder(cfg)


def train_in_folder(cfg: DictConfig) -> None:
    """Trains one run in a folder that is held."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab.runs.loading import find_run  # noqa: PLC0415
    from vae_lab.training import Record, fit, prepare_process  # noqa: PLC0415

    keep_own_defaults(cfg, jobs.job_overrides())
    name_whole_root(cfg)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)) | jobs.settings()
    run = Path(cfg.run_dir)
    checkpoint = checkpoint_to_resume(config, run)
    prepare_process(cfg.seed)
    data, module, trainer = assemble(cfg)
    if checkpoint:
        find_run(checkpoint).check_resumed_data(data.spec)
        if trainer.is_global_zero and (line := moved_data(run, config["data"].get("root"))):
            print(printable(line))
    else:
        refuse_unused_val_size(data)
        if cfg.init_from is not None:
            config["init_from"] = str(Path(cfg.init_from).expanduser().absolute())
            start_from(find_run(cfg.init_from, "init_from"), module, config, shows=trainer.is_global_zero)
    record = Record(run, cfg.seed, config, hyperparameters(cfg))
    try:
        fit(trainer, module, data, record, cfg.test_checkpoint, cfg.decoder_bias, checkpoint)
    except PrunedError as stop:
        if trainer.is_global_zero:
            save_pruned(run, jobs.job_overrides(), str(stop))
            print(f"pruned       {stop}")


def start_from(source: SavedRun, module: VariationalModule, config: dict[str, Any], shows: bool) -> None:
    """Gives a new run the weights of another run, and prints what was taken and how that run's model differs."""
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


def name_whole_root(cfg: DictConfig) -> None:
    """Makes ``data.root`` absolute, so that the run's config means the same in every working directory."""
    root = OmegaConf.select(cfg, "data.root")
    if isinstance(root, str):
        OmegaConf.update(cfg, "data.root", absolute(root).replace("${", "\\${"))


def assemble(cfg: DictConfig) -> tuple[ImageDataModule, VariationalModule, Any]:
    """Data, module and Trainer of a run; every mistake in the config shows here, before any data is read."""
    refuse_idle_warmup(cfg)
    refuse_unused_parts(cfg)
    parts = {key: instantiate(cfg[key], _convert_="all") for key in ("data", "objective", "optimizer", "scheduler")}
    try_optimizer(parts)
    module = build_module(cfg, parts)
    trainer = build_trainer(cfg)
    refuse_blind_callbacks(cfg, module, trainer)
    return parts["data"], module, trainer


def refuse_idle_warmup(cfg: DictConfig) -> None:
    """A warm-up that was asked for, of an objective that has none, would silently do nothing."""
    choices = HydraConfig.get().runtime.choices
    warmup, objective = choices.get("warmup"), choices.get("objective")
    by_default = warmup == "auto" and not any(word.startswith("warmup=") for word in jobs.job_overrides())
    if warmup not in (None, "none") and not by_default and "warmup" not in cfg.objective:
        raise RunError(f"warmup={warmup}: objective={objective} has none; set warmup=none, or objective=elbo")


def refuse_unused_parts(cfg: DictConfig) -> None:
    """Raises RunError for a part that was asked for and that the model does not refer to: it would do nothing."""
    model = str(OmegaConf.to_container(cfg.model, resolve=False))
    for key in ("network", "likelihood", "prior", "posterior"):
        words = [word.lstrip("+") for word in jobs.job_overrides() if re.match(rf"\+*{key}[.=]", word)]
        if words and cfg.get(key) and f"${{{key}" not in model and f"oc.select:{key}," not in model:
            raise RunError(f"{words[0]}: {cfg.model._target_} does not use it; leave {key} out")


def refuse_unused_val_size(data: ImageDataModule) -> None:
    """Raises RunError for a val_size that was asked for where the data bring a validation set of their own."""
    word = next((word for word in jobs.job_overrides() if word.lstrip("+").startswith("data.val_size=")), None)
    if word and data.images.has_val:
        own = data.images.origin("val") or f"the validation set of {data.images.name}"
        raise RunError(f"{word.lstrip('+')}: not used, because {own} is the validation set; leave val_size out")


def try_optimizer(parts: dict[str, Any]) -> None:
    """Makes an optimizer and its schedule for nothing: the run's own are made when the data have been read."""
    from torch import nn, zeros  # noqa: PLC0415

    try:
        optimizer = parts["optimizer"]([nn.Parameter(zeros(1))])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"optimizer: {error}") from error
    if parts["scheduler"]:
        parts["scheduler"](optimizer, 100)


def build_module(cfg: DictConfig, parts: dict[str, Any]) -> VariationalModule:
    """The model, sized by the data's spec, with the objective and optimizer that train it."""
    from vae_lab.training import Optimization, VariationalModule  # noqa: PLC0415

    data: ImageDataModule = parts["data"]
    make_model = instantiate(cfg.model, _convert_="all")
    try:
        model = make_model(spec=data.spec)
    except (RuntimeError, MemoryError, TypeError) as error:
        if isinstance(error, TypeError) and "verflow" not in str(error):  # torch's error for a size beyond 64 bits
            raise
        reason = " ".join(str(error).split())[:150]
        sizes = f"latent_dim (now {cfg.latent_dim}) or the sizes under network, likelihood, prior and model"
        given = f"the data's shape {data.spec.shape} and {data.spec.num_classes} classes count as well"
        raise RunError(f"not enough memory to build the model ({reason}): reduce {sizes}; {given}") from error
    of_trainer = {key: cfg.trainer[key] for key in OPTIMIZATION}
    how = {"compile": cfg.compile, "gradient_skip": cfg.gradient_skip, **of_trainer}
    optimization = Optimization(parts["optimizer"], parts["scheduler"], **how)
    return VariationalModule(model, parts["objective"], optimization, data.spec, cfg.seed, cfg.eval_samples)


def build_trainer(cfg: DictConfig) -> Any:
    """The Trainer with its callbacks and logger; a callback set to null is left out."""
    from vae_lab.training import AtomicCheckpointIO, WeightAverage  # noqa: PLC0415

    limits = [cfg.trainer.get(key) for key in ("max_epochs", "max_time")]
    if limits == [None, None] and cfg.trainer.get("max_steps", -1) == -1:
        raise RunError("trainer.max_epochs=null: needs trainer.max_steps or trainer.max_time; -1 trains without end")
    nodes = {name: node for name, node in (cfg.callbacks or {}).items() if node}
    if not cfg.trainer.enable_progress_bar:
        nodes.pop("progress", None)
    callbacks = [instantiate(node, _convert_="all") for node in nodes.values()]
    if cfg.average is not None:
        callbacks.append(WeightAverage(cfg.average))
    logger = instantiate(cfg.logger, _convert_="all") if cfg.logger else False
    saves = bool(nodes.keys() & {"checkpoint", "last_checkpoint"})  # otherwise Lightning would add one of its own
    node = {key: value for key, value in cfg.trainer.items() if key not in OPTIMIZATION}
    plugins = node.pop("plugins", None) or []
    plugins = [*(plugins if isinstance(plugins, Sequence) else [plugins]), AtomicCheckpointIO()]
    parts = {"callbacks": callbacks, "logger": logger, "enable_checkpointing": saves, "plugins": plugins}
    return make_trainer(node, **parts)


def refuse_blind_callbacks(cfg: DictConfig, module: VariationalModule, trainer: Any) -> None:
    """Raises RunError for a callback that monitors what this run never logs; Lightning would after an epoch."""
    from vae_lab.training import check_monitor, check_searched  # noqa: PLC0415

    ours = ("vae_lab.", "pytorch_lightning.")
    if not all(type(part).__module__.startswith(ours) for part in (module, *trainer.callbacks)):
        return  # which may log anything
    for name, node in (cfg.callbacks or {}).items():
        if node and node.get("monitor"):
            saves = str(node.get("_target_")).endswith("Checkpoint")
            check_monitor(f"callbacks.{name}", str(node.monitor), saves, module, trainer)
        elif name == "pruning" and node:
            check_searched(str(node.metric), module, trainer)


def hyperparameters(cfg: DictConfig) -> dict[str, Any]:
    """What the HPARAMS tab shows: the choice in each group, the main sizes, and whatever the user set."""
    hydra = HydraConfig.get()
    groups = {group: hydra.runtime.choices[group] for group in SETTINGS if hydra.runtime.choices[group]}
    sizes = {key: OmegaConf.select(cfg, key) for key in ("latent_dim", "seed", "data.batch_size", "optimizer.lr")}
    words = (word.lstrip("+~").partition("=")[0] for word in jobs.job_overrides())
    chosen = {key: OmegaConf.select(cfg, key) for key in words if key not in hydra.runtime.choices}
    return {key: value for key, value in (groups | sizes | chosen).items() if not OmegaConf.is_config(value)}


def main() -> None:
    """The command."""
    command.run(train, "train", jobs.run_job)


if __name__ == "__main__":
    main()
