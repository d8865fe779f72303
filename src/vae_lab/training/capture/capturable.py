"""Says whether an optimizer step may be captured as a CUDA graph, and what may change it afterwards."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, LambdaCallback
from torch import Tensor
from torch.optim import Optimizer

from vae_lab.training.batch_hooks import PASS_SAFE
from vae_lab.training.optimization import Optimization
from vae_lab.training.trainer_parts import callbacks_of

NO_PROMISE = "no capturable = True"
"""Why a part that may work on the host is an obstacle."""


def obstacle_to_capture(
    optimization: Optimization, optimizer: Optimizer, parts: Iterable[object], device: torch.device, direct: bool
) -> str | None:
    """Returns why no step is to be captured, None if it is.

    What a part does on the host, such as counting, would be done once, at the capture. So with compile=auto a part that
    is `not_capturable` is an obstacle.

    Args:
        optimization: options of the optimization.
        optimizer: the optimizer.
        parts: modules, and callbacks that are called between two steps.
        device: device of the training.
        direct: the step calls PyTorch directly, and nothing of Lightning.
    """
    unknown = sorted({type(part).__qualname__ for part in (*parts, optimizer) if not_capturable(part)})
    obstacles = {
        "compile=false": optimization.compile is False,
        f"the device is {device.type}, not cuda": device.type != "cuda",
        "several devices, precision=16-mixed, a profiler, steps_per_pass=1 or a hook within a step": not direct,
        "trainer.accumulate_grad_batches is above 1": optimization.accumulate_grad_batches > 1,
        "the optimizer is not fused": not all(group.get("fused") for group in optimizer.param_groups),
        "the learning rate is a tensor": any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups),
        f"{', '.join(unknown)}: {NO_PROMISE}": bool(unknown) and optimization.compile == "auto",
    }
    return next((reason for reason, holds in obstacles.items() if holds), None)


def not_capturable(part: object) -> bool:
    """True if a class may do anything, and does not say ``capturable = True``."""
    known = type(part).__module__.startswith(("vae_lab.", "torch.", "pytorch_lightning."))
    return (not known or isinstance(part, LambdaCallback)) and not getattr(part, "capturable", False)


def may_change_model(trainer: Trainer) -> bool:
    """True if a callback may change model or objective between two epochs, as pruning does."""
    others = [each for each in callbacks_of(trainer, Callback) if type(each) not in (*PASS_SAFE, EarlyStopping)]
    unknown = [each for each in others if not getattr(each, "capturable", False)]
    return any(not type(each).__module__.startswith("vae_lab.") for each in unknown)
