"""Random linear-Gaussian hierarchies with their exact posteriors and exact log p(x): the sharpest test of the lab.

    z_L | y       ~ N(b_y, d_y)                 (diagonal; N(0, I) with a standard prior)
    z_l | z_l+1,y ~ N(a_l z_{l+1} + c_{l,y}, s_l)
    x | z_1, y    ~ N(W z_1 + mu_y, s_0 I)      the columns of W orthogonal

Everything stays diagonal in the latents, so the true posterior is in the family of the lab's posteriors, both as a
bottom-up chain and as a ladder. With it every importance weight equals p(x|y), whatever was sampled. All in float64.
An unconditional model has one row in each table of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vae_lab.core import BottomUpPosterior, LadderPosterior, LatentVariableModel, MarkovChain, Posterior
from vae_lab.distributions import ConditionalDistribution, Gaussian, StandardNormal
from vae_lab.networks import OneHot


class Affine(nn.Module):
    """mean = gain_y * (project @ given) + offset_y, and beside it a log-variance that depends on the label alone.

    Tables have one row for each label. Without a variance the mean is returned on its own, as features.
    """

    def __init__(
        self, gain: Tensor | None, offset: Tensor, variance: Tensor | None, project: Tensor | None = None
    ) -> None:
        super().__init__()
        self.gain = None if gain is None else nn.Parameter(gain.clone())
        self.offset = nn.Parameter(offset.clone())
        self.log_variance = None if variance is None else nn.Parameter(variance.log())
        self.register_buffer("project", project)

    def forward(self, given: Tensor | None, context: Tensor | None = None) -> Tensor:
        mean = row(self.offset, context)
        if given is not None:
            assert self.gain is not None
            mean = mean + row(self.gain, context) * (given if self.project is None else given @ self.project.T)
        if self.log_variance is None:
            return mean
        return torch.stack((mean, row(self.log_variance, context).expand_as(mean)), dim=-2)


def row(table: Tensor, context: Tensor | None) -> Tensor:
    return table[0] if context is None else context @ table


def distribution(net: Affine) -> ConditionalDistribution:
    return ConditionalDistribution(net, Gaussian(net.offset.shape[-1:])).double()


def uniform(low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, dtype=torch.float64)


def signed(*shape: int) -> Tensor:
    """Away from zero: +-[0.5, 1.5]."""
    return uniform(0.5, 1.5, *shape) * (torch.rand(shape) < 0.5).double().mul(2).sub(1)


@dataclass(frozen=True)
class LinearGaussian:
    """The numbers of one model. C labels (1 if unconditional), L levels, M latent and D data dimensions."""

    conditional: bool
    standard_prior: bool
    weight: Tensor  # W (D, M)
    offset: Tensor  # mu (C, D)
    noise: Tensor  # s_0 ()
    gains: list[Tensor]  # a_l (M,), l = 1 .. L-1
    shifts: list[Tensor]  # c_l (C, M)
    variances: list[Tensor]  # s_l (M,)
    top_mean: Tensor  # b (C, M)
    top_variance: Tensor  # d (C, M)

    @property
    def num_levels(self) -> int:
        return len(self.gains) + 1

    @property
    def squared_norms(self) -> Tensor:
        return self.weight.square().sum(0)

    def data(self, size: int) -> tuple[Tensor, Tensor | None]:
        """x (size, D), spread wider than the model's own samples, and labels."""
        y = torch.arange(size) % len(self.offset) if self.conditional else None
        return 2 * torch.randn(size, len(self.weight), dtype=torch.float64), y

    def prior_moments(self) -> list[tuple[Tensor, Tensor]]:
        """Mean and variance of z_1, ..., z_L before any data, (C, M) each."""
        moments = [(self.top_mean, self.top_variance)]
        for gain, shift, variance in reversed(list(zip(self.gains, self.shifts, self.variances, strict=True))):
            mean, var = moments[-1]
            moments.append((gain * mean + shift, gain**2 * var + variance))
        return moments[::-1]

    def log_prob(self, x: Tensor, y: Tensor | None) -> Tensor:
        """log p(x|y), from the marginal multivariate normal."""
        rows = torch.zeros(len(x), dtype=torch.long) if y is None else y
        mean, var = (moment[rows] for moment in self.prior_moments()[0])
        covariance = (self.weight * var[:, None]) @ self.weight.T + self.noise * torch.eye(len(self.weight)).double()
        return MultivariateNormal(mean @ self.weight.T + self.offset[rows], covariance).log_prob(x)

    def prior(self) -> MarkovChain:
        size = self.top_mean.shape[1:]
        top = Affine(None, self.top_mean, self.top_variance)
        links: list[nn.Module] = [StandardNormal(size).double() if self.standard_prior else distribution(top)]
        for gain, shift, var in reversed(list(zip(self.gains, self.shifts, self.variances, strict=True))):
            links.append(distribution(Affine(gain.expand_as(shift), shift, var.expand_as(shift))))
        return MarkovChain(links)

    def likelihood(self) -> ConditionalDistribution:
        ones = torch.ones_like(self.offset)
        return distribution(Affine(ones, self.offset, self.noise * ones, self.weight))

    def bottom_up_nets(self, widen: Sequence[float] = (), shift: float = 0.0) -> list[Affine]:
        """Returns the networks of q(z_1|x), q(z_2|z_1), ..., the exact posterior apart from two changes.

        Args:
            widen: factor of the variance of each level.
            shift: standard deviations that every mean is moved by.
        """
        widen = widen or [1.0] * self.num_levels
        (mean, var), *above = self.prior_moments()
        q_var = 1 / (1 / var + self.squared_norms / self.noise)
        q_offset = q_var * (mean / var - self.offset @ self.weight / self.noise)
        tables = [(q_var / self.noise, q_offset, q_var)]
        for gain, c, s, (mean, var) in zip(self.gains, self.shifts, self.variances, above, strict=True):
            q_var = 1 / (1 / var + gain**2 / s)
            tables.append((q_var * gain / s, q_var * (mean / var - gain * c / s), q_var))
        return [
            Affine(gain, offset + shift * (factor * var).sqrt(), factor * var, self.weight.T if level == 0 else None)
            for level, ((gain, offset, var), factor) in enumerate(zip(tables, widen, strict=True))
        ]

    def evidence_moments(self, widen: Sequence[float] = ()) -> list[Tensor]:
        """Variance of what x alone says of z_1, ..., z_L, (M,) each; ``widen`` spoils it."""
        var = self.noise / self.squared_norms
        exact = [var]
        for gain, s in zip(self.gains, self.variances, strict=True):
            var = (var + s) / gain**2
            exact.append(var)
        return [v * factor for v, factor in zip(exact, widen or [1.0] * self.num_levels, strict=True)]

    def ladder_nets(self, widen: Sequence[float] = ()) -> tuple[list[Affine], list[Affine]]:
        """Returns the blocks, whose features are the means of the evidence, and the evidence.

        `LadderPosterior` uses the evidence of the top as its posterior, so that it is merged with the prior here.
        """
        C, M = self.top_mean.shape
        ones, zeros = torch.ones(C, M).double(), torch.zeros(C, M).double()
        scale = ones / self.squared_norms
        blocks = [Affine(scale, -scale * (self.offset @ self.weight), None, self.weight.T)]
        for gain, shift in zip(self.gains, self.shifts, strict=True):
            blocks.append(Affine(ones / gain, -shift / gain, None))
        *inner, top = self.evidence_moments(widen)
        q_var = 1 / (1 / top + 1 / self.top_variance)
        evidence = [Affine(ones, zeros, var.expand(C, M)) for var in inner]
        evidence.append(Affine(q_var / top, q_var * self.top_mean / self.top_variance, q_var))
        return blocks, evidence

    def posterior(self, kind: str, widen: Sequence[float] = (), shift: float = 0.0) -> Posterior:
        if kind == "bottom_up":
            return BottomUpPosterior(MarkovChain([distribution(net) for net in self.bottom_up_nets(widen, shift)]))
        blocks, evidence = self.ladder_nets(widen)
        return LadderPosterior(blocks, [distribution(net) for net in evidence])

    def model(self, kind: str = "bottom_up", widen: Sequence[float] = (), shift: float = 0.0) -> LatentVariableModel:
        """The lab's model with these numbers; ``kind`` is bottom_up or ladder, exact unless ``widen`` or ``shift``."""
        embed = OneHot(len(self.offset)).double() if self.conditional else None
        return LatentVariableModel(self.prior(), self.posterior(kind, widen, shift), self.likelihood(), embed)

    def joint(
        self, kind: str, x: Tensor, y: Tensor | None, widen: Sequence[float] = (), shift: float = 0.0
    ) -> MultivariateNormal:
        """q(z_1, ..., z_L | x, y) of `posterior` as one Gaussian for each latent dimension, batch shape (B, M)."""
        rows = torch.zeros(len(x), dtype=torch.long) if y is None else y
        with torch.no_grad():
            if kind == "bottom_up":
                first, *rest = self.bottom_up_nets(widen, shift)
                mean = first.gain[rows] * (x @ self.weight) + first.offset[rows]
                steps = [(net.gain[rows], net.offset[rows], net.log_variance[rows].exp()) for net in rest]
                return chain_joint(mean, first.log_variance[rows].exp(), steps)
            seen = [(x - self.offset[rows]) @ self.weight / self.squared_norms]
            for gain, c in zip(self.gains, self.shifts, strict=True):
                seen.append((seen[-1] - c[rows]) / gain)
            *inner, top = self.evidence_moments(widen)
            q_var = 1 / (1 / top + 1 / self.top_variance[rows])
            mean = q_var * (seen[-1] / top + (self.top_mean / self.top_variance)[rows])
            steps = []
            for below, e, a, c, s in zip(seen[:-1], inner, self.gains, self.shifts, self.variances, strict=True):
                var = 1 / (1 / e + 1 / s)
                steps.append(((var * a / s).expand_as(below), var * (below / e + c[rows] / s), var.expand_as(below)))
            return chain_joint(mean, q_var, steps[::-1])


def chain_joint(mean: Tensor, variance: Tensor, steps: Sequence[tuple[Tensor, Tensor, Tensor]]) -> MultivariateNormal:
    """The joint of v_1 ~ N(mean, variance), v_{i+1} = gain v_i + offset + sqrt(variance) eps, in that order."""
    size = len(steps) + 1
    means = [mean]
    rows = [torch.nn.functional.pad(variance.sqrt()[..., None], (0, size - 1))]
    for i, (gain, offset, var) in enumerate(steps, start=1):
        means.append(gain * means[-1] + offset)
        own = torch.nn.functional.pad(var.sqrt()[..., None], (i, size - 1 - i))
        rows.append(gain[..., None] * rows[-1] + own)
    return MultivariateNormal(torch.stack(means, -1), scale_tril=torch.stack(rows, -2))


def random_model(
    seed: int,
    levels: int = 1,
    classes: int = 0,
    standard_prior: bool | None = None,
    label_variance: bool = True,
    latent: int = 2,
    data: int = 5,
) -> LinearGaussian:
    """Returns a random model.

    Args:
        seed: seed of its numbers.
        levels: number of latent levels.
        classes: number of classes; 0 for an unconditional model.
        standard_prior: True: N(0, I) at the top; None: only for unconditional models.
        label_variance: True: the variance of the top prior depends on the label, too.
    """
    torch.manual_seed(seed)
    rows = max(classes, 1)
    orthogonal = torch.linalg.qr(torch.randn(data, latent, dtype=torch.float64))[0]
    standard = not classes if standard_prior is None else standard_prior
    top_variance = uniform(0.3, 2.0, rows if label_variance else 1, latent).expand(rows, latent)
    return LinearGaussian(
        conditional=classes > 0,
        standard_prior=standard,
        weight=orthogonal * signed(latent),
        offset=torch.randn(rows, data, dtype=torch.float64),
        noise=uniform(0.3, 1.5),
        gains=[signed(latent) for _ in range(levels - 1)],
        shifts=[torch.randn(rows, latent, dtype=torch.float64) for _ in range(levels - 1)],
        variances=[uniform(0.3, 1.5, latent) for _ in range(levels - 1)],
        top_mean=torch.zeros(rows, latent).double() if standard else torch.randn(rows, latent, dtype=torch.float64),
        top_variance=torch.ones(rows, latent).double() if standard else top_variance,
    )


def copy_affine(source: Affine, target: nn.Module, in_features: int, classes: int) -> None:
    """Sets the weights of an `Mlp` without hidden layers so that it computes ``source``.

    The source must be affine in the input and the one-hot label together (`random_model(label_variance=False)`).
    """
    (layer,) = target.layers
    zero, basis = torch.zeros(in_features).double(), torch.eye(in_features).double()
    labels = torch.eye(max(classes, 1)).double()
    with torch.no_grad():
        given = None if source.gain is None else zero
        constant = torch.stack([source(given, label).flatten() for label in labels], dim=-1)  # (out, C)
        weight = torch.zeros_like(layer.weight)
        if in_features:
            columns = [source(e, labels[0]).flatten() - constant[:, 0] for e in basis]
            weight[:, :in_features] = torch.stack(columns, dim=-1)
        if classes:
            weight[:, in_features:] = constant
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros_like(layer.bias) if classes else constant[:, 0])


def fill(model: LatentVariableModel, numbers: LinearGaussian) -> LatentVariableModel:
    """Gives a named model of purely linear networks the numbers and the exact posterior of ``numbers``, in float64."""
    model = model.double()
    classes = len(numbers.offset) if numbers.conditional else 0
    D, M = numbers.weight.shape
    copy_affine(numbers.likelihood().net, model.likelihood.net, M, classes)
    for source, target in zip(numbers.prior().links, model.prior.links, strict=True):
        if not isinstance(target, StandardNormal):
            copy_affine(source.net, target.net, 0 if target is model.prior.links[0] else M, classes)
    if isinstance(model.posterior, LadderPosterior):
        blocks, evidence = numbers.ladder_nets()
        pairs = list(zip(blocks, model.posterior.blocks, strict=True))
        pairs += [(source, head.net) for source, head in zip(evidence, model.posterior.evidence, strict=True)]
    else:
        links = model.posterior.chain.links
        pairs = [(source, link.net) for source, link in zip(numbers.bottom_up_nets(), links, strict=True)]
    for source, target in pairs:
        copy_affine(source, target, D if source.project is not None else M, classes)
    return model


def within(estimates: Tensor, expected: Tensor, bound: float = 4.5) -> bool:
    """True if the mean over dim 0 lies within ``bound`` standard errors of ``expected``."""
    error = estimates.std(0) / len(estimates) ** 0.5
    return bool(((estimates.mean(0) - expected).abs() <= bound * error).all())
