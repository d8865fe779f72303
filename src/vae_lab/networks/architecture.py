"""Architectures build the networks of a model, towards the latents and towards the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn


class Architecture(ABC):
    """A family of networks. Every network is called as ``net(given, context)``.

    given has shape (..., *in_shape) with any leading dimensions, context is (B, context_features) or None, and the
    output is (..., *out_shape).
    """

    def check_data(self, shape: Sequence[int]) -> None:  # noqa: B027 (most families read any data)
        """Raises ValueError for examples of a shape that these networks cannot read."""

    @abstractmethod
    def encoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> nn.Module:
        """Builds a network away from the data: example -> latent, or latent -> the latent above."""

    @abstractmethod
    def decoder(self, in_shape: Sequence[int], out_shape: Sequence[int], context_features: int = 0) -> nn.Module:
        """Builds a network towards the data: latent -> parameters of an example, or latent -> the latent below.

        If the network has a method ``start_at(out)``, which sets its last bias to an output (*out_shape), training can
        start at the mean of the data.
        """
