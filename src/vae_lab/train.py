"""python -m vae_lab.train model=vae data=mnist latent_dim=16: trains and tests one model, or sweeps with -m."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from vae_lab import runs
from vae_lab.config import command

if TYPE_CHECKING:
    from vae_lab.data import ImageDataModule
    from vae_lab.training import VariationalModule


def train(cfg: DictConfig) -> None:
    """One run, from a composed config to a run folder."""
    # Here and not above: --help and a wrong key must not wait for torch.
    import logging  # noqa: PLC0415
    import warnings  # noqa: PLC0415

    import torch  # noqa: PLC0415
    from pytorch_lightning import seed_everything  # noqa: PLC0415
    from pytorch_lightning.utilities import rank_zero_only  # noqa: PLC0415

    from vae_lab.training import fit  # noqa: PLC0415

    torch.set_flush_denormal(True)  # saturated pixels make denormals, which slow CPUs down
    # Lightning's tips, and a deprecation inside it that a user can do nothing about.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    seed_everything(cfg.seed, workers=True, verbose=False)
    parts = {key: instantiate(cfg[key], _convert_="all") for key in ("data", "objective", "optimizer", "scheduler")}
    module = build_module(cfg, parts)
    trainer = build_trainer(cfg)
    # What is wrong with the data must show before the run folder is written to.
    parts["data"].prepare_data()
    parts["data"].setup("fit")
    run = Path(cfg.run_dir)
    if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        runs.save_config(run, cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)))
    fit(trainer, module, parts["data"], run, cfg.seed, hyperparameters(cfg), cfg.test_checkpoint)


def build_module(cfg: DictConfig, parts: dict[str, Any]) -> VariationalModule:
    """The model, sized by the data's spec, with the objective and optimizer that train it."""
    from vae_lab.training import VariationalModule  # noqa: PLC0415

    data: ImageDataModule = parts["data"]
    model = instantiate(cfg.model, _convert_="all")(spec=data.spec)
    return VariationalModule(
        model, parts["objective"], parts["optimizer"], parts["scheduler"], data.spec, cfg.seed, cfg.eval_samples
    )


def build_trainer(cfg: DictConfig) -> Any:
    """The Trainer with its callbacks and logger; a callback set to null is left out."""
    from pytorch_lightning.callbacks import Checkpoint  # noqa: PLC0415

    nodes = {name: node for name, node in (cfg.callbacks or {}).items() if node}
    if not cfg.trainer.enable_progress_bar:
        nodes.pop("progress", None)
    callbacks = [instantiate(node, _convert_="all") for node in nodes.values()]
    logger = instantiate(cfg.logger, _convert_="all") if cfg.logger else False
    saves = any(isinstance(callback, Checkpoint) for callback in callbacks)
    return instantiate(cfg.trainer, callbacks=callbacks, logger=logger, enable_checkpointing=saves, _convert_="all")


def hyperparameters(cfg: DictConfig) -> dict[str, Any]:
    """What the HPARAMS tab shows: the choice in each group, the main sizes, and whatever the user set."""
    hydra = HydraConfig.get()
    groups = {group: choice for group, choice in hydra.runtime.choices.items() if "hydra" not in group and choice}
    sizes = {key: OmegaConf.select(cfg, key) for key in ("latent_dim", "seed", "data.batch_size", "optimizer.lr")}
    words = (word.lstrip("+").partition("=")[0] for word in hydra.overrides.task if "=" in word)
    chosen = {key: OmegaConf.select(cfg, key) for key in words if key not in groups}
    return {key: value for key, value in (groups | sizes | chosen).items() if not OmegaConf.is_config(value)}


def main() -> None:
    """The command."""
    command.run(train, "train")


if __name__ == "__main__":
    main()
