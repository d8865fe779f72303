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
        self.seen = torch.zeros((), dtype=torch.long)
        self.skipped = torch.zeros(())
        self.last = torch.zeros(2)
        """Norm and limit of the last step, for the curves."""

    def check(self, norm: Tensor) -> Tensor:
        """Records the norm of a gradient, () in float32, and returns 1 if the step is to be skipped, else 0, ().

        A norm that is not finite is recorded as the median: `vae_lab.training.guard` counts such steps. All tensors are
        changed in place, so that a captured step (`vae_lab.training.capture.captured`) finds them again.
        """
        self._move_to(norm.device)
        median = self._median()
        limit = torch.where(self.seen >= WINDOW, self.factor * median, torch.inf)
        unusual = ((norm > limit) & norm.isfinite()).float()
        place = (self.seen % WINDOW).reshape(1)
        self.norms.index_copy_(0, place, torch.where(norm.isfinite(), norm, median).reshape(1))
        self.seen += 1
        self.skipped += unusual
        self.last.copy_(torch.stack((norm, limit)))
        return unusual

    def _median(self) -> Tensor:
        """Returns the lower median of the norms recorded so far, (); 0 if there are none."""
        recorded = self.seen.clamp(1, WINDOW)
        places = torch.arange(WINDOW, device=self.norms.device)
        ordered = torch.where(places < recorded, self.norms, torch.inf).sort().values
        return ordered.index_select(0, ((recorded - 1) // 2).reshape(1)).squeeze(0)

    def _move_to(self, device: torch.device) -> None:
        if self.norms.device != device:
            self.norms, self.seen = self.norms.to(device), self.seen.to(device)
            self.skipped, self.last = self.skipped.to(device), self.last.to(device)

    def curves(self) -> dict[str, Tensor]:
        """Returns the norm of the last gradient, its limit, and the number of steps skipped so far."""
        norm, limit = self.last.clone()
        return {"gradient_norm": norm, "gradient_limit": limit, "unusual_steps": self.skipped.clone()}

    def state(self) -> dict[str, Any]:
        """Returns what a resumed run needs."""
        return {"norms": self.norms.cpu(), "seen": int(self.seen), "skipped": self.skipped.cpu()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        self.norms, self.seen = state["norms"].clone(), torch.tensor(state["seen"])
        self.skipped = state["skipped"].clone()
