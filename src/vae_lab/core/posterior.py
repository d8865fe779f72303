"""Posteriors q(z_1, ..., z_L | x, c): bottom-up along a Markov chain, or top-down beside the prior.

Only a posterior knows where the KL of a level has a closed form. The bound of every hierarchy holds, for each level,
E_q[log q(z_l | its parents under q) - log p(z_l | z_{l+1})]. Integrating z_l out of it first, with all else held
fixed, gives KL(q || p) in closed form. This is valid only if nothing that stays fixed depends on z_l:

* bottom-up, z_{l+1} ~ q(.|z_l) is a child of z_l under q while it is its parent under p. Fixing z_{l+1} changes the
  distribution of z_l, so inner levels must use the log-ratio at the sample. Only the top level, whose prior has no
  parent, may use the closed form;
* top-down, z_l is drawn given z_{l+1} under both q and p: every level may use the closed form.

Where the prior's chain has a state (`vae_lab.core.chain`), "the state above" takes the place of z_{l+1}.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.core.chain import Chain
from vae_lab.core.terms import LatentLevel
from vae_lab.distributions.gaussian import precision_merge, rsample_rows


class Posterior(nn.Module, ABC):
    """Samples the latents of x, and pairs the posterior of each level with its prior."""

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None, prior: Chain, num_samples: int) -> tuple[LatentLevel, ...]:
        """Returns the levels from the data up.

        Args:
            x: (B, *data_shape).
            context: (B, C) or None.
            prior: p(z_L) p(z_{L-1}|z_L) ..., top first; its states go into the levels.
            num_samples: K, samples per example.
        """

    @abstractmethod
    def top(self, given: Tensor, context: Tensor | None) -> Distribution:
        """Returns q(z_L | given, context), where given is the input of this level, (..., *in_shape)."""


class BottomUpPosterior(Posterior):
    """q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1}), a chain away from the data.

    Args:
        chain: chain with the links from the data up.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Tensor, context: Tensor | None, prior: Chain, num_samples: int) -> tuple[LatentLevel, ...]:
        shape = (num_samples, x.shape[0])
        z, q, _ = self.chain.descend(lambda i, conditional, state: rsample_rows(conditional, shape), x, context)
        _, p, states = prior.follow(z[::-1], None, context)
        top = len(z) - 1
        return tuple(
            LatentLevel(z[i], q[i], p[top - i], analytic_kl=i == top, state=states[top - i]) for i in range(len(z))
        )

    def top(self, given: Tensor, context: Tensor | None) -> Distribution:
        """Returns q(z_L | z_{L-1} = given, context), or q(z_1 | x = given, context) for one level."""
        q: Distribution = self.chain.links[-1](given, context)
        return q


class TopDownPosterior(Posterior):
    """q(z_L|x) prod_l q(z_l | state of the levels above, x): a walk down the prior's own chain.

    A subclass computes evidence about each level from the data (`observe`, once for all K samples), and combines it
    with the prior of the level (`infer`).
    """

    @abstractmethod
    def observe(self, x: Tensor, context: Tensor | None) -> Sequence[Any]:
        """Returns the evidence about each level, from the data up, in any form that `infer` reads."""

    @abstractmethod
    def infer(self, i: int, seen: Any, p: Distribution, state: Tensor | None) -> Distribution:
        """Returns q(z | state, x) of one level.

        Args:
            i: number of the link in the prior's chain; 0 is the top level.
            seen: evidence about this level, from `observe`.
            p: prior of the level.
            state: state of the levels above, which p was given; None above the top of a Markov chain.
        """

    def forward(self, x: Tensor, context: Tensor | None, prior: Chain, num_samples: int) -> tuple[LatentLevel, ...]:
        seen = self.observe(x, context)[::-1]
        posteriors: list[Distribution] = []

        def draw(i: int, p: Distribution, state: Tensor | None) -> Tensor:
            posteriors.append(self.infer(i, seen[i], p, state))
            return rsample_rows(posteriors[-1], (num_samples, x.shape[0]))

        walk = prior.descend(draw, None, context)
        levels = zip(walk.values, posteriors, walk.conditionals, walk.states, strict=True)
        return tuple(LatentLevel(z, q, p, analytic_kl=True, state=state) for z, q, p, state in levels)[::-1]


class LadderPosterior(TopDownPosterior):
    """q(z_L|x) prod_l q(z_l|z_{l+1}, x), the ladder (Soenderby et al. 2016, arXiv:1602.02282).

    A deterministic upward pass gives Gaussian evidence about each level. On the way down it is merged with the prior of
    that level by precision. The evidence about the top level is its posterior.

    Args:
        blocks: networks of the upward pass, from the data up; block l reads the features of block l-1 (or x).
        evidence: one module per level, from the data up, that maps the features of its block to a Gaussian.
    """

    def __init__(self, blocks: Sequence[nn.Module], evidence: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.evidence = nn.ModuleList(evidence)

    def observe(self, x: Tensor, context: Tensor | None) -> list[Distribution]:
        evidence = []
        features = x
        for block, head in zip(self.blocks, self.evidence, strict=True):
            features = block(features, context)
            evidence.append(head(features, context))
        return evidence

    def infer(self, i: int, seen: Distribution, p: Distribution, state: Tensor | None) -> Distribution:
        return precision_merge(seen, p) if i else seen

    def top(self, given: Tensor, context: Tensor | None) -> Distribution:
        """Returns q(z_L | x = given, context) by the whole upward pass, which is deterministic."""
        for block in self.blocks:
            given = block(given, context)
        q: Distribution = self.evidence[-1](given, context)
        return q
