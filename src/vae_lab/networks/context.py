"""Labels and other conditions as context, and the concatenation of context and features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from vae_lab.types import DataSpec


class OneHot(nn.Module):
    """Class indices (B,) -> one-hot context (B, num_classes)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.eye: Tensor
        # The buffer has the dtype and device of the model, and so has the context.
        self.register_buffer("eye", torch.eye(num_classes), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        return embedding(y, self.eye)  # unlike an index, it refuses -1


class StandardisedRows(nn.Module):
    """Rows (B, C) of one-hot classes, attributes and numbers -> context (B, C), with the numbers standardised.

    Args:
        spec: spec of data with attributes or numbers.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        flags = spec.context_features - len(spec.numbers)
        mean, scale = spec.numbers_scaling or ([0.0] * len(spec.numbers), [1.0] * len(spec.numbers))
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor([0.0] * flags + list(mean)), persistent=False)
        self.register_buffer("scale", torch.tensor([1.0] * flags + list(scale)), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        return (y.to(self.mean.dtype) - self.mean) / self.scale


def join(features: Tensor | None, context: Tensor | None) -> Tensor:
    """Concatenates features (..., B, F) and context (B, C) to (..., B, F + C). One of the two may be missing."""
    if features is None:
        assert context is not None
        return context
    if context is None:
        return features
    context = context.to(features.dtype).expand(*features.shape[:-1], -1)
    return torch.cat((features, context), dim=-1)
