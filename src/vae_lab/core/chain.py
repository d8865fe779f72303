"""A chain of conditional distributions and the one walk along it, top-down as a prior or bottom-up as a posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.distributions.gaussian import rsample

Choose = Callable[[int, Distribution, Tensor | None], Tensor]
"""(number of the link, its conditional distribution, the state that it was given) -> the value to go on with."""


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

    The state is all that a link knows of the values before its own. Here it is the newest value, so that the chain is a
    Markov chain; `vae_lab.core.ResidualChain` has a state that all values enter. One class serves p(z_L) p(z_{L-1}|z_L)
    ... (given=None) and q(z_1|x) q(z_2|z_1) ... (given=x).

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
        """Returns the state that the first link reads: here what the whole chain is given."""
        return given

    def absorb(self, i: int, state: Tensor | None, value: Tensor, context: Tensor | None) -> Tensor:
        """Returns the state after link ``i`` has taken ``value``: here the value, which makes it a Markov chain."""
        return value

    def descend(self, choose: Choose, given: Tensor | None = None, context: Tensor | None = None) -> Walk:
        """Walks from the first link to the last and lets ``choose`` decide on each value."""
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
            given: what the chain starts from, (*batch, *in_shape) or None.
            context: (B, C) or None.
            sample_shape: shape of independent draws of the first value; the others follow it.
            temperature: factor of each standard deviation, one number or one for each link.
        """
        temperatures = temperature if isinstance(temperature, Sequence) else [temperature] * len(self.links)

        def draw(i: int, conditional: Distribution, state: Tensor | None) -> Tensor:
            return rsample(conditional, () if i else sample_shape, temperatures[i])

        return self.descend(draw, given, context)

    def follow(self, values: Sequence[Tensor], given: Tensor | None = None, context: Tensor | None = None) -> Walk:
        """Walks along known values, one for each link; the last one changes no conditional, only the last state."""
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
    """p(v_1 | given, c) p(v_2 | v_1, c) ... p(v_N | v_{N-1}, c): each value depends on the one before it alone."""
