"""Averages over a data set by sums over examples, divided once.

A short last batch weighs what it should, and so does every rank: the states are summed over ranks before the division.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from vae_lab.collapse import MIN_KL_OF_UNIT
from vae_lab.core import LatentLevel, LatentVariableModel
from vae_lab.distributions.codes import UniformCodes
from vae_lab.types import DataSpec

Number = TypeVar("Number", int, Tensor)


class BoundMetric(Metric):
    """Means over examples of the terms of the bound, in nats at beta = 1.

    Args:
        groups: group of each level, as `LatentVariableModel.level_groups`; the KLs of a group are added.
        importance_weighted: also average the importance-weighted bound of the samples at hand.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, groups: Sequence[str] = ("level_1",), importance_weighted: bool = False) -> None:
        super().__init__()
        self.groups = tuple(groups)
        self.names = ["log_likelihood", *(f"kl_{group}" for group in dict.fromkeys(groups))]
        if importance_weighted:
            self.names.append("iw_bound")
        # float64: sums of 10^5 numbers of size 10^2 would lose the third decimal in float32.
        self.add_state("total", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, log_likelihood: Tensor, kl: Tensor, iw_bound: Tensor | None = None) -> None:
        """Adds examples: log p(x|z), (K, B), the KL of each level, (K, B, L), and the bound if averaged, (B,)."""
        rows = [log_likelihood.mean(0), *_sums(self.groups, kl.mean(0).unbind(-1)).values()]
        if iw_bound is not None:
            rows.append(iw_bound)
        self.total += torch.stack(rows).sum(1, dtype=torch.float64)
        self.count += log_likelihood.shape[1]

    def restore(self, total: Tensor, count: Tensor) -> None:
        """Goes on from the sums of an unfinished epoch."""
        nothing = torch.zeros(1, 0, len(self.groups), device=self.total.device)
        self.update(nothing[..., 0], nothing)  # torchmetrics warns of averages to which nothing was added
        self.total.copy_(total)
        self.count.copy_(count)

    def compute(self) -> dict[str, float]:
        """Returns `elbo`, `log_likelihood`, `kl`, `kl_<group>` of each group of a hierarchy, `iw_bound` if averaged."""
        means = dict(zip(self.names, (self.total / self.count).tolist(), strict=True))
        kl = sum(means[f"kl_{group}"] for group in dict.fromkeys(self.groups))
        if len(self.groups) == 1:
            del means[f"kl_{self.groups[0]}"]
        return {"elbo": means["log_likelihood"] - kl, "kl": kl, **means}

    @property
    def term_names(self) -> list[str]:
        """Names of the log-likelihood and of the KL of each level, in the order of `ElboTerms`."""
        return ["log_likelihood", *(f"kl_{group}" for group in self.groups)]


class UnitCounts(NamedTuple):
    """Latent dimensions of a level that carry information, by two criteria.

    Attributes:
        units_with_kl: dimensions u whose own KL, averaged over the data, exceeds `MIN_KL_OF_UNIT`; None for a prior
            that does not factorise over dimensions, such as a mixture.
        active_units: dimensions with Var_x(E_q[z_u | x]) > 0.01 (Burda et al. 2016, arXiv:1509.00519). Where the mean
            of a level follows another level it varies with that one, whether or not this level has any KL. None for
            numbers of a codebook's entries, and for one sample of a mean that depends on it.
        codes_used: entries of the codebook that any example uses; None for a level without one.
    """

    units_with_kl: int | None
    active_units: int | None
    codes_used: int | None = None


class ActiveUnitsMetric(Metric):
    """Counts the dimensions of a level that carry information; see `UnitCounts`.

    Where the mean of a level depends on the sampled level beside it, or has no closed form, it is averaged over the K
    samples, and the variance that the averaging leaves (that of the mean of K) is taken off, so that two samples are
    enough for an estimate without bias. One sample is not: its noise would count, so that there is no count.
    """

    full_state_update = False
    THRESHOLD = 0.01
    total: Tensor
    square: Tensor
    kl: Tensor
    codes: Tensor
    count: Tensor
    kl_of_dimensions: Tensor | None = None
    """KL of each dimension in nats, averaged over the examples, when `compute` was last called; None if unknown."""
    noisy = False
    """True if the noise of the samples cannot be told from the variation over the data."""

    def __init__(self) -> None:
        super().__init__()
        # All but the count take the shape of the level when it is first seen.
        for name in ("total", "square", "kl", "codes", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, level: LatentLevel) -> None:
        """Adds the examples of a batch."""
        if isinstance(level.p, UniformCodes):
            self.codes = self.codes + level.z[0].long().flatten().bincount(minlength=level.p.num_codes)
            return
        try:
            means = level.q.mean.detach().double()
        except NotImplementedError:  # the samples vary as the mean does, and by noise that is taken off below
            means = level.z.detach().double()
        self.noisy = means.dim() == level.z.dim() and len(means) == 1
        if means.dim() < level.z.dim():  # the same for every sample, or even for every example
            means = means.expand(level.z.shape[1:])[None]
        mean = means.mean(0)
        self.total = self.total + mean.sum(0)
        self.square = self.square + (mean**2).sum(0)
        if len(means) > 1:
            self.square = self.square - means.var(0).sum(0) / len(means)
        if level.kl_per_dimension is not None:
            self.kl = self.kl + level.kl_per_dimension.detach().double().mean(0).sum(0)
        self.count += len(mean)

    def compute(self) -> UnitCounts:
        """Returns the counts over all examples."""
        if self.codes.dim():
            return UnitCounts(None, None, int((self.codes > 0).sum()))
        variance = self.square / self.count - (self.total / self.count) ** 2
        self.kl_of_dimensions = self.kl / self.count if self.kl.dim() else None
        with_kl = None if self.kl_of_dimensions is None else int((self.kl_of_dimensions > MIN_KL_OF_UNIT).sum())
        return UnitCounts(with_kl, None if self.noisy else int((variance > self.THRESHOLD).sum()))


class UnitMetrics(nn.ModuleList):
    """Counts the informative dimensions of a model, level by level.

    Args:
        groups: group of each level, as `LatentVariableModel.level_groups`.
    """

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__(ActiveUnitsMetric() for _ in groups)
        self.groups = tuple(groups)

    def update(self, levels: Iterable[LatentLevel]) -> None:
        """Adds the examples of a batch."""
        for metric, level in zip(self, levels, strict=True):
            metric.update(level)  # type: ignore[operator]

    def finish(self) -> dict[str, int]:
        """Returns the counts over all examples, as `unit_counts` names them, and starts afresh."""
        counts = [metric.compute() for metric in self]  # type: ignore[operator]
        for metric in self:
            metric.reset()  # type: ignore[operator]
        return unit_counts(counts, self.groups)


def unit_counts(levels: Iterable[UnitCounts], groups: Sequence[str]) -> dict[str, int]:
    """Returns the counts of a model by name: ``units_with_kl`` and, in a hierarchy, ``units_with_kl_<group>``, ..."""
    found: dict[str, int] = {}
    for name, counts in zip(UnitCounts._fields, zip(*levels, strict=True), strict=True):
        if None not in counts:
            found[name] = sum(counts)
        if len(counts) > 1:
            known = [(group, count) for group, count in zip(groups, counts, strict=True) if count is not None]
            sums = _sums([group for group, _ in known], [count for _, count in known])
            found |= {f"{name}_{group}": count for group, count in sums.items()}
    return found


def _sums(groups: Sequence[str], numbers: Sequence[Number]) -> dict[str, Number]:
    """Adds the numbers of each group."""
    sums: dict[str, Number] = {}
    for group, number in zip(groups, numbers, strict=True):
        sums[group] = sums[group] + number if group in sums else number
    return sums


def metric_names(split: str, bound: BoundMetric, counts: bool = True) -> list[str]:
    """Returns the names of the metrics that are logged after each evaluation of a split.

    Args:
        split: first part of each name.
        bound: metric of the bound.
        counts: include the numbers of units, which the epochs of training do not have.
    """
    units = UnitCounts._fields if counts else ()
    names = ["elbo", "kl", *bound.names, "bits_per_dim", *units]
    names += [f"{name}_{group}" for name in units for group in dict.fromkeys(bound.groups)]
    alone = f"_{bound.groups[0]}" if len(bound.groups) == 1 else None
    return [f"{split}/{name}" for name in names if alone is None or not name.endswith(alone)]


def bits_per_dim(model: LatentVariableModel, nats: float, spec: DataSpec) -> float | None:
    """Returns bits per dimension for a (bound on the) log-likelihood of ``nats`` per example; None if undefined.

    They are undefined where the likelihood says so, and with missing values, of which each example has its own number.
    """
    head: Any = model.likelihood.head
    bits: float | None = None if spec.missing else head.bits_per_dim(nats, spec.support)
    return bits
