"""Steps with a non-finite gradient: they are skipped and counted, and ten in a row stop the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import nn
from torch.amp.grad_scaler import GradScaler

from vae_lab.core import ElboTerms
from vae_lab.errors import NonFiniteLossError
from vae_lab.training.metrics import BoundMetric
from vae_lab.training.optimization import Step, StepTerms
from vae_lab.training.processes import gathered

PATIENCE = 10
"""Skipped steps in a row that stop the run, because nothing would change any more."""


class StepGuard:
    """Counts the steps that were skipped.

    Attributes:
        skipped: number of skipped steps in the whole run.
        in_a_row: number of skipped steps since the last step that was taken.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self.in_a_row = 0

    def record_steps(
        self,
        steps: Sequence[Step],
        first_step: int,
        bound: BoundMetric,
        gradient_culprit: Callable[[], str],
        scaler: GradScaler | None = None,
    ) -> None:
        """Adds the finite batches of a pass to the averages, and reports what is not finite in the others.

        Args:
            steps: optimizer steps of the pass, at least one of which has a non-finite value.
            first_step: number of the first of them.
            bound: averages of the epoch.
            gradient_culprit, scaler: see `record_step`.
        """
        for number, step in enumerate(steps, first_step):
            culprits = [_non_finite_term(terms, bound.term_names) for terms in step.batches]
            for terms, culprit in zip(step.batches, culprits, strict=True):
                if culprit is None:
                    bound.update(terms.log_likelihood, terms.kl)
            term = next(filter(None, culprits), None)
            self.record_step(number, bool(step.found_inf), term, gradient_culprit, scaler)

    def record_step(
        self,
        step: int,
        skipped: bool,
        term: str | None,
        gradient_culprit: Callable[[], str],
        scaler: GradScaler | None = None,
    ) -> None:
        """Counts a step of a pass in which something is not finite; every process must call it.

        Args:
            step: number of the step.
            skipped: True if its gradient was not finite.
            term: term of the loss that is not finite; None if all are.
            gradient_culprit: returns the name of the term whose gradient is not finite.
            scaler: gradient scaler of fp16. While it searches for a scale at which nothing overflows, skipped steps do
                not end the run.

        Raises:
            NonFiniteLossError: naming the term, at the last of `PATIENCE` steps in a row, or if a step was taken
                although its loss is not finite.
        """
        if not skipped:
            self.in_a_row = 0
            if term is not None:
                raise NonFiniteLossError(f"{term} is not finite at step {step}")
            return
        self.skipped += 1
        if self.skipped == 1:
            rank_zero_warn(f"step {step}: {term or 'the gradient'} is not finite; such steps are skipped and counted")
        if term is None and scaler is not None and scaler.get_scale() > 1:
            return
        self.in_a_row += 1
        if self.in_a_row >= PATIENCE:
            named = next(filter(None, gathered(term)), None) or gradient_culprit()
            raise NonFiniteLossError(f"{named} is not finite at step {step}, as in the {PATIENCE - 1} steps before")


def _non_finite_term(terms: StepTerms, names: Sequence[str]) -> str | None:
    """Returns the first of the names (the log-likelihood, the KL of each level, the loss) that is not finite."""
    values = torch.stack([terms.log_likelihood.sum(), *terms.kl.sum((0, 1)), terms.loss])
    bad = (~values.isfinite()).nonzero()
    return [*names, "loss"][int(bad[0])] if len(bad) else None


def gradient_culprit(terms: ElboTerms, names: Sequence[str], parameters: Sequence[nn.Parameter]) -> str:
    """Returns the first of the names whose gradient is not finite."""
    values = [terms.log_likelihood.sum(), *(level.kl.sum() for level in terms.levels)]
    for name, value in zip(names, values, strict=True):
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        if not all(gradient.isfinite().all() for gradient in gradients if gradient is not None):
            return f"the gradient of {name}"
    return "the gradient of the loss"
