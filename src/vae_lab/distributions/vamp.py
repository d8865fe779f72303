"""The VampPrior: a mixture of the model's own posteriors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.distributions.gaussian import diagonal_gaussian, loc_and_scale
from vae_lab.distributions.mixture import DiagonalGaussianMixture, check_num_components

Encode = Callable[[Tensor, Tensor | None], Distribution]
"""(given, context) -> q(z|given, context), a diagonal Gaussian."""


class VampPrior(nn.Module):
    """p(z|c) = (1/M) sum_m q(z|u_m, c) with M learned inputs u (Tomczak and Welling 2018, arXiv:1705.07120).

    In a hierarchy q is the top level of the posterior, and u are inputs of that level: images, or latents of the level
    below. A model passes its posterior by `attach`.

    Args:
        event_shape: not used, because q knows it, but an argument of every prior.
        context_features: not used, but an argument of every prior.
        num_components: number of inputs, M.

    Raises:
        ValueError: for fewer than 1 component.
    """

    inputs: nn.Parameter

    def __init__(self, event_shape: Sequence[int], context_features: int = 0, num_components: int = 500) -> None:
        super().__init__()
        check_num_components(num_components)
        self.num_components = num_components
        self.encode: Encode | None = None
        self.images = False
        self.one_hot = False

    def attach(self, encode: Encode, input_shape: Sequence[int], images: bool, one_hot: bool = False) -> None:
        """Sets the posterior that the mixture is made of, and creates its inputs.

        Args:
            encode: function or bound method, not a module, so that the parameters are registered in the posterior only.
            input_shape: shape of one input.
            images: True if the inputs are images, kept within [0, 1]; otherwise they are unbounded latents.
            one_hot: True if every context is one-hot: the inputs are then encoded per label instead of per example.
        """
        assert not isinstance(encode, nn.Module)
        self.encode = encode
        self.images, self.one_hot = images, one_hot
        shape = (self.num_components, *input_shape)
        self.inputs = nn.Parameter(torch.rand(shape) if images else torch.randn(shape))

    def forward(self, given: None = None, context: Tensor | None = None) -> Distribution:
        """Returns the mixture, in the batch shape of the context."""
        if self.encode is None:
            raise ValueError("VampPrior: has no posterior yet; `attach` gives it one")
        inputs = self.inputs.clamp(0, 1) if self.images else self.inputs
        under = _under_labels if self.one_hot else _under_contexts
        components = self.encode(inputs, None) if context is None else under(self.encode, inputs, context)
        return DiagonalGaussianMixture(torch.zeros_like(components.mean[..., 0]), components)


def _under_contexts(encode: Encode, inputs: Tensor, context: Tensor) -> Distribution:
    """Returns q(z|u_m, c) for any contexts (*batch_shape, C), of batch shape (*batch_shape, M)."""
    rows = context.reshape(-1, context.shape[-1])
    q = encode(inputs[:, None].expand(-1, rows.shape[0], *inputs.shape[1:]), rows)  # batch shape (M, B)
    shape = (*context.shape[:-1], len(inputs), *q.event_shape)
    loc, scale = (each.transpose(0, 1).reshape(shape) for each in loc_and_scale(q))
    return diagonal_gaussian(loc, scale, len(q.event_shape))


def _under_labels(encode: Encode, inputs: Tensor, context: Tensor) -> Distribution:
    """Returns q(z|u_m, c), of batch shape (*batch_shape, M), by encoding each input once per label."""
    num_labels = context.shape[-1]
    labels = torch.eye(num_labels, dtype=context.dtype, device=context.device)
    q = encode(inputs[:, None].expand(-1, num_labels, *inputs.shape[1:]), labels)  # batch shape (M, num_labels)
    label = context.argmax(-1)
    loc, scale = (each.transpose(0, 1)[label] for each in loc_and_scale(q))
    return diagonal_gaussian(loc, scale, len(q.event_shape))
