"""Stops a run whose loss is no longer a number, before it can overwrite a good checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor

from vae_lab.core import ElboTerms
from vae_lab.errors import NonFiniteLossError


class FiniteGuard:
    """Remembers, on the device, the first step at which each term of the loss was not finite.

    Looking costs a synchronisation with the device, so `observe` only records; `check` is called where the host waits
    anyway.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.first_bad: Tensor | None = None

    def observe(self, terms: ElboTerms, loss: Tensor, step: int) -> None:
        """Records which terms are not finite at ``step``."""
        sums = torch.stack((terms.log_likelihood.sum(), *terms.kl.sum((0, 1)).unbind(), loss)).detach()
        if self.first_bad is None:
            self.names = ["log_likelihood", *(f"kl_level_{i + 1}" for i in range(len(terms.levels))), "loss"]
            self.first_bad = torch.full((len(sums),), -1, device=sums.device)
        new = ~sums.isfinite() & (self.first_bad < 0)
        self.first_bad = torch.where(new, step, self.first_bad)

    def check(self) -> None:
        """Raises `NonFiniteLossError` naming the term and the step, if anything observed was not finite."""
        if self.first_bad is None:
            return
        steps = self.first_bad.tolist()
        bad = [(step, i) for i, step in enumerate(steps) if step >= 0]
        if bad:
            step, term = min(bad)
            raise NonFiniteLossError(f"{self.names[term]} is not finite at step {step}")
