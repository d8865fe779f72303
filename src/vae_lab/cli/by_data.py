"""Settings that follow from the data: ``likelihood=auto``, what a resumed run has found, whether labels are missing."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from vae_lab.cli.check import check_config
from vae_lab.errors import RunError
from vae_lab.nested import value_at, with_strings
from vae_lab.types import DataSpec, Support

_AUTO = "vae_lab.distributions.by_support"
_BY_SUPPORT: dict[Support, str] = {
    "binary": "bernoulli",
    "uint8": "discretized_logistic",
    "unit": "gaussian",
    "real": "gaussian",
}
"""Option of the group likelihood for each support."""

_FOUND = ("data.images.max_value", "data.images.kind", "data.images.columns", "data.images.image")
"""Keys that a run records with the value that the data gave."""


def is_auto(cfg: DictConfig) -> bool:
    """True if the likelihood is left to the data."""
    return bool(OmegaConf.select(cfg, "likelihood._target_") == _AUTO)


def set_likelihood(cfg: DictConfig, name: str, folder: Path, **defaults: Any) -> None:
    """Replaces ``likelihood=auto`` by an option of the group, with other defaults; options that were given stay.

    Raises:
        ConfigError: for options that this likelihood does not take.
    """
    given = {key: value for key, value in cfg.likelihood.items() if key not in ("_target_", "_partial_")}
    chosen = OmegaConf.merge(OmegaConf.load(folder / "likelihood" / f"{name}.yaml"), defaults, given)
    with open_dict(cfg):
        cfg.likelihood = chosen
    check_config(cfg)


def choose_likelihood(cfg: DictConfig, choices: MutableMapping[str, str | None], spec: DataSpec, folder: Path) -> str:
    """Replaces ``likelihood=auto``; returns a line about the choice, or nothing if there was none."""
    if not is_auto(cfg):
        return ""
    name = _BY_SUPPORT[spec.support]
    # Columns differ in how much of them can be predicted, so that one scale for all would hide most of a table.
    of_columns = {"scale": "per_dimension"} if name == "gaussian" and len(spec.shape) == 1 else {}
    set_likelihood(cfg, name, folder, **of_columns)
    choices["likelihood"] = name
    return f"likelihood   {name}, because of the values ({spec.support}); likelihood=NAME takes another"


def refuse_missing_labels(cfg: DictConfig, data: Any) -> None:
    """Raises RunError for a conditional model of data whose labels are partly missing."""
    missing: str = getattr(getattr(data, "images", None), "missing_labels", "")
    if missing and OmegaConf.select(cfg, "model.conditional"):
        raise RunError(
            f"model.conditional=true: needs the label of every example, and {missing};"
            " leave these examples out, or save y + 1 if -1 is a class"
        )


def keep_found(cfg: DictConfig, saved: Mapping[str, Any]) -> None:
    """Sets each key of `_FOUND` that is auto or null to the value in the saved config of the run."""
    for key in _FOUND:
        value = value_at(saved, key)
        left = OmegaConf.select(cfg, key, default="") in ("auto", None)
        if left and (_is_name(value) or _is_numbers(value)):
            # An interpolation, which no run has found, stays as it is written.
            OmegaConf.update(cfg, key, with_strings(value, lambda text: text.replace("${", "\\${")))


def _is_name(value: Any) -> bool:
    """True for the name of a choice or of a column, and for several of them."""
    return bool(value) and all(isinstance(name, str) for name in (value if isinstance(value, list) else [value]))


def _is_numbers(value: Any) -> bool:
    """True for one number, or several by name."""
    values = list(value.values()) if isinstance(value, Mapping) else [value]
    return all(type(number) in (int, float) for number in values)
