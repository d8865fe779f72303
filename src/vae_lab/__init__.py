"""vae_lab: train variational autoencoders, believe their numbers and see what they learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_lab.runs.loading import load_run

__version__ = "0.1.0"
__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    """`load_run` is imported when it is asked for: the command line must not wait for torch to say --help."""
    if name != "load_run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vae_lab.runs.loading import load_run  # noqa: PLC0415

    return load_run
