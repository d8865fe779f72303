"""vae_lab: train variational autoencoders, believe their numbers and see what they learned."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_lab.fitting import compose, fit
    from vae_lab.runs.loading import load_run
    from vae_lab.runs.run import Run

__version__ = "0.1.0"
__all__ = ["Run", "compose", "fit", "load_run"]

_MODULES = {
    "Run": "vae_lab.runs.run",
    "compose": "vae_lab.fitting",
    "fit": "vae_lab.fitting",
    "load_run": "vae_lab.runs.loading",
}


def __getattr__(name: str) -> Any:
    """Imports a function when it is first asked for, because --help must not wait for torch."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
