"""Functions that configs call as ``${name:arguments}``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import omegaconf
from omegaconf import OmegaConf

# OmegaConf 2.4 gives the function a new name, under which 2.3 has another function.
_register = getattr(OmegaConf, "register_resolver" if omegaconf.__version__ >= "2.4" else "register_new_resolver")


def register_resolver(name: str, function: Callable[..., Any]) -> None:
    """Makes a function available to all configs of this process."""
    _register(name, function, replace=True)
