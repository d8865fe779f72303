"""Checks the metrics that callbacks monitor: one that a run never logs is refused before it begins."""

from __future__ import annotations

from typing import Any

from vae_lab.errors import RunError
from vae_lab.objectives.base import example_terms
from vae_lab.training.metrics import UnitCounts, UnitMetrics, bits_per_dim, metric_names
from vae_lab.training.module import VariationalModule

_COUNTERS = ("epoch", "step")
"""Further names that Lightning monitors."""
_BETTER = {"loss": "min", "bits_per_dim": "min", "elbo": "max", "iw_bound": "max", "log_likelihood": "max"}
"""Mode in which a metric becomes better; of others that is for the user to say."""
_OTHER = {"min": "max", "max": "min", "minimize": "maximize", "maximize": "minimize"}


def check_monitor(key: str, name: str, mode: str | None, saves: bool, module: VariationalModule, trainer: Any) -> None:
    """Checks that a run logs the metric that a callback monitors.

    Args:
        key: key of the callback on the command line, such as ``callbacks.checkpoint``.
        name: name of the metric.
        mode: min or max, which values of the metric the callback takes for better; None: unknown.
        saves: True for a callback that writes checkpoints, which may go without a validation.
        module, trainer: module and Trainer of the run.

    Raises:
        RunError: naming the key, and the metrics that are logged; for a mode that takes the worst value for the best.
    """
    if name.startswith("test/"):
        raise RunError(f"{key}.monitor={name}: the test comes after the training; use val/elbo")
    known = _logged_names(module)
    own = name.startswith("train/") and not _declares_names(module)
    if name not in known and not own and not (saves and name in _COUNTERS):
        raise RunError(f"{key}.monitor={name}: no such metric; choose one of {', '.join(known)}")
    if name.startswith("val/") and not saves and (reason := why_unvalidated(trainer)):
        raise RunError(f"{key}: watches {name}, but {reason} validates nothing")
    _check_direction(f"{key}.mode", mode, name)


def _logged_names(module: VariationalModule) -> list[str]:
    """Returns the names of the metrics that every run of a module logs, those of the validation first."""
    of_training = metric_names("train", module.train_bound, counts=False)
    uncounted = _uncounted(module)
    of_validation = [name for name in metric_names("val", module.eval_bound) if name not in uncounted]
    names = [*of_validation, "train/loss", *of_training]
    names += [f"train/{name}" for name in module.objective.log_names]
    names += [f"train/{name}" for name in (module.unusual.curves() if module.unusual else ())]
    has_bits = bits_per_dim(module.model, 0.0, module.spec) is not None
    return [name for name in names if has_bits or not name.endswith("/bits_per_dim")]


def _uncounted(module: VariationalModule) -> set[str]:
    """Returns the names of counts that a model has not, such as that of units with KL if its prior is a mixture."""
    terms = example_terms(module.model, num_samples=module.eval_samples)
    if terms is None:
        return set()
    units = UnitMetrics(module.model.level_groups)
    units.update(terms.levels)
    counted = {f"val/{name}" for name in units.finish()}
    kinds = tuple(f"val/{name}" for name in UnitCounts._fields)
    return {name for name in metric_names("val", module.eval_bound) if name.startswith(kinds)} - counted


def check_searched(name: str, direction: str | None, module: VariationalModule, trainer: Any) -> None:
    """Checks that the validations of a run log the metric of a search; raises as `check_monitor`."""
    known = [logged for logged in _logged_names(module) if logged.startswith("val/")]
    if name not in known:
        raise RunError(f"search.metric={name}: no validation logs it; there are {', '.join(sorted(known))}")
    if reason := why_unvalidated(trainer):
        raise RunError(f"search.metric={name}: {reason} validates nothing")
    _check_direction("search.direction", direction, name)


def _check_direction(key: str, direction: str | None, name: str) -> None:
    """Raises RunError for a direction, such as min or minimize, in which a metric becomes worse."""
    better = _BETTER.get(name.rpartition("/")[2])
    if better and direction in _OTHER and not direction.startswith(better):
        least = "least" if better == "min" else "largest"
        raise RunError(f"{key}={direction}: the {least} {name} is the best; set {key}={_OTHER[direction]}")


def why_unvalidated(trainer: Any) -> str:
    """Returns the setting for which a run never validates, such as trainer.limit_val_batches=0; '' if it does."""
    if trainer.limit_val_batches == 0:
        return "trainer.limit_val_batches=0"
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every is not None and epochs not in (None, -1) and every > epochs > 0:
        return f"trainer.check_val_every_n_epoch={every}"
    return ""


def _declares_names(module: VariationalModule) -> bool:
    """True for an objective of the lab, whose `log_names` are complete."""
    return type(module.objective).__module__.startswith("vae_lab.")
