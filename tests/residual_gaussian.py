"""A hierarchy that is not a Markov chain in its latents, with exactly known posterior and likelihood.

Each of M columns has, at every level, one latent z and a state h of S numbers that all latents above have entered:

    p(z | h) = N(a . h + b, v),   h <- h + u z,   p(x | h) = N(W (r . h) + offset, noise)

with orthogonal columns of W, so that t = w . x / |w|^2 is all that x tells of its column. Given the state h above it,
a level and everything below is linear and Gaussian: t | h ~ N(c . h + d, s), with c, d and s from the data up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vae_lab.core import LatentVariableModel, ResidualChain, TopDownPosterior
from vae_lab.distributions.gaussian import diagonal_gaussian
from vae_lab.networks import OneHot


class Link(nn.Module):
    def __init__(self, a: Tensor, b: Tensor, v: Tensor, initial: nn.Module) -> None:
        super().__init__()
        self.a, self.b, self.v, self.initial = a, b, v, initial

    def forward(self, state: Tensor | None, context: Tensor | None = None) -> Distribution:
        loc = (self.a * (self.initial(context) if state is None else state)).sum(-1) + self.b
        return diagonal_gaussian(loc, self.v.sqrt().expand_as(loc), 1)


class Update(nn.Module):
    def __init__(self, u: Tensor, initial: nn.Module) -> None:
        super().__init__()
        self.u, self.initial = u, initial

    def forward(self, state: Tensor | None, value: Tensor, context: Tensor | None = None) -> Tensor:
        return (self.initial(context) if state is None else state) + self.u * value[..., None]


class Initial(nn.Module):
    """The state above the top level: one for all examples, or one for each label."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, context: Tensor | None) -> Tensor:
        return self.table[0] if context is None else torch.einsum("...c,cms->...ms", context, self.table)


class Likelihood(nn.Module):
    def __init__(self, numbers: ResidualGaussian) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self, state: Tensor, context: Tensor | None = None) -> Distribution:
        n = self.numbers
        loc = (n.read * state).sum(-1) @ n.weight.T + n.offset
        return diagonal_gaussian(loc, n.noise.sqrt().expand_as(loc), 1)


class ExactPosterior(TopDownPosterior):
    """q(z | h, x), whose variances are multiplied by ``widen``."""

    def __init__(self, numbers: ResidualGaussian, widen: float) -> None:
        super().__init__()
        self.numbers, self.widen = numbers, widen

    def observe(self, x: Tensor, context: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        n = self.numbers
        return [((x - n.offset) @ n.weight / n.weight.square().sum(0), n.initial(context))] * n.num_levels

    def infer(self, i: int, seen: tuple[Tensor, Tensor], p: Distribution, state: Tensor | None) -> Distribution:
        t, initial = seen
        state = initial if state is None else state
        c, d, s = self.numbers.below(i)
        gain = (c * self.numbers.u[i]).sum(-1)
        mean, v = p.base_dist.loc, p.base_dist.scale.square()
        variance = 1 / (1 / v + gain**2 / s)
        loc = variance * (mean / v + gain * (t - (c * state).sum(-1) - d) / s)
        return diagonal_gaussian(loc, (self.widen * variance).sqrt().expand_as(loc), 1)

    def top(self, given: Tensor, context: Tensor | None) -> Distribution:
        raise NotImplementedError


@dataclass
class ResidualGaussian:
    """All numbers in float64; those of the levels are listed from the top down.

    Args:
        seed: seed of the numbers.
        num_levels: L.
        num_classes: 0 for an unconditional model.
        columns, state, data: M, S and the size of x.
    """

    seed: int
    num_levels: int
    num_classes: int = 0
    columns: int = 2
    state: int = 3
    data: int = 5
    weight: Tensor = field(init=False)

    def __post_init__(self) -> None:
        random = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=random, dtype=torch.float64)

        L, M, S, D = self.num_levels, self.columns, self.state, self.data
        self.weight = torch.linalg.qr(normal(D, M))[0] * (1 + normal(M).square())
        self.offset = normal(D)
        self.noise = 0.5 + normal(1).square()
        self.a, self.b, self.v = 0.5 * normal(L, M, S), normal(L, M), 0.3 + normal(L, M).square()
        self.u = normal(L, M, S)
        self.read = normal(M, S)
        self.table = normal(max(self.num_classes, 1), M, S)
        self.initial = Initial(self.table)

    def below(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """c, d, s of t | h for the state h after the value of link ``i``."""
        c, d, s = self.read, torch.zeros_like(self.b[0]), self.noise / self.weight.square().sum(0)
        for a, b, v, u in reversed(list(zip(self.a, self.b, self.v, self.u, strict=True))[i + 1 :]):
            gain = (c * u).sum(-1)
            c, d, s = c + gain[:, None] * a, d + gain * b, s + gain**2 * v
        return c, d, s

    def log_prob(self, x: Tensor, y: Tensor | None) -> Tensor:
        """log p(x|y), from the marginal multivariate normal."""
        c, d, s = self.below(-1)
        start = self.table[0] if y is None else self.table[y]
        variance = s - self.noise / self.weight.square().sum(0)
        covariance = (self.weight * variance) @ self.weight.T + self.noise * torch.eye(self.data).double()
        return MultivariateNormal(((c * start).sum(-1) + d) @ self.weight.T + self.offset, covariance).log_prob(x)

    def model(self, widen: float = 1.0) -> LatentVariableModel:
        """The lab's model with these numbers; exact unless ``widen``."""
        links = [Link(a, b, v, self.initial) for a, b, v in zip(self.a, self.b, self.v, strict=True)]
        prior = ResidualChain(links, [Update(u, self.initial) for u in self.u])
        embed = OneHot(self.num_classes).double() if self.num_classes else None
        return LatentVariableModel(prior, ExactPosterior(self, widen), Likelihood(self), embed)

    def examples(self, num: int) -> tuple[Tensor, Tensor | None]:
        """Any data will do: the identities hold for every x."""
        random = torch.Generator().manual_seed(self.seed + 1)
        x = 2 * torch.randn(num, self.data, generator=random, dtype=torch.float64)
        return x, torch.arange(num) % self.num_classes if self.num_classes else None
