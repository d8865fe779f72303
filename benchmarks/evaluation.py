"""Importance-sampled evaluation: how much of the machine's matrix-product rate it reaches."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.bare import clock
from benchmarks.program import composed
from vae_lab.core import LatentVariableModel

SAMPLES = 5000
EXAMPLES = 100


def decoder_flops(model: LatentVariableModel) -> int:
    """Floating-point operations of decoding one sample by a fully connected decoder."""
    layers = [layer for layer in model.likelihood.modules() if isinstance(layer, nn.Linear)]
    return sum(2 * layer.in_features * layer.out_features for layer in layers)


def matrix_rate(device: str = "cpu", size: int = 2048) -> float:
    """FLOP/s of a product of two square float32 matrices, best of five after one that is not timed."""
    a = torch.randn(size, size, device=device)
    seconds = []
    for _ in range(6):
        start = clock()
        a @ a
        seconds.append(clock() - start)
    return 2 * size**3 / min(seconds[1:])


def measure(
    *overrides: str, device: str = "cpu", examples: int = EXAMPLES, samples: int = SAMPLES, size: int = 2048
) -> tuple[float, float, float]:
    """Rates in FLOP/s of the evaluation and of the matrix product, and the examples per second."""
    run = composed(*overrides)
    model = run.module.model.to(device)
    x = run.data.examples(examples).x.to(device)
    model.log_marginal(x, None, samples // 10)
    rate = matrix_rate(device, size)
    start = clock()
    model.log_marginal(x, None, samples)
    seconds = clock() - start
    return (
        decoder_flops(model) * samples * examples / seconds,
        (rate + matrix_rate(device, size)) / 2,
        examples / seconds,
    )
