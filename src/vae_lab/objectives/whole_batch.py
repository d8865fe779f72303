"""Statistics of a batch that several processes share, the same as in one process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed import all_reduce, is_initialized

from vae_lab import noise


def whole_batch(values: Tensor, batch_dim: int = 0) -> Tensor:
    """Returns the values of all examples of the batch, in its order, also of those of other processes.

    An objective that is not a mean over examples, such as one that clamps the mean of the KL, computes its statistics
    from these. Every process then has the same loss, and receives the gradients of all processes for its own examples.
    Because gradients are averaged over processes afterwards, each parameter gets the gradient of a single process.

    Args:
        values: values of the examples of this process.
        batch_dim: dimension of the examples.

    Returns:
        ``values`` itself if one process has the whole batch.
    """
    shard = noise.current_shard()
    if shard is None or shard.world == 1 or not is_initialized():
        return values
    shape = list(values.shape)
    shape[batch_dim] = shard.size
    whole: Tensor = _gathered(values, shape, (slice(None),) * batch_dim + (shard.rows,))
    return whole


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a graph cannot communicate with other processes
def _gathered(values: Tensor, shape: list[int], rows: tuple[slice, ...]) -> Tensor:
    whole = values.new_zeros(shape)
    whole[rows] = values
    return _SumOverProcesses.apply(whole)  # type: ignore[no-any-return]


class _SumOverProcesses(torch.autograd.Function):
    """Sum over processes; the gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        all_reduce(total)
        return total
