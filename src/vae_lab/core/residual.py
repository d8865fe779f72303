"""A chain whose state depends on every value before, so that it is not a Markov chain in its values."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vae_lab.core.chain import Chain


class ResidualChain(Chain):
    """p(z_L | s_L) p(z_{L-1} | s_{L-1}) ... with s_{l-1} = update_l(s_l, z_l, c), as in Child (2021, arXiv:2011.10650).

    Every value enters the state, so that each level, and the likelihood, may depend on all levels above.

    Args:
        links: modules, each called as link(state, context), which returns the distribution of the next value.
        updates: one module per link, called as update(state, value, context), that returns the next state.
            The state of the first link is the input of the chain, None for a prior.

    Raises:
        ValueError: for no links, or another number of updates.
    """

    def __init__(self, links: Sequence[nn.Module], updates: Sequence[nn.Module]) -> None:
        super().__init__(links)
        if len(updates) != len(links):
            raise ValueError(
                f"a residual chain of {len(links)} links needs as many updates of its state: {len(updates)}"
            )
        self.updates = nn.ModuleList(updates)

    def absorb(self, i: int, state: Tensor | None, value: Tensor, context: Tensor | None) -> Tensor:
        after: Tensor = self.updates[i](state, value, context)
        return after
