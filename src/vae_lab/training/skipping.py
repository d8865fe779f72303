"""Skips steps with an unusually large gradient, by a rule that cannot lock.

Deep hierarchies have rare gradients that would throw the weights far off. A fixed threshold is a trap: once the usual
norm exceeds it every step is skipped, for ever (openai/vdvae, issue 25). So the threshold follows the running median of
the norms, those of skipped steps included: a change that stays is usual before long.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

WINDOW = 100
"""Norms that the median is taken of; the first ones of a run are only recorded."""


class UnusualGradients:
    """Finds gradients whose norm exceeds ``factor`` times the median of the last `WINDOW` norms.

    The host does not wait for the device.

    Args:
        factor: multiple of the median above which a norm is unusual.

    Raises:
        ValueError: for a factor of 1 or less.
    """

    def __init__(self, factor: float) -> None:
        if not factor > 1:
            raise ValueError(f"gradient_skip={factor}: must be above 1, a multiple of the usual norm, or null")
        self.factor = factor
        self.norms = torch.zeros(WINDOW)
        self.seen = 0
        self.skipped = torch.zeros(())
        self.last = torch.zeros(2)
        """Norm and limit of the last step, for the curves."""

    def check(self, norm: Tensor) -> Tensor:
        """Records the norm of a gradient, () in float32, and returns 1 if the step is to be skipped, else 0, ().

        A norm that is not finite is recorded as the median: `vae_lab.training.guard` counts such steps.
        """
        self.norms = self.norms.to(norm.device)
        median = self.norms[: max(1, min(self.seen, WINDOW))].median()
        limit = self.factor * median if self.seen >= WINDOW else torch.full_like(norm, torch.inf)
        unusual = (norm > limit) & norm.isfinite()
        self.norms[self.seen % WINDOW] = torch.where(norm.isfinite(), norm, median)
        self.seen += 1
        self.skipped = self.skipped.to(norm.device) + unusual
        self.last = torch.stack((norm, limit))
        return unusual.float()

    def curves(self) -> dict[str, Tensor]:
        """Returns the norm of the last gradient, its limit, and the number of steps skipped so far."""
        norm, limit = self.last
        return {"gradient_norm": norm, "gradient_limit": limit, "unusual_steps": self.skipped}

    def state(self) -> dict[str, Any]:
        """Returns what a resumed run needs."""
        return {"norms": self.norms.cpu(), "seen": self.seen, "skipped": self.skipped.cpu()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self.norms, self.seen, self.skipped = state["norms"].clone(), int(state["seen"]), state["skipped"].clone()
