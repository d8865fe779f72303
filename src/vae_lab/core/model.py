"""START HERE: every model of the lab is a prior, a posterior and a likelihood, and all that it does is in this file.

Shapes: K importance samples, B batch, L levels, C context features, D latent dimension. Level 1 is nearest the data,
level L is the top. All densities are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab import noise
from vae_lab.core.chain import Chain, Walk
from vae_lab.core.inputs import check_code, check_codes, check_data, check_labels, check_number
from vae_lab.core.posterior import Posterior
from vae_lab.core.temperatures import temperatures_of
from vae_lab.core.terms import ElboTerms, ImportanceEstimate, LatentLevel
from vae_lab.distributions.gaussian import rsample_rows
from vae_lab.distributions.missing import Observed, filled
from vae_lab.distributions.rescaled import Standardisation
from vae_lab.types import DataSpec

_MARGINAL_BUDGET = 2**22
"""Numbers (samples x examples x pixels) that `log_marginal` decodes at once on a CPU: 16 MiB in float32, which fits its
caches. On a GPU the number depends on the free memory."""


class LatentVariableModel(nn.Module):
    """p(x, z | c) = p(x | s, c) p(z | c) with a posterior q(z | x, c), where s is the last state of the prior's chain.

    In a Markov chain that state is z_1. VAE, CVAE, Markov hierarchy and ladder differ only in what they pass here.

    Args:
        prior: p(z_L) p(z_{L-1}|z_L) ..., top first.
        posterior: q(z|x, c).
        likelihood: called as likelihood(state, context), giving p(x|z, c); of standardised x if ``spec`` has a scaling.
        embed: labels (B,) or rows (B, C) -> context (B, C); None for an unconditional model.
        spec: spec of the data, which x and y are checked against; None: they are not checked.
    """

    def __init__(
        self,
        prior: Chain,
        posterior: Posterior,
        likelihood: nn.Module,
        embed: nn.Module | None = None,
        spec: DataSpec | None = None,
    ) -> None:
        super().__init__()
        self.prior = prior
        self.posterior = posterior
        self.likelihood = likelihood
        self.embed = embed
        self.spec = spec
        self.standardise = Standardisation(spec.scaling, spec.shape) if spec and spec.scaling else None

    compile_pays: ClassVar[bool] = True
    """False for models whose loss does not become faster by `torch.compile`."""

    discrete: ClassVar[bool] = False
    """True if latents are numbers of a codebook's entries, which cannot be moved by small steps."""

    widest_state = 0
    """Numbers in the largest state of the prior's chain, if it is larger than a vector."""

    @property
    def conditional(self) -> bool:
        """True if the model needs labels."""
        return self.embed is not None

    @property
    def num_levels(self) -> int:
        """Number of latent levels, L."""
        return len(self.prior.links)

    @property
    def level_groups(self) -> tuple[str, ...]:
        """Name of the group of each level, nearest the data first; levels of a group share a curve and a table row."""
        return tuple(f"level_{level}" for level in range(1, self.num_levels + 1))

    def context(self, y: Tensor | None, num: int | None = None, check: bool = True) -> Tensor | None:
        """Returns the context that encoder, decoder and prior read instead of labels, (B, C); None without labels.

        Args:
            y: class indices (B,) for a conditional model; for data with attributes or numbers a row of floats for each
                example, (B, C), with the columns of `DataSpec.context_names`. So too in the methods below.
            num: number of examples that the labels belong to; None: any number.
            check: True: check the values of y, which waits for a GPU.

        Raises:
            ValueError: for labels of an unconditional model, no labels of a conditional one, or another number of them.
        """
        if check:
            check_labels(self, y, _rows(y) if num is None else num)
        if self.embed is None:
            if y is not None:
                raise ValueError("this model is unconditional: it takes no labels y")
            return None
        if y is None:
            raise ValueError("this model is conditional: it needs labels y")
        if num is not None and y.shape[0] != num:  # a single label would silently be broadcast to all examples
            raise ValueError(f"{num} examples with {y.shape[0]} labels: give one label for each")
        context: Tensor = self.embed(y)
        return context

    def forward(self, x: Tensor, y: Tensor | None = None, num_samples: int = 1, check: bool = True) -> ElboTerms:
        """Returns the terms of the bound on log p(x|y).

        Args:
            x: (B, *data_shape).
            y: class indices (B,) for a conditional model.
            num_samples: K.
            check: True: check the values of x and y (`vae_lab.core.inputs`), which waits for a GPU.

        Raises:
            TypeError, ValueError: for x and y that do not fit ``spec``; so do the methods below.
        """
        if check:
            check_number(num_samples=num_samples)
            check_data(self, x, y)
        context = self.context(y, x.shape[0], check=False)
        levels = self.infer(x, context, num_samples)
        return ElboTerms(self.observed(levels[0].state, context).log_prob(x), levels)

    def infer(self, x: Tensor, context: Tensor | None, num_samples: int) -> tuple[LatentLevel, ...]:
        """Returns the levels of the posterior, with ``num_samples`` samples, nearest the data first."""
        seen = x if self.standardise is None else self.standardise(x)
        if self.spec is not None and self.spec.missing:
            seen = filled(seen)
        levels: tuple[LatentLevel, ...] = self.posterior(seen, context, self.prior, num_samples)
        return levels

    def observed(self, state: Tensor, context: Tensor | None) -> Distribution:
        """Returns p(x | z, c) for the last state of the prior's chain, in the units of the data."""
        distribution: Distribution = self.likelihood(state, context)
        if self.standardise is not None:
            distribution = self.standardise.undone(distribution)
        return Observed(distribution) if self.spec is not None and self.spec.missing else distribution

    def start_at(self, mean: Tensor) -> None:
        """Starts the decoder at distributions of about this mean, (*data_shape); see `ConditionalDistribution`."""
        seen = mean if self.standardise is None else self.standardise(mean)
        self.likelihood.start_at(seen)  # type: ignore[operator]

    def generate(self, num: int, y: Tensor | None = None, temperature: float | Sequence[float] = 1.0) -> Distribution:
        """Returns p(x | z) for ``num`` draws z ~ p(z | y), the standard deviation of each level times ``temperature``.

        Args:
            num: number of draws; for a conditional model that of the labels.
            y: class indices (num,) for a conditional model.
            temperature: one number, or one for each level, nearest the data first. 1 samples the prior itself; below 1
                samples are more typical and less varied. In a mixture it scales the components and keeps the weights.

        Returns:
            Distribution of batch shape (num,).

        Raises:
            ValueError: for labels that `context` refuses.
        """
        return self.observed(self._drawn(num, y, temperature).states[-1], self.context(y, check=False))

    def sample_prior(
        self, num: int, y: Tensor | None = None, temperature: float | Sequence[float] = 1.0
    ) -> list[Tensor]:
        """Returns ``num`` draws z ~ p(z | y) of each level, (num, *event), nearest the data first; see `generate`."""
        return self._drawn(num, y, temperature).values[::-1]

    def _drawn(self, num: int, y: Tensor | None, temperature: float | Sequence[float]) -> Walk:
        check_number(num=num)
        check_labels(self, y, num)
        factors = temperatures_of(temperature, self.num_levels)[::-1]
        context = self.context(y, num, check=False)
        return self.prior.descend(lambda i, p, state: rsample_rows(p, (num,), factors[i]), None, context)

    def decode(
        self,
        z: Sequence[Tensor],
        y: Tensor | None = None,
        temperature: float | Sequence[float] = 0.0,
        context: Tensor | None = None,
    ) -> Distribution:
        """Returns p(x | z) for codes of the top levels; the levels below them follow from the prior.

        `encode` returns such codes: ``decode(encode(x))`` reads all levels, ``decode(encode(x)[1:])`` leaves the lowest
        level to the prior.

        Args:
            z: codes of the top levels, (N, *event) each, nearest the data first; the last one is the top level's.
            y: class indices (N,) for a conditional model.
            temperature: factor of the standard deviation of the levels that the prior draws, one number or one for each
                of the L levels, nearest the data first; 0 takes the prior's mean.
            context: context from `context` instead of ``y``, (N, C) or (1, C) for all codes.

        Returns:
            Distribution of batch shape (N,).

        Raises:
            TypeError, ValueError: for codes that are not tensors, different numbers of codes, codes of another shape
                than their level's, no level or too many, or labels that `context` refuses.
        """
        check_codes(self, z)
        factors = temperatures_of(temperature, self.num_levels)[::-1]
        num, values = z[0].shape[0], z[::-1]
        context = self.context(y, num) if context is None else context

        def choose(i: int, p: Distribution, state: Tensor | None) -> Tensor:
            if i >= len(values):
                return rsample_rows(p, (num,), factors[i]) if factors[i] else p.mean.expand(num, *p.event_shape)
            check_code(f"z[{len(values) - 1 - i}]", values[i], p)
            return values[i]

        return self.observed(self.prior.descend(choose, None, context).states[-1], context)

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """Returns p(x | z) with z_1 at the mean of q(z_1 | ...), batch shape (B,).

        In a top-down posterior this mean depends on a sample of the levels above.
        """
        check_data(self, x, y)
        context = self.context(y, x.shape[0], check=False)
        levels = self.infer(x, context, 1)
        above = levels[1].state if self.num_levels > 1 else self.prior.start(None, context)
        state = self.prior.absorb(self.num_levels - 1, above, levels[0].center, context)
        return self.observed(state[0], context)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> list[Tensor]:
        """Returns the mean of q(z_l | ...) of each level, (B, *event), nearest the data first.

        If a level depends on another one, its mean is that for one sample of the other.

        Args:
            x: (B, *data_shape).
            y: class indices (B,) for a conditional model.

        Raises:
            ValueError: for labels that `context` refuses.
        """
        check_data(self, x, y)
        levels = self.infer(x, self.context(y, x.shape[0], check=False), 1)
        return [level.center[0] for level in levels]

    def log_marginal(
        self, x: Tensor, y: Tensor | None = None, num_samples: int = 5000, chunk: int | None = None
    ) -> Tensor:
        """Returns log p(x|y) by importance sampling, (B,), in nats; see `importance_estimate`."""
        return self.importance_estimate(x, y, num_samples, chunk).log_prob

    @torch.no_grad()
    def importance_estimate(
        self, x: Tensor, y: Tensor | None = None, num_samples: int = 5000, chunk: int | None = None
    ) -> ImportanceEstimate:
        """Estimates log p(x|y) as log (1/K) sum_k w_k, with samples from the posterior, in bounded memory.

        In expectation this is a lower bound, which rises to log p(x) with K (Burda et al. 2016, arXiv:1509.00519).

        Args:
            x: (B, *data_shape).
            y: class indices (B,) for a conditional model.
            num_samples: K.
            chunk: samples decoded at once; None: as many as fit. The result does not depend on it, to rounding.

        Raises:
            ValueError: for a number of samples or a chunk below 1.
        """
        check_number(num_samples=num_samples, **({} if chunk is None else {"chunk": chunk}))
        check_data(self, x, y)
        chunk = chunk or max(1, _numbers_at_once(x.device) // self._numbers_per_sample(x))
        seed = noise.fresh_seed()
        precise = x.dtype if x.device.type == "mps" else torch.float64  # in float32 a long sum would stop growing
        total = squares = torch.full((x.shape[0],), -math.inf, dtype=precise, device=x.device)
        for first in range(0, num_samples, chunk):
            with noise.by_sample(seed, first):
                log_weight = self(x, y, min(chunk, num_samples - first), check=False).log_weight.to(precise)
            total = torch.logaddexp(total, log_weight.logsumexp(0))
            squares = torch.logaddexp(squares, (2 * log_weight).logsumexp(0))
        return ImportanceEstimate((total - math.log(num_samples)).to(x.dtype), (2 * total - squares).exp().to(x.dtype))

    def _numbers_per_sample(self, x: Tensor) -> int:
        """Returns how many numbers one sample of each example needs: pixels, features, or densities of a mixture."""
        components: int = getattr(self.prior.links[0], "num_components", 0)
        # A mean and a scale of each pixel are as many as the pixels; of categorical ones there are 256 logits.
        pairs = math.prod(getattr(getattr(self.likelihood, "head", None), "param_shape", ())) // 2
        return x.shape[0] * max(math.prod(x.shape[1:]), pairs, components, self.widest_state)


def _rows(y: Tensor | None) -> int:
    return len(y) if isinstance(y, Tensor) and y.dim() else 1


def _numbers_at_once(device: torch.device) -> int:
    if device.type != "cuda":
        return _MARGINAL_BUDGET
    free, _ = torch.cuda.mem_get_info(device)
    return max(_MARGINAL_BUDGET, free // 64)  # at most sixteen float32 arrays of this size exist at once
