"""A top-down posterior that is parametrised as a change of the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.core.posterior import TopDownPosterior
from vae_lab.distributions.gaussian import relative_gaussian


class RelativePosterior(TopDownPosterior):
    """q(z_l | state, x) = N(m_p + s_p dm, (s_p e^ds)^2), with dm and ds of the state and x (Vahdat and Kautz 2020).

    With dm = ds = 0 the posterior is the prior, so that a level has no KL until it is useful (NVAE, arXiv:2007.03898,
    section 3.2). The posterior of the top level has parameters of its own, because its prior may be a mixture.

    Args:
        upward: module, called as upward(x), that returns the features of every grid, from the data up.
        grid_of_level: number of the grid that the change of each level reads, from the data up, without the top.
        top: module, called as top(features of the last grid, context), that returns q(z_L | x).
        changes: one module per level, from the data up, without the top. It has a method ``read(features)``, called
            once for all samples; change(seen, state) returns dm and ds, (..., 2, *event).
    """

    def __init__(
        self, upward: nn.Module, grid_of_level: Sequence[int], top: nn.Module, changes: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.upward = upward
        self.grid_of_level = tuple(grid_of_level)
        self.q_top = top
        self.changes = nn.ModuleList(changes)

    def observe(self, x: Tensor, context: Tensor | None) -> list[Any]:
        features = self.upward(x)
        pairs = zip(self.grid_of_level, self.changes, strict=True)
        seen: list[Any] = [change.read(features[grid]) for grid, change in pairs]  # type: ignore[operator]
        return [*seen, self.q_top(features[-1], context)]

    def infer(self, i: int, seen: Any, p: Distribution, state: Tensor | None) -> Distribution:
        if i == 0:
            q: Distribution = seen
            return q
        return relative_gaussian(p, self.changes[-i](seen, state))

    def top(self, given: Tensor, context: Tensor | None) -> Distribution:
        """Returns q(z_L | x = given, context)."""
        q: Distribution = self.q_top(self.upward(given)[-1], context)
        return q
