"""Reads the tensors in a checkpoint, or of an exported run, and fits them to a model; nothing of a run is executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from vae_lab.errors import RunError, one_line
from vae_lab.runs.folder import WEIGHTS
from vae_lab.runs.formats import FORMAT, check_resumable, migrated
from vae_lab.runs.tensor_files import load_safetensors, load_tensors

Weights = Literal["average", "raw"]
"""Kinds of weights of a run that averages them: the average, or the weights that are trained."""


def read_checkpoint(path: Path, resume: bool = False) -> dict[str, Any]:
    """Returns what a checkpoint holds, with its tensors on the CPU. Executes nothing of it.

    Args:
        path: path of the checkpoint, or of the weights of an exported run, which hold nothing else.
        resume: require all that a run goes on from, and not only weights.

    Raises:
        RunError: for a file that is not a checkpoint of vae_lab, or not a whole one.
    """
    try:
        checkpoint = _of_export(path) if path.suffix == Path(WEIGHTS).suffix else migrated(load_tensors(path))
        if not isinstance(checkpoint.get("state_dict"), Mapping):
            raise ValueError("it lacks weights")
        if resume:
            check_resumable(checkpoint)
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}") from error
    except ImportError:
        raise
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
    except Exception as error:  # of a corrupt file anything may come
        raise RunError(f"{path}: truncated, corrupt or no checkpoint of vae_lab ({one_line(error, 200)})") from error
    return checkpoint


def _of_export(path: Path) -> dict[str, Any]:
    return {"format": FORMAT, "state_dict": {f"model.{name}": value for name, value in load_safetensors(path).items()}}


def check_weights(weights: str) -> None:
    """Raises ValueError for anything but a kind of weights."""
    if weights not in get_args(Weights):
        raise ValueError(f"weights={weights}: choose one of {', '.join(get_args(Weights))}")


def model_weights(checkpoint: Mapping[str, Any], path: Path, weights: Weights = "average") -> dict[str, torch.Tensor]:
    """Returns the tensors of the model in a checkpoint that `read_checkpoint` has read from the path."""
    state = checkpoint["state_dict"]
    if weights == "raw" and isinstance(checkpoint.get("current_model_state"), Mapping):
        state = checkpoint["current_model_state"]
    of_model = {name: value for name, value in state.items() if isinstance(name, str) and name.startswith("model.")}
    tensors = {name.removeprefix("model."): value for name, value in of_model.items()}
    odd = next((name for name, value in tensors.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        raise RunError(f"{path}: truncated, corrupt or no checkpoint of vae_lab ({odd} is not a tensor)")
    return tensors


def check_sizes(path: Path, weights: Mapping[str, torch.Tensor], make: Callable[[], Any]) -> None:
    """Raises RunError for a config whose model does not have the sizes of the weights, before it takes any memory."""
    try:
        with torch.device("meta"):
            expected = make().state_dict()
    except (NotImplementedError, RuntimeError):  # of another package: its constructor computes with its tensors
        return
    common = {name: weight for name, weight in weights.items() if name in expected}  # a module may load others itself
    if reason := other_weights({name: expected[name] for name in common}, common):
        raise RunError(f"{path}: the weights of another model ({reason})")


def _shape_and_kind(tensor: torch.Tensor) -> str:
    """Returns ``(3, 4) real``, say: torch would copy complex numbers into real ones, and fractions into integers."""
    kind = "real" if tensor.is_floating_point() else "complex" if tensor.is_complex() else str(tensor.dtype)
    return f"{tuple(tensor.shape)} {kind.removeprefix('torch.')}"


def other_weights(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> str | None:
    """Returns the first difference, such as ``bias is (3,) real, the config makes it (4,) real``, or None."""
    for name, value in expected.items():
        found = _shape_and_kind(weights[name]) if name in weights else "not there"
        if found != _shape_and_kind(value):
            return f"{name} is {found}, the config makes it {_shape_and_kind(value)}"
    return next((f"{name} has no place in the config" for name in weights if name not in expected), None)


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Gives a model the weights of a checkpoint, in their precision; raises RunError for those of another model."""
    if any(weight.dtype == torch.float64 for weight in weights.values()):  # of a run with trainer.precision=64-true
        model.double()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{path}: the weights of another model ({one_line(error, 200)})") from error
    check_finite(model, path)


def check_finite(model: torch.nn.Module, path: Path) -> None:
    """Raises RunError if the weights of a model, taken from a checkpoint, are those of a training that has diverged."""
    if reason := non_finite(model, model.state_dict()):
        raise RunError(f"{path}: {reason}; name another checkpoint, or train again")


def non_finite(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> str | None:
    """Returns the first of the weights that is not finite, such as ``bias is not finite (NaN or infinity)``, or None.

    Args:
        model: module that the weights are for; a buffer of it may hold infinities, as a mask does.
        weights: tensors by the names of the model.
    """
    parameters = dict(model.named_parameters())
    broken = [
        name
        for name, weight in weights.items()
        if (weight.isnan().any() if name not in parameters else not weight.isfinite().all())
    ]
    others = f" and {len(broken) - 1} others are" if len(broken) > 1 else " is"
    return f"{broken[0]}{others} not finite (NaN or infinity)" if broken else None
