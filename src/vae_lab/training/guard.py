"""Stops a run whose loss is no longer a number, before it can overwrite a good checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vae_lab.errors import NonFiniteLossError


def check_finite(terms: Tensor, names: Sequence[str], first_step: int) -> None:
    """Looks at the terms of the loss of consecutive steps; waits for the device.

    Args:
        terms: of each step, (S, T).
        names: of the terms, T of them.
        first_step: the global step of the first row.

    Raises:
        NonFiniteLossError: naming the first step with a term that is not finite, and the first such term in it.
    """
    bad = (~terms.isfinite()).nonzero()
    if len(bad):
        step, term = bad[0].tolist()
        raise NonFiniteLossError(f"{names[term]} is not finite at step {first_step + step}")
