"""Labels as context, and the concatenation of context and features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding


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


def join(features: Tensor | None, context: Tensor | None) -> Tensor:
    """Concatenates features (..., B, F) and context (B, C) to (..., B, F + C). One of the two may be missing."""
    if features is None:
        assert context is not None
        return context
    if context is None:
        return features
    context = context.to(features.dtype).expand(*features.shape[:-1], -1)
    return torch.cat((features, context), dim=-1)
