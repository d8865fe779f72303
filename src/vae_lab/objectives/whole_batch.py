"""Statistics of a batch that several processes share: each of them computes what one process would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed import all_reduce, is_initialized

from vae_lab import noise


def whole_batch(values: Tensor, batch_dim: int = 0) -> Tensor:
    """Returns the values of all examples of the batch, in its order, whichever process holds them.

    An objective that is not a mean over examples, such as one that clamps the mean of the KL, takes its statistics from
    these. Every process then computes the same loss and adds its gradient to what the others send for its examples; as
    the gradients are averaged over processes afterwards, each parameter gets the gradient of one process.

    Args:
        values: of this process's examples.
        batch_dim: dimension of the examples.

    Returns:
        ``values`` itself where one process holds the whole batch.
    """
    shard = noise.current_shard()
    if shard is None or shard.world == 1 or not is_initialized():
        return values
    shape = list(values.shape)
    shape[batch_dim] = shard.size
    whole: Tensor = _gathered(values, shape, (slice(None),) * batch_dim + (shard.rows,))
    return whole


@torch.compiler.disable  # type: ignore[untyped-decorator]  # talks to other processes, which a graph cannot
def _gathered(values: Tensor, shape: list[int], rows: tuple[slice, ...]) -> Tensor:
    whole = values.new_zeros(shape)
    whole[rows] = values
    return _SumOverProcesses.apply(whole)  # type: ignore[no-any-return]


class _SumOverProcesses(torch.autograd.Function):
    """The sum over processes, and for the gradient the sum of theirs."""

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
