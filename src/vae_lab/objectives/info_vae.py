"""InfoVAE and WAE-MMD: the maximum mean discrepancy pulls the aggregated posterior towards the prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.distributions.gaussian import rsample
from vae_lab.objectives.base import Loss, Objective, Scheduled
from vae_lab.objectives.whole_batch import whole_batch

Kernel = Callable[[Tensor, float], Tensor]
"""(squared distances, width) -> k. The width is 2 D, the mean squared distance of two draws of N(0, I)."""

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Widths over which the inverse multiquadratic kernel is summed, from the code of Tolstikhin et al."""


class InfoVae(Objective):
    """-E[log p(x|z)] + (1 - alpha) KL + (alpha + lambda - 1) MMD^2(q(z), p(z)) (Zhao et al. 2019, arXiv:1706.02262).

    q(z) = E_x[q(z|x)] is the aggregated posterior. alpha = 0, lambda = 1 is the ELBO; alpha = 1 is the WAE-MMD with
    -log p(x|z) for its cost (Tolstikhin et al. 2018, arXiv:1711.01558).

    In a hierarchy both weights act at the top level; the KL of the levels below, which trains p(z_l|z_{l+1}), keeps the
    weight 1. With labels, p is drawn for the labels of the batch, so that the MMD compares mixtures over labels; only
    the KL makes q(z|y) agree with p(z|y) for each y.

    Args:
        alpha: reduces the weight of the mutual information I(x; z) in the KL from 1 to 1 - alpha.
        lambda_: weight of the divergence between q(z) and p(z).
        kernel: "imq", inverse multiquadratic of several widths, or "rbf", Gaussian.
        num_samples: K, samples that are averaged.

    Raises:
        ValueError: for an alpha above 1, a lambda_ that makes the weight of the MMD negative, a number that is not
            finite, or another kernel.
    """

    log_names = ("mmd",)

    def __init__(
        self,
        alpha: float = 0.5,
        lambda_: float = 100.0,
        kernel: Literal["imq", "rbf"] = "imq",
        num_samples: int = 1,
    ) -> None:
        super().__init__(num_samples)
        if not -math.inf < alpha <= 1:
            raise ValueError(f"alpha={alpha}: must be a finite number, 1 or less")
        if not 1 - alpha <= lambda_ < math.inf:
            raise ValueError(f"lambda_={lambda_}: must be a finite number, 1 - alpha = {1 - alpha} or more")
        if kernel not in KERNELS:
            raise ValueError(f"kernel={kernel}: choose {' or '.join(KERNELS)}")
        self.alpha = alpha
        self.lambda_ = lambda_
        self.kernel = KERNELS[kernel]

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        top = terms.levels[-1]
        mmd = squared_mmd(whole_batch(top.z, 1), whole_batch(prior_samples(top), 1), self.kernel).mean()
        kl_of_levels = terms.kl.mean((0, 1))  # (L,)
        kl = kl_of_levels[:-1].sum() + (1 - self.alpha) * kl_of_levels[-1]
        value = kl + (self.alpha + self.lambda_ - 1) * mmd - terms.log_likelihood.mean()
        return Loss(value, {"mmd": mmd.detach()})


def prior_samples(level: LatentLevel) -> Tensor:
    """Draws from p for every sample of q, (K, B, *event), given the context of the same example if there is one."""
    return rsample(level.p, level.z.shape[: 2 - len(level.p.batch_shape)])


def squared_mmd(a: Tensor, b: Tensor, kernel: Kernel) -> Tensor:
    """Returns MMD^2 = E[k(a, a') + k(b, b') - 2 k(a, b')], unbiased (Gretton et al. 2012, JMLR 13, eq. 4).

    It is the mean over the pairs i != j of a batch; a_i and b_i may depend on each other, for example share a label.

    Args:
        a, b: samples of the two distributions, (K, B, *event).
        kernel: one of `KERNELS`.

    Returns:
        (K,). It can be negative, because it is 0 on average if the distributions agree. 0 for a batch of one, which has
        no pair.
    """
    a, b = a.flatten(2), b.flatten(2)
    num_samples, num, dim = a.shape
    if num == 1:
        return a.new_zeros(num_samples)

    def gram(first: Tensor, second: Tensor) -> Tensor:
        return kernel(torch.cdist(first, second).square(), 2.0 * dim)

    pairs = gram(a, a) + gram(b, b) - 2 * gram(a, b)  # (K, B, B)
    different = pairs.sum((1, 2)) - pairs.diagonal(dim1=1, dim2=2).sum(1)
    return different / (num * (num - 1))


def _inverse_multiquadratic(squared_distance: Tensor, width: float) -> Tensor:
    """Returns sum_s s C / (s C + |a - b|^2) with the width C."""
    return torch.stack([scale * width / (scale * width + squared_distance) for scale in SCALES]).sum(0)


def _gaussian(squared_distance: Tensor, width: float) -> Tensor:
    """Returns exp(-|a - b|^2 / C) with the width C."""
    return (-squared_distance / width).exp()


KERNELS: dict[str, Kernel] = {"imq": _inverse_multiquadratic, "rbf": _gaussian}
