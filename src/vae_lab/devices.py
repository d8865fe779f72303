"""Names of devices, checked before anything is moved to one."""

from __future__ import annotations

from typing import Any

import torch


def check_device(device: Any) -> None:
    """Raises ValueError for a device that PyTorch does not know, or that this machine does not have."""
    try:
        torch.empty(0, device=device)
    except Exception as error:  # also AssertionError, of a torch without that backend
        here = "cpu, or cuda" if torch.cuda.is_available() else "cpu; torch finds no GPU"
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"device={device!r}: no device of this machine ({reason}); choose {here}") from error
