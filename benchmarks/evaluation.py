"""Importance-sampled evaluation: how much of the machine's matrix-product rate it reaches."""

from __future__ import annotations

import time

import torch
from torch import nn

from benchmarks.program import composed, parts_of
from vae_lab.core import LatentVariableModel
from vae_lab.train import build_module

SAMPLES = 5000
EXAMPLES = 100


def decoder_flops(model: LatentVariableModel) -> int:
    """Floating-point operations of decoding one sample by a fully connected decoder."""
    layers = [layer for layer in model.likelihood.modules() if isinstance(layer, nn.Linear)]
    return sum(2 * layer.in_features * layer.out_features for layer in layers)


def matrix_rate() -> float:
    """FLOP/s of a product of two 2048 x 2048 matrices, best of five."""
    a = torch.randn(2048, 2048)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(seconds)


def measure(*overrides: str) -> tuple[float, float, float]:
    """Rates in FLOP/s of the evaluation and of the matrix product, and the examples a second."""
    cfg = composed(".", *overrides)
    parts = parts_of(cfg)
    model = build_module(cfg, parts).model
    x = parts["data"].examples(EXAMPLES).x
    model.log_marginal(x, None, 500)
    rate = matrix_rate()
    start = time.perf_counter()
    model.log_marginal(x, None, SAMPLES)
    seconds = time.perf_counter() - start
    return decoder_flops(model) * SAMPLES * EXAMPLES / seconds, (rate + matrix_rate()) / 2, EXAMPLES / seconds
