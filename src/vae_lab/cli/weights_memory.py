"""Refuses a model whose weights do not fit into the memory of this machine before they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/proc/meminfo")


@contextmanager
def bounded_weights() -> Iterator[None]:
    """Context manager in which modules may register as many bytes of weights as memory is available.

    Linux would kill a process that writes more, silently. A layer registers its weights before it draws them, and
    memory that was not written yet takes no place.

    Raises:
        MemoryError: naming both sizes, at the first weight that is too much.
    """
    from torch import Tensor  # noqa: PLC0415
    from torch.nn.modules.module import register_module_parameter_registration_hook  # noqa: PLC0415

    available, total = _available_bytes(), 0

    def count(module: object, name: str, weight: Tensor | None) -> None:
        nonlocal total
        total += 0 if weight is None else weight.numel() * weight.element_size()
        if available is not None and total > available:
            raise MemoryError(f"the weights alone take {total / 1e9:.3g} GB or more, {available / 1e9:.3g} GB are free")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _available_bytes() -> int | None:
    """Returns the memory that is available; None where the system does not say."""
    try:
        found = re.search(r"MemAvailable: *(\d+) kB", _MEMORY.read_text())
    except OSError:  # not Linux
        return None
    return int(found[1]) * 1024 if found else None
