"""Models whose weights are spread over processes (FSDP: Zhao et al. 2023, arXiv:2304.11277)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import SGD, Optimizer


def is_sharded(model: nn.Module) -> bool:
    """True if each process holds only a part of each weight."""
    return isinstance(model, FSDPModule)


def shard(model: nn.Module, device: torch.device, num_processes: int) -> None:
    """Leaves each process a part of each weight; the other parts are gathered for each forward and backward."""
    fully_shard(model, mesh=init_device_mesh(device.type, (num_processes,)))


def refuse_fused_sgd(model: nn.Module, optimizer: Optimizer) -> None:
    """Raises ValueError for the one fused optimizer that torch cannot run on sharded weights."""
    if is_sharded(model) and isinstance(optimizer, SGD) and any(group["fused"] for group in optimizer.param_groups):
        raise ValueError("optimizer.fused=true: torch has no fused SGD for sharded weights; set optimizer.fused=false")


def refuse_own_parameters(trainer: Trainer, objective: nn.Module) -> None:
    """Raises ValueError for an objective with parameters if those of the model are spread over processes."""
    if isinstance(trainer.strategy, ModelParallelStrategy) and list(objective.parameters()):
        raise ValueError(
            f"trainer=fsdp: cannot spread the parameters of {type(objective).__name__} over processes; use trainer=ddp"
        )


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Context manager in which all methods of the model can be called, not just forward; each process must enter it."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()
