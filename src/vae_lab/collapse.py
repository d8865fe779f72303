"""Posterior collapse in words: the levels and dimensions of a trained model that carry no KL, and remedies.

Reads metrics and configs as plain containers, so that a report can use it without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vae_lab.nested import value_at

MIN_KL_OF_UNIT = 0.01
"""Nats per example that a latent dimension must exceed to count as one with a KL."""

_MIN_KL_OF_LEVEL = 0.1
"""Nats per example below which a level of latents is said to carry no information."""

UNITS = {
    "units_with_kl": f"dimensions with own KL > {MIN_KL_OF_UNIT} nats",
    "active_units": "dimensions whose mean varies (Burda)",
    "codes_used": "entries of the codebook that are used",
}
"""Titles of the counts of latent dimensions, by the beginning of a metric's name."""


def unit_title(name: str) -> str | None:
    """Returns the unit of a metric that counts latent dimensions; None for any other."""
    return next((title for count, title in UNITS.items() if name.startswith(count)), None)


def collapse_lines(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Returns a line about the levels, and one about the dimensions, that carry no KL; none for a model without any.

    Args:
        metrics: by name, such as ``kl_level_1`` or ``units_with_kl``, in nats per example.
    """
    levels = _levels(metrics)
    empty = {name: kl for name, kl in levels.items() if kl < _MIN_KL_OF_LEVEL}
    if empty:
        shown = ", ".join(f"{name} ({kl:.3f} nats)" for name, kl in empty.items())
        last = "fewer levels (model.latent_dims)" if len(levels) > 1 else "longer training (trainer.max_epochs)"
        remedies = ", ".join(_remedies(config, len(levels) > 1)) or last
        return [f"no information: {shown} under {_MIN_KL_OF_LEVEL} nats of KL; what may help: {remedies}"]
    used, size = metrics.get("units_with_kl"), _size(config)
    if not isinstance(used, int | float) or 2 * used >= size:
        return []
    key = "model.latent_dims" if len(levels) > 1 else "latent_dim"
    remedy = f"objective.beta=1 or a smaller {key}" if _is_above_1(config) else f"a smaller {key} would do as well"
    empty_units = f"{size - int(used)} of {size} dimensions"
    return [f"no information: {empty_units} have a KL of at most {MIN_KL_OF_UNIT} nats each; {remedy}"]


def _levels(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the KL of each level by its name; of the whole latent space if there is one level."""
    found = {name: kl for name, kl in metrics.items() if isinstance(kl, int | float)}
    levels = {name.removeprefix("kl_").replace("_", " "): kl for name, kl in found.items() if name.startswith("kl_")}
    return levels or {"the latent space": found["kl"]} if "kl" in found else {}


def _size(config: Mapping[str, Any]) -> int:
    """Returns the number of latent dimensions of all levels together; 0 if the config does not say."""
    dims = value_at(config, "model.latent_dims", [value_at(config, "model.latent_dim")])
    return sum(dims) if isinstance(dims, list) and all(type(dim) is int for dim in dims) else 0


def _remedies(config: Mapping[str, Any], hierarchy: bool) -> Iterator[str]:
    """Yields the overrides that act on the KL and are not set yet."""
    objective = config.get("objective")
    if isinstance(objective, Mapping) and {"beta", "warmup"} <= objective.keys():  # the ELBO
        if str(value_at(objective, "warmup._target_", "Constant")).endswith("Constant"):
            yield "warmup=linear"
        if not objective.get("free_bits"):
            yield "objective.free_bits=1"
        if _is_above_1(config):
            yield "objective.beta=1"
    else:
        yield "objective=elbo warmup=linear"
    vamp = str(value_at(config, "prior._target_")).endswith(".VampPrior")
    if hierarchy and value_at(config, "network.batch_norm") is False and not vamp:
        yield "network.batch_norm=true"


def _is_above_1(config: Mapping[str, Any]) -> bool:
    beta = value_at(config, "objective.beta")
    return isinstance(beta, int | float) and beta > 1
