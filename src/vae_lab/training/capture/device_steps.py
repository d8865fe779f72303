"""Results of optimizer steps in memory of the device, where a captured step writes them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vae_lab.training.optimization import StepTerms
from vae_lab.types import Batch


class DeviceStep(NamedTuple):
    """Results of an optimizer step on the device.

    Attributes:
        batch: the batch as the model saw it.
        terms: terms of the loss.
        found_inf: 1 if an entry of the gradient was not finite, else 0, ().
        skipped: 1 if the optimizer step was skipped, else 0, ().
    """

    batch: Batch
    terms: StepTerms
    found_inf: Tensor
    skipped: Tensor


class StepNumbers:
    """Numbers of the last steps in memory that a graph writes to, one row for each step in turn.

    To copy them after each step would take the host as long as to launch the step itself.

    Args:
        example: results of a step.
        num: number of steps that are kept.
    """

    def __init__(self, example: DeviceStep, num: int) -> None:
        self.batch: Batch | None = None
        self._num, self._place = num, 0
        self._rows = {name: value.new_zeros(num, *value.shape) for name, value in _numbers(example).items()}
        self._row = torch.zeros(1, dtype=torch.long, device=example.found_inf.device)
        self._logs = example.terms.logs
        self._steps: list[DeviceStep] = []

    def keep(self, step: DeviceStep) -> Batch:
        """Writes the numbers of a step to the next row, as part of the graph; returns its batch."""
        for name, value in _numbers(step).items():
            self._rows[name].index_copy_(0, self._row, value.unsqueeze(0))
        self._row.copy_((self._row + 1) % self._num)
        return step.batch

    def next(self) -> DeviceStep:
        """Returns the numbers of the step that was launched after the last call."""
        if not self._steps:
            self._steps = [self._of_row(row) for row in range(self._num)]
        step = self._steps[self._place]
        self._place = (self._place + 1) % self._num
        return step

    def _of_row(self, row: int) -> DeviceStep:
        assert self.batch is not None
        rows = {name: value[row] for name, value in self._rows.items()}
        loss, log_likelihood, kl, found_inf, skipped = (rows.pop(name) for name in _NAMES)
        return DeviceStep(self.batch, StepTerms(loss, log_likelihood, kl, {**self._logs, **rows}), found_inf, skipped)


_NAMES = ("loss/", "log_likelihood/", "kl/", "found_inf/", "skipped/")
"""Names of the numbers of every step; with a slash, so that they are none of those that an objective logs."""


def _numbers(step: DeviceStep) -> dict[str, Tensor]:
    values = (step.terms.loss, step.terms.log_likelihood, step.terms.kl, step.found_inf, step.skipped)
    logs = {name: value for name, value in step.terms.logs.items() if isinstance(value, Tensor)}
    return {**dict(zip(_NAMES, values, strict=True)), **logs}
