"""A Markov chain of conditional distributions, top-down as a prior or bottom-up as a posterior."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.distributions.gaussian import rsample


class MarkovChain(nn.Module):
    """p(v_1 | given) p(v_2 | v_1) ... p(v_N | v_{N-1}), each also given the context.

    One class serves p(z_L) p(z_{L-1}|z_L) ... (given=None) and q(z_1|x) q(z_2|z_1) ... (given=x). Values are listed in
    the chain's own order.

    Args:
        links: each called as link(given, context), giving the distribution of the next value.

    Raises:
        ValueError: for no links.
    """

    def __init__(self, links: Sequence[nn.Module]) -> None:
        super().__init__()
        if not links:
            raise ValueError("a Markov chain needs at least one link")
        self.links = nn.ModuleList(links)

    def rsample(
        self,
        given: Tensor | None = None,
        context: Tensor | None = None,
        sample_shape: Sequence[int] = (),
        temperature: float = 1.0,
    ) -> tuple[list[Tensor], list[Distribution]]:
        """Reparametrised samples, (*sample_shape, *batch, *event) each, and the distributions they came from."""
        values: list[Tensor] = []
        conditionals: list[Distribution] = []
        for link in self.links:
            conditionals.append(link(given, context))
            given = rsample(conditionals[-1], () if values else sample_shape, temperature)
            values.append(given)
        return values, conditionals

    def conditionals(
        self, values: Sequence[Tensor], given: Tensor | None = None, context: Tensor | None = None
    ) -> list[Distribution]:
        """The distribution of each value given the one before; the last value itself is not looked at."""
        assert len(values) == len(self.links), "one value for each link"
        pairs = pairwise(chain([given], values))
        return [link(before, context) for link, (before, _) in zip(self.links, pairs, strict=True)]
