"""The Trainer that a config asks for, or one line that names the key for which there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from vae_lab.errors import RunError


def make_trainer(node: Mapping[Any, Any], **parts: Any) -> Any:
    """Returns the Trainer of a config.

    Args:
        node: config of the Trainer.
        parts: arguments that are objects already, such as its callbacks.

    Raises:
        RunError: for what Lightning or the lab refuses.
    """
    from vae_lab.training import check_trainer, naming_the_key  # noqa: PLC0415

    if node.get("barebones"):
        instead = "callbacks=none logger=none trainer.enable_progress_bar=false leaves out the same"
        raise RunError(f"trainer.barebones=true: is for a Trainer in Python, which records nothing; {instead}")
    try:
        trainer = instantiate(node, **parts, _convert_="all")
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise RunError(naming_the_key(reason, {**node, **parts})) from error
    check_trainer(trainer)
    return trainer
