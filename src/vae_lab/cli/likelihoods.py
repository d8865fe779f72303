"""Chooses the likelihood of ``likelihood=auto`` by the values of the data."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from vae_lab.cli.check import check_config
from vae_lab.types import Support

_AUTO = "vae_lab.distributions.by_support"
BY_SUPPORT: dict[Support, str] = {
    "binary": "bernoulli",
    "uint8": "discretized_logistic",
    "unit": "gaussian",
    "real": "gaussian",
}
"""Option of the group likelihood for each support."""


def is_auto(cfg: DictConfig) -> bool:
    """True if the likelihood is left to the data."""
    return bool(OmegaConf.select(cfg, "likelihood._target_") == _AUTO)


def set_likelihood(cfg: DictConfig, name: str, folder: Path) -> None:
    """Replaces ``likelihood=auto`` by an option of the group; options that were given stay.

    Args:
        cfg: config of a run.
        name: name of the option.
        folder: Hydra tree.

    Raises:
        ConfigError: for options that this likelihood does not take.
    """
    given = {key: value for key, value in cfg.likelihood.items() if key not in ("_target_", "_partial_")}
    chosen = OmegaConf.merge(OmegaConf.load(folder / "likelihood" / f"{name}.yaml"), given)
    with open_dict(cfg):
        cfg.likelihood = chosen
    check_config(cfg)
