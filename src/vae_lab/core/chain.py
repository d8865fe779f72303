"""Chains of conditional distributions, walked top-down as a prior or bottom-up as a posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.distributions.gaussian import rsample_rows

Choose = Callable[[int, Distribution, Tensor | None], Tensor]
"""(number of the link, its conditional distribution, the state that it was given) -> the value at this link."""


class Walk(NamedTuple):
    """Record of a walk along a chain, in the chain's own order.

    Attributes:
        values: value of each link.
        conditionals: distribution of each value, given all values before it.
        states: state after each value, which the next link reads; the last one is read by whatever follows the chain.
    """

    values: list[Tensor]
    conditionals: list[Distribution]
    states: list[Tensor]


class Chain(nn.Module):
    """p(v_1 | s_1, c) p(v_2 | s_2, c) ... with s_1 = start(given, c) and s_{i+1} = absorb(i, s_i, v_i, c).

    A link depends on the values before its own only through the state. Here the state is the newest value, which makes
    a Markov chain; in `vae_lab.core.ResidualChain` all values enter it. The same class is a prior p(z_L) p(z_{L-1}|z_L)
    ... (given=None) and a posterior q(z_1|x) q(z_2|z_1) ... (given=x).

    Args:
        links: modules, each called as link(state, context), which returns the distribution of the next value.

    Raises:
        ValueError: for no links.
    """

    def __init__(self, links: Sequence[nn.Module]) -> None:
        super().__init__()
        if not links:
            raise ValueError("a chain needs at least one link")
        self.links = nn.ModuleList(links)

    def start(self, given: Tensor | None, context: Tensor | None) -> Tensor | None:
        """Returns the state that the first link reads: here ``given``, the input of the whole chain."""
        return given

    def absorb(self, i: int, state: Tensor | None, value: Tensor, context: Tensor | None) -> Tensor:
        """Returns the state after link ``i`` has got ``value``: here the value itself, which makes a Markov chain."""
        return value

    def descend(self, choose: Choose, given: Tensor | None = None, context: Tensor | None = None) -> Walk:
        """Walks from the first link to the last; ``choose`` gives the value of each."""
        walk = Walk([], [], [])
        state = self.start(given, context)
        for i, link in enumerate(self.links):
            conditional: Distribution = link(state, context)
            value = choose(i, conditional, state)
            state = self.absorb(i, state, value, context)
            walk.values.append(value)
            walk.conditionals.append(conditional)
            walk.states.append(state)
        return walk

    def rsample(
        self,
        given: Tensor | None = None,
        context: Tensor | None = None,
        sample_shape: Sequence[int] = (),
        temperature: float | Sequence[float] = 1.0,
    ) -> Walk:
        """Draws reparametrised samples, (*sample_shape, *batch, *event) each.

        Args:
            given: input of the chain, (*batch, *in_shape) or None.
            context: (B, C) or None.
            sample_shape: shape of independent draws of each value.
            temperature: factor of each standard deviation, one number or one for each link.
        """
        temperatures = temperature if isinstance(temperature, Sequence) else [temperature] * len(self.links)

        shape: Sequence[int] = ()

        def draw(i: int, conditional: Distribution, state: Tensor | None) -> Tensor:
            nonlocal shape
            shape = shape if i else (*sample_shape, *conditional.batch_shape)
            return rsample_rows(conditional, shape, temperatures[i])

        return self.descend(draw, given, context)

    def follow(self, values: Sequence[Tensor], given: Tensor | None = None, context: Tensor | None = None) -> Walk:
        """Walks along known values, one for each link; the last value affects only the last state."""
        assert len(values) == len(self.links), "one value for each link"
        return self.descend(lambda i, conditional, state: values[i], given, context)

    def next_conditional(
        self, values: Sequence[Tensor], given: Tensor | None = None, context: Tensor | None = None
    ) -> Distribution:
        """Returns the distribution of the value that follows ``values``, those of the first links."""
        state = self.start(given, context)
        for i, value in enumerate(values):
            state = self.absorb(i, state, value, context)
        conditional: Distribution = self.links[len(values)](state, context)
        return conditional


class MarkovChain(Chain):
    """p(v_1 | given, c) p(v_2 | v_1, c) ... p(v_N | v_{N-1}, c): each value depends only on the one before it."""
