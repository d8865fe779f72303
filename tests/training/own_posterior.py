"""A posterior of one's own, whose distribution draws by torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace

from vae_lab.distributions import Gaussian

FILE = "NOISE_FILE"
"""Environment variable: each process writes its first noise in training to this file and its number."""


class _Written(Laplace):
    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        z: Tensor = super().rsample(torch.Size(sample_shape))
        path = Path(f"{os.environ.get(FILE, '')}{os.environ.get('LOCAL_RANK', '0')}")
        trains = z.requires_grad and z.shape[-2] > 10  # checks before the run look at a few examples
        if FILE in os.environ and trains and not path.exists():
            torch.save(((z - self.loc) / self.scale).detach(), path)
        return z


class LaplacePosterior(Gaussian):
    """Laplace in place of Gaussian latents."""

    def forward(self, raw: Tensor) -> Distribution:
        normal = super().forward(raw).base_dist  # type: ignore[attr-defined]
        return Independent(_Written(normal.loc, normal.scale), 1)
