"""Names of sheets, which become names of files."""

from __future__ import annotations

import re
import zlib
from typing import Any

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.classes import class_tag
from vae_lab.pictures.conditions import Chosen, Condition
from vae_lab.settings import Request

_MAX_JOINED = 120
"""Bytes of several class names, or of a condition, in the name of a file."""
_IN_NAMES = {"num": "num", "temperature": "t", "draw": "draw_", "split": "", "seed": "seed", "columns": "of_"}
"""Prefix of the value of a setting in the name of a sheet."""


def sheet_name(request: Request, model: LatentVariableModel, chosen: Chosen, part: str = "") -> str:
    """Returns a name such as ``traversals_level_2_y3_seed1``.

    Args:
        request: request for the sheet.
        model: model that it is drawn of.
        chosen: classes or conditions that it shows.
        part: part of the model that it shows, such as ``level_2``.
    """
    parts = [request.what, *([part] if part else [])]
    if chosen is not None and len(chosen) == 1:
        parts.append(f"y{_joined(model, chosen)}")
    elif chosen is not None and request.y is not None:
        parts.append("y_all" if request.y == "all" else f"y{_joined(model, chosen)}")
    parts += [f"{_IN_NAMES[key]}{_shown(value)}" for key, value in request.changes().items() if key in _IN_NAMES]
    return "_".join(parts)


def _shown(value: Any) -> str:
    return (
        "-".join(re.sub(r"[^\w.]", "_", str(each)) for each in value) if isinstance(value, list | tuple) else str(value)
    )


def _joined(model: LatentVariableModel, chosen: Chosen) -> str:
    """Returns several classes for the name of a file; of very many a digest, because file systems limit its length."""
    assert chosen is not None
    conditions = [y for y in chosen if isinstance(y, Condition)]
    classes = [y for y in chosen if not isinstance(y, Condition)]
    tags = [condition.tag() for condition in conditions] + [class_tag(model.spec, y) for y in classes]
    for names in (tags, [*([] if not conditions else tags), *map(str, classes)]):
        joined = ("-and-" if conditions else "-").join(names)
        if len(joined.encode()) <= _MAX_JOINED:
            return joined
    kind = "conditions" if conditions else "classes"
    digest = zlib.crc32(repr(tags if conditions else list(classes)).encode())
    return f"{len(chosen)}_{kind}_{digest:08x}"
