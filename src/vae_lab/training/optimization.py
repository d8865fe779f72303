"""Options of the optimization, and the parts of an optimizer step: find what is not finite, clip, step, zero_grad."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.distributed import ReduceOp, all_reduce
from torch.distributed.tensor import DTensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
"""Parameters, or groups of them with options of their own -> optimizer."""
SchedulerFactory = Callable[..., LRScheduler]
"""(Optimizer, total_steps) -> schedule; or a class of torch.optim.lr_scheduler, see `schedule`."""


class Optimization(NamedTuple):
    """Options of the optimization.

    Attributes:
        optimizer: parameters, or groups of them -> optimizer.
        scheduler: (optimizer, total_steps) -> learning-rate schedule, stepped with the optimizer; None: constant.
        gradient_clip_val: largest norm (or value) of the gradient; None: not clipped.
        gradient_clip_algorithm: "norm" or "value".
        accumulate_grad_batches: batches whose gradients are averaged for one optimizer step.
        compile: compile the loss and its gradient with `torch.compile`; "auto": if the run is long enough; "graph":
            not at all. Unless False, a GPU captures its steps where it can (`vae_lab.training.capture.captured`).
        gradient_skip: steps whose gradient has a norm of more than this multiple of the usual one are skipped; None:
            no step is. See `vae_lab.training.skipping`.
        steps_per_pass: largest number of optimizer steps per pass of Lightning's loop; "auto": up to the next point
            where something is logged, saved or drawn; 1: Lightning's contract, that the batch hooks of every callback
            are called at each batch (of one that is ``pass_safe``: at each step). The numbers are the same.
    """

    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None = None
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate_grad_batches: int = 1
    compile: bool | Literal["auto", "graph"] = "auto"
    gradient_skip: float | None = None
    steps_per_pass: int | Literal["auto"] = "auto"


def check_optimization(optimization: Optimization) -> None:
    """Raises ValueError for a number of batches or steps below 1, or a clipping of gradients that cannot be done."""
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
    steps = optimization.steps_per_pass
    if steps != "auto" and (not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps_per_pass={steps}: must be 1 or more, or auto")


class StepTerms(NamedTuple):
    """Terms of one training batch: loss (), log-likelihood (K, B), KL (K, B, L), and further numbers to log."""

    loss: Tensor
    log_likelihood: Tensor
    kl: Tensor
    logs: dict[str, Tensor | float]


class Step(NamedTuple):
    """Batches of one optimizer step, and ``found_inf``, (): 1 if it was skipped, else 0."""

    batches: list[StepTerms]
    found_inf: Tensor


SYNCHRONOUS_DEVICES = ("cpu",)
"""Kinds of devices whose results the host has without waiting."""


def find_non_finite(optimizer: Optimizer) -> Tensor:
    """Returns 1 if an entry of the gradient is not finite, else 0, (); the host does not wait for the device.

    If the gradient is sharded over processes, every process must call it.
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
    """Returns the norm of the whole gradient in float32, (); if it is sharded, every process must call it."""
    gradients = [parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None]
    norm: Any = nn.utils.get_total_norm(gradients)
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).float()


def zero_grad(optimizer: Optimizer) -> None:
    """Removes all gradients, without the marks for a profiler that `Optimizer.zero_grad` takes most of its time for."""
    for parameter in parameters_of(optimizer):
        parameter.grad = None


def parameters_of(optimizer: Optimizer) -> Iterator[nn.Parameter]:
    """Returns the parameters from the optimizer's own list: walking through the model's modules takes much longer."""
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def clip_gradient(parameters: Iterable[nn.Parameter], optimization: Optimization) -> None:
    """Bounds each entry of the gradient, or its norm, if the optimization says so.

    Lightning's own clipping refuses fused optimizers in bf16, too, although no gradient is scaled there.
    """
    if not optimization.gradient_clip_val:
        return
    if optimization.gradient_clip_algorithm == "value":
        nn.utils.clip_grad_value_(parameters, optimization.gradient_clip_val)
    else:
        nn.utils.clip_grad_norm_(parameters, optimization.gradient_clip_val)


def clip_before_step(optimizer: Optimizer, clip: Callable[[], None]) -> None:
    """Has the optimizer clip the gradient at each step, after the hooks that Lightning calls in the step's closure."""

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


def with_momentum(optimizer: Optimizer) -> Optimizer:
    """Gives fused SGD momentum of 0 to start from, which it would read unwritten if its first step is skipped.

    With dampening the first step would be another, so that it is left as it is.
    """
    for group in optimizer.param_groups if isinstance(optimizer, SGD) else ():
        if group["fused"] and group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def step_unless(found_inf: Tensor, optimizer: Optimizer, step: Callable[[], Any]) -> None:
    """Takes the step if ``found_inf``, (), is 0.

    A fused optimizer decides on the device, so that the host does not wait for the gradient.
    """
    waits = found_inf.device.type not in SYNCHRONOUS_DEVICES
    if waits and all(group.get("fused") for group in optimizer.param_groups):
        optimizer.found_inf = found_inf  # type: ignore[attr-defined]
        step()
    elif not found_inf:
        step()


def step_with_scaler(step: Callable[[], Any], scaler: GradScaler) -> Tensor:
    """Takes a step with a gradient scaler, which skips by itself; returns 1 if it has, else 0, ()."""
    before = _scale(scaler).clone()
    step()
    return (_scale(scaler) < before).float().squeeze()


def _scale(scaler: GradScaler) -> Tensor:
    """Returns the scale on the device: `GradScaler.get_scale` would wait for it."""
    assert scaler._scale is not None, "the loss was not scaled"
    return scaler._scale


def schedule(make: SchedulerFactory, optimizer: Optimizer, steps: float) -> LRScheduler:
    """Returns the learning-rate schedule of a run of ``steps``; of torch those have the length of the run by default.

    Raises:
        ValueError: for infinite steps, or a schedule that follows a metric.
    """
    if steps == math.inf:
        raise ValueError(
            "a learning-rate schedule needs an end: set trainer.max_steps, or trainer.max_epochs for a loader with a"
            " length"
        )
    target = getattr(make, "func", make)
    if target is ReduceLROnPlateau:
        raise ValueError("scheduler: ReduceLROnPlateau follows a metric, and schedules the step alone; choose another")
    if target.__module__ != LRScheduler.__module__:
        return make(optimizer, int(steps))
    # Those of torch take something else in the second place, such as the steps between two reductions.
    lengths = {"total_steps", "T_max", "total_iters"} & signature(target).parameters.keys()
    return make(optimizer, **{name: int(steps) for name in lengths - getattr(make, "keywords", {}).keys()})


def refuse_scaled_gradients(optimization: Optimization, optimizer: Optimizer) -> None:
    """Raises ValueError for a rule on gradients that cannot work under precision=16-mixed, which scales them."""
    if optimization.gradient_skip is not None:
        reason = "precision=16-mixed scales gradients and skips steps itself; use bf16-mixed"
        raise ValueError(f"gradient_skip={optimization.gradient_skip:g}: {reason}")
    if optimization.gradient_clip_val and any(group.get("fused") for group in optimizer.param_groups):
        raise ValueError(
            "precision=16-mixed with gradient_clip_val: a fused optimizer sees scaled gradients only; "
            "set optimizer.fused=false"
        )
