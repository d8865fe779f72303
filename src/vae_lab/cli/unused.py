"""Refuses words of the command line that were understood and would do nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vae_lab.errors import RunError
from vae_lab.nested import key_of, shown

if TYPE_CHECKING:
    from vae_lab.types import SplitName

OF_BEFORE = "VAE_LAB_WORDS_OF_BEFORE"
"""Environment variable of a training that repeats a run, whose words may be those that only new runs are refused."""

_OF_SPLITS: dict[str, SplitName] = {
    "data.batch_size": "train",
    "data.val_size": "val",
    "data.images.test_fraction": "test",
    "data.images.split_seed": "test",
    "data.test_size": "test",
    "data.split_seed": "test",
}
"""Split that each key makes, if the data do not bring it."""


def refuse_unused_parts(cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, Any]) -> None:
    """Raises RunError for a warm-up that the objective does not have, or a part that the model does not have."""
    warmup, objective = choices.get("warmup"), choices.get("objective")
    by_default = warmup == "auto" and not any(word.startswith("warmup=") for word in overrides)
    if warmup not in (None, "none") and not by_default and "warmup" not in cfg.objective:
        raise RunError(f"warmup={warmup}: objective={objective} has none; set warmup=none, or objective=elbo")
    model = _unresolved_model(cfg)
    for key in ("network", "likelihood", "prior", "posterior"):
        word = next((word.lstrip("+") for word in overrides if re.match(rf"\+*{key}[.=]", word)), None)
        if word and cfg.get(key) and f"${{{key}" not in model and f"oc.select:{key}," not in model:
            raise RunError(f"{word}: {cfg.model._target_} does not use it; leave {key} out")


def refuse_unused_latent_dim(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Raises RunError for a latent_dim beside sizes of the model that do not follow it."""
    sizes = cfg.model.get("latent_dims") or [cfg.model.get("latent_dim", cfg.latent_dim)]
    word = next((word for word in overrides if key_of(word) == "latent_dim"), None)
    if word and "${latent_dim" not in _unresolved_model(cfg) and sizes[-1] != cfg.latent_dim:
        sized = f"the sizes of the model are set to {shown(list(sizes))}"
        raise RunError(f"{word}: {sized}; leave one of the two out, or give the same top level in both")


def refuse_unused_sizes(cfg: DictConfig, overrides: Sequence[str], data: Any) -> None:
    """Raises RunError for the size, or the seed, of a split if the data bring that split, or overfitting sets it."""
    words = {key_of(word): word.lstrip("+") for word in overrides if "=" in word}
    overfit = cfg.trainer.get("overfit_batches")
    for key in ("trainer.limit_train_batches", "trainer.limit_val_batches"):
        if overfit and key in words:
            raise RunError(f"{words[key]}: not used, because trainer.overfit_batches={overfit} sets it; leave it out")
    brought = getattr(getattr(data, "images", data), "brought", lambda split: "")
    for key, split in _OF_SPLITS.items():
        if key in words and (own := brought(split)):
            what = {"train": "training", "val": "validation"}.get(split, split)
            name = key.rpartition(".")[2]
            raise RunError(f"{words[key]}: not used, because {own} is the {what} set; leave {name} out")


def _unresolved_model(cfg: DictConfig) -> str:
    """Returns the config of the model as text in which ``${latent_dim}`` and the like stand."""
    return str(OmegaConf.to_container(cfg.model, resolve=False))
