"""Builds the Trainer that a config asks for, or raises an error that names the key for which there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from vae_lab.cli.check import nodes_of
from vae_lab.errors import RunError, one_line

if TYPE_CHECKING:
    from vae_lab.core import LatentVariableModel
    from vae_lab.data import ImageDataModule
    from vae_lab.runs.loading import SavedRun
    from vae_lab.training import VariationalModule

_SERVERS = {"WandbLogger": ("id", "wandb"), "MLFlowLogger": ("run_id", "mlflow")}
"""The argument of each tracking server's logger that names the run there, and the extra that brings its package."""

OPTIMIZATION = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")
"""Keys of Lightning's Trainer that our module obeys, because it takes several optimizer steps in one of Lightning's."""


def make_trainer(node: Mapping[Any, Any], callbacks: Sequence[Any] = (), **parts: Any) -> Any:
    """Returns the Trainer of a config, with lines of progress where no terminal shows a bar.

    Args:
        node: config of the Trainer.
        callbacks: callbacks of the Trainer.
        parts: other arguments that are objects already, such as its logger.

    Raises:
        RunError: for what Lightning or the lab refuses.
    """
    from vae_lab.training import check_trainer, naming_the_key  # noqa: PLC0415
    from vae_lab.training.callbacks import with_usual_progress  # noqa: PLC0415

    if node.get("barebones"):
        instead = "callbacks=none logger=none trainer.enable_progress_bar=false leaves out the same"
        raise RunError(f"trainer.barebones=true: is for a Trainer in Python, which records nothing; {instead}")
    parts["callbacks"] = with_usual_progress(callbacks) if node.get("enable_progress_bar", True) else callbacks
    try:
        trainer = instantiate(node, **parts, _convert_="all")
    except InstantiationException as error:
        raise RunError(naming_the_key(one_line(error.__cause__ or error), {**node, **parts})) from error
    check_trainer(trainer)
    return trainer


def open_run(cfg: DictConfig, run: SavedRun) -> tuple[LatentVariableModel, int | None, ImageDataModule, Any]:
    """Returns the model, the step of its weights, the data and the Trainer of a command that reads a run."""
    from vae_lab.runs.data import open_data  # noqa: PLC0415
    from vae_lab.training import prepare_process  # noqa: PLC0415

    prepare_process(cfg.seed)
    model, step = run.model_and_step(cfg.packages, weights=cfg.weights)
    data = open_data(run, model, cfg.packages, cfg.data_root, cfg.split, batch_size=cfg.batch_size)
    return model, step, data, make_trainer(cfg.trainer, logger=False, enable_checkpointing=False)


def build_trainer(cfg: DictConfig) -> Any:
    """Returns the Trainer of a training with its callbacks; a callback set to null is left out."""
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
    saves = bool(nodes.keys() & {"checkpoint", "last_checkpoint"})  # otherwise Lightning would add one of its own
    node = {key: value for key, value in cfg.trainer.items() if key not in OPTIMIZATION}
    plugins = node.pop("plugins", None) or []
    plugins = [*(plugins if isinstance(plugins, Sequence) else [plugins]), AtomicCheckpointIO()]
    return make_trainer(node, callbacks, logger=False, enable_checkpointing=saves, plugins=plugins)


def add_loggers(trainer: Any, cfg: DictConfig) -> None:
    """Gives a Trainer its loggers; last of all, because MLflow's writes a file at once."""
    from vae_lab.training import set_loggers  # noqa: PLC0415

    set_loggers(trainer, _loggers(cfg))


def _loggers(cfg: DictConfig) -> list[Any]:
    """Returns the loggers; a resumed run goes on under its id at each tracking server."""
    from vae_lab.runs.reading import recorded_ids  # noqa: PLC0415

    ids = recorded_ids(Path(cfg.run_dir)) if cfg.resume else {}
    loggers = []
    for key, node in nodes_of("logger", cfg.logger).items():
        kind = str(node["_target_"]).rpartition(".")[2]
        name, extra = _SERVERS.get(kind, ("", ""))
        known = {name: ids[kind]} if name and kind in ids else {}
        try:
            loggers.append(instantiate(node, **known, _convert_="all"))
        except InstantiationException as error:
            if not isinstance(error.__cause__, ModuleNotFoundError):
                raise
            package = f"pip install 'vae-lab[{extra}]'" if extra else str(error.__cause__).splitlines()[0]
            raise RunError(f"{key}._target_={node['_target_']}: its package is missing; {package}") from error
    return loggers


def refuse_blind_callbacks(cfg: DictConfig, module: VariationalModule, trainer: Any, is_new: bool) -> None:
    """Raises RunError for a callback that monitors what this run never logs; Lightning would after an epoch.

    In a new run also for one that takes the worst value for the best; older runs go on as they began.
    """
    from vae_lab.training import check_monitor, check_searched  # noqa: PLC0415

    ours = ("vae_lab.", "pytorch_lightning.")
    if not all(type(part).__module__.startswith(ours) for part in (module, *trainer.callbacks)):
        return  # which may log anything
    for name, node in (cfg.callbacks or {}).items():
        if node and node.get("monitor"):
            target = str(node.get("_target_"))
            mode = node.get("mode") or ("min" if target.startswith("pytorch_lightning.") else None)
            mode = mode if is_new else None
            check_monitor(f"callbacks.{name}", str(node.monitor), mode, target.endswith("Checkpoint"), module, trainer)
        elif name == "pruning" and node:
            check_searched(str(node.metric), cfg.search.direction if is_new else None, module, trainer)
