"""Facts that hundreds of runs in one process share: packages, the state of the code, validators of types."""

from __future__ import annotations

import functools
from typing import Any

from lightning_fabric.utilities import registry
from pydantic import ConfigDict, TypeAdapter

from vae_lab.cli import check
from vae_lab.runs import folder

entry_points = functools.cache(registry.entry_points)
provenance = functools.cache(folder.provenance)
adapters: dict[Any, TypeAdapter[Any]] = {}


def remember() -> None:
    """Lets runs remember what depends on the machine and the code alone, a tenth of the time of a short one."""
    registry.entry_points = entry_points
    folder.provenance = provenance
    check.TypeAdapter = type_adapter  # type: ignore[assignment,misc]


def type_adapter(hint: Any, config: ConfigDict) -> TypeAdapter[Any]:
    """Returns the validator of a type, the same one each time: `check` gives all of them one config."""
    if hint not in adapters:
        adapters[hint] = TypeAdapter(hint, config=config)
    return adapters[hint]
