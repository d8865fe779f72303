"""Composes configs from words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from vae_lab.cli.check import ConfigError
from vae_lab.cli.resolvers import register_resolver

# For network=mlp_auto.
register_resolver("batch_norm_with", lambda prior: not str(prior).endswith(".VampPrior"))


def config_dir() -> Path:
    """Returns the folder of the Hydra tree: inside the package, or of the checkout in which the package lies."""
    package = Path(__file__).resolve().parents[1]
    packaged = package / "configs"
    return packaged if packaged.is_dir() else package.parents[1] / "configs"


def groups() -> dict[str, list[str]]:
    """Returns the options of each group of the Hydra tree."""
    folders = (folder for folder in config_dir().iterdir() if folder.is_dir())
    return {folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in folders}


def composed_choices(words: Sequence[str]) -> dict[str, str | None]:
    """Returns the option that a training with these overrides has in each group; nothing if they do not compose."""
    cfg = composed(words)
    return {group: cfg.hydra.runtime.choices.get(group) for group in groups()} if cfg else {}


def composed(words: Sequence[str]) -> DictConfig | None:
    """Returns the config of a training with these overrides, Hydra's own part included; None if they do not compose."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose("train", overrides=list(words), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ConfigError):  # the command itself will say why
        return None
    finally:
        GlobalHydra.instance().clear()
