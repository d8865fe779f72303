"""Takes the first weights of a run from another run: ``init_from``."""

from __future__ import annotations

from pathlib import Path

from vae_lab.errors import RunError
from vae_lab.runs.checkpoints import check_finite, model_weights, other_weights, read_checkpoint
from vae_lab.runs.loading import SavedRun
from vae_lab.training.module import VariationalModule
from vae_lab.types import DataSpec, listed

_MUST_MATCH = (
    "model, network, prior, likelihood, latent_dim, the data's shape and, if the model is conditional, "
    "the number of classes, attributes and numbers must be those of that run"
)


def take_weights(module: VariationalModule, run: SavedRun) -> list[str]:
    """Gives the model of a new run the weights of another run; nothing in that run is executed.

    Args:
        module: module of the new run, before training.
        run: run whose weights are taken.

    Returns:
        Lines that say what was taken, and which classes have other names.

    Raises:
        RunError: for weights with other names or shapes, or with non-finite values.
    """
    checkpoint = read_checkpoint(run.checkpoint)
    weights = model_weights(checkpoint, run.checkpoint)
    if reason := other_weights(module.model.state_dict(), weights):
        raise RunError(f"init_from={run.checkpoint}: the weights of another model ({reason}); {_MUST_MATCH}")
    module.model.load_state_dict(weights)
    check_finite(module.model, run.checkpoint)
    lines = [f"init_from: {len(weights)} tensors of {run.checkpoint}{_epoch(checkpoint.get('epoch'))}"]
    if "spec" in run.config:
        source = run.spec()
        if source.scaling != module.spec.scaling:
            kept = "is standardised by its own mean and scale" if module.spec.scaling else "is not standardised"
            lines.append(f"init_from: the new data {kept}, unlike the data of {run.folder}")
        if module.model.conditional:
            lines += _other_classes(source, module.spec, run.folder)
    return lines


def _epoch(number: object) -> str:
    return f" (epoch {number})" if isinstance(number, int) else ""


def _other_classes(source: DataSpec, data: DataSpec, folder: Path) -> list[str]:
    lines = []
    for key, kind in (("class_names", "classes"), ("attributes", "attributes"), ("numbers", "numbers")):
        if getattr(source, key) != getattr(data, key):
            was, now = (listed(getattr(spec, key)) or "without names" for spec in (source, data))
            lines.append(
                f"init_from: the {kind} of {folder} are {was}; those of the data are {now}, taken in this order"
            )
    if source.numbers and source.numbers_scaling != data.numbers_scaling:
        lines.append("init_from: the numbers of the condition are standardised by the mean and scale of the new data")
    return lines
