"""How the loss is minimised, and the steps that are taken only where the gradient is finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.distributed import ReduceOp, all_reduce
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
"""Parameters, or groups of them with options of their own -> optimizer."""
SchedulerFactory = Callable[[Optimizer, int], LRScheduler]


class Optimization(NamedTuple):
    """How the loss is minimised.

    Attributes:
        optimizer: parameters, or groups of them -> optimizer.
        scheduler: (optimizer, total_steps) -> learning-rate schedule, stepped with the optimizer; None: constant.
        gradient_clip_val: largest norm (or value) of the gradient; None: not clipped.
        gradient_clip_algorithm: "norm" or "value".
        accumulate_grad_batches: batches whose gradients are averaged for one optimizer step.
        compile: compile the loss and its gradient with `torch.compile`; "auto": where that pays for itself.
        gradient_skip: steps whose gradient has a norm of more than this multiple of the usual one are skipped; None:
            no step is. See `vae_lab.training.skipping`.
    """

    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None = None
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate_grad_batches: int = 1
    compile: bool | Literal["auto"] = "auto"
    gradient_skip: float | None = None


def check_optimization(optimization: Optimization) -> None:
    """Raises ValueError for an accumulation or a clipping of gradients that makes no sense."""
    accumulate, clip, algorithm = (
        optimization.accumulate_grad_batches,
        optimization.gradient_clip_val,
        optimization.gradient_clip_algorithm,
    )
    if accumulate < 1:
        raise ValueError(f"trainer.accumulate_grad_batches={accumulate}: must be at least 1")
    if algorithm not in ("norm", "value"):
        raise ValueError(f"trainer.gradient_clip_algorithm={algorithm}: choose norm or value")
    if (clip or 0) < 0:
        raise ValueError(f"trainer.gradient_clip_val={clip}: must be 0 or more, or null")


class StepTerms(NamedTuple):
    """What one batch of training leaves behind: loss (), log-likelihood (K, B), KL (K, B, L) and what is logged."""

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    logs: dict[str, Tensor | float]


class Step(NamedTuple):
    """One optimizer step: the batches it accumulated; ``found_inf``, (): 1 where it was skipped, else 0."""

    batches: list[StepTerms]
    found_inf: Tensor


AT_ONCE = ("cpu",)
"""Kinds of devices whose results the host has without waiting."""


def look_for_non_finite(optimizer: Optimizer) -> Tensor:
    """1 where an entry of the gradient is not finite, else 0, (); the host does not wait for the device.

    Of a gradient that is sharded over processes, every process must look.
    """
    gradients: list[Any] = [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]
    sharded = isinstance(gradients[0], DTensor)
    if sharded:
        gradients = [gradient.to_local() for gradient in gradients]
    found_inf = torch.zeros((), dtype=torch.float32, device=gradients[0].device)
    # The kernel of torch's own GradScaler, here at scale 1: a third of the time of the norm.
    torch._amp_foreach_non_finite_check_and_unscale_(gradients, found_inf, torch.ones_like(found_inf))
    if sharded:
        all_reduce(found_inf, ReduceOp.MAX)
    return found_inf


def gradient_norm(optimizer: Optimizer) -> Tensor:
    """Returns the norm of the whole gradient in float32, (); of a sharded one, every process must ask."""
    gradients = [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]
    norm: Any = nn.utils.get_total_norm(gradients)
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).float()


def forget_gradients(optimizer: Optimizer) -> None:
    """As its `zero_grad`, without that one's marks for a profiler, which take longer than the rest."""
    for parameter in parameters_of(optimizer):
        parameter.grad = None


def parameters_of(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    """From its own list: to walk through the modules of the model would take longer than to look at the gradient."""
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def clip_gradient(parameters: Iterable[nn.Parameter], optimization: Optimization) -> None:
    """Bounds each entry of the gradient, or its norm, where that is asked for.

    Lightning's own way refuses fused optimizers in bf16, too, where no gradient is scaled.
    """
    if not optimization.gradient_clip_val:
        return
    if optimization.gradient_clip_algorithm == "value":
        nn.utils.clip_grad_value_(parameters, optimization.gradient_clip_val)
    else:
        nn.utils.clip_grad_norm_(parameters, optimization.gradient_clip_val)


def clip_before_step(optimizer: Optimizer, clip: Callable[[], None]) -> None:
    """Clips the gradient at each step of the optimizer, after the hooks that Lightning calls in the step's closure."""

    def clip_after_hooks(_: Optimizer, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        closure = kwargs.get("closure")
        if closure is None:
            clip()
            return None

        def clipped() -> Any:
            result = closure()
            clip()
            return result

        return args, {**kwargs, "closure": clipped}

    optimizer.register_step_pre_hook(clip_after_hooks)


def step_unless(found_inf: Tensor, optimizer: Optimizer, step: Callable[[], Any]) -> None:
    """Takes the step where ``found_inf``, (), is 0.

    A fused optimizer decides on the device, so that the host need not wait for the gradient.
    """
    waits = found_inf.device.type not in AT_ONCE
    if waits and all(group.get("fused") for group in optimizer.param_groups):
        optimizer.found_inf = found_inf  # type: ignore[attr-defined]
        step()
    elif not found_inf:
        step()


def step_with_scaler(step: Callable[[], Any], scaler: GradScaler) -> Tensor:
    """A step of Lightning's with a gradient scaler, which skips by itself; 1 where it has, else 0, ()."""
    before = _scale(scaler).clone()
    step()
    return (_scale(scaler) < before).float().squeeze()


def _scale(scaler: GradScaler) -> Tensor:
    """On the device: `GradScaler.get_scale` would wait for it."""
    assert scaler._scale is not None, "the loss was not scaled"
    return scaler._scale


def total_steps(trainer: Any, accumulate_grad_batches: int) -> float:
    """Optimizer steps in the whole run of a Trainer; infinite where nothing limits them."""
    limits = [trainer.max_steps] if trainer.max_steps != -1 else []
    if trainer.max_epochs not in (None, -1):
        trainer.fit_loop.setup_data()  # counts the batches
        limits.append(math.ceil(trainer.num_training_batches / accumulate_grad_batches) * trainer.max_epochs)
    return min(limits, default=math.inf)


def schedules(trainer: Any, optimization: Optimization, optimizer: Optimizer) -> list[LRScheduler]:
    """Returns the schedule of the learning rate over the whole run, where one is asked for.

    Raises:
        ValueError: where nothing limits the run.
    """
    if optimization.scheduler is None:
        return []
    steps = total_steps(trainer, optimization.accumulate_grad_batches)
    if steps == math.inf:
        raise ValueError("a learning-rate schedule needs an end: set trainer.max_epochs or trainer.max_steps")
    return [optimization.scheduler(optimizer, int(steps))]


def refuse_scaled_gradients(optimization: Optimization, optimizer: Optimizer) -> None:
    """Raises ValueError for what fp16's scaled gradients do not allow: to be judged, or clipped before a fused step."""
    if optimization.gradient_skip is not None:
        reason = "precision=16-mixed scales gradients and skips steps itself; use bf16-mixed"
        raise ValueError(f"gradient_skip={optimization.gradient_skip:g}: {reason}")
    if optimization.gradient_clip_val and any(group.get("fused") for group in optimizer.param_groups):
        raise ValueError(
            "precision=16-mixed with gradient_clip_val: a fused optimizer sees scaled gradients only; "
            "set optimizer.fused=false"
        )
