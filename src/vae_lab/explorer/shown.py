"""Examples as the page draws them, in plain containers: pixels, curves or bars."""

from __future__ import annotations

import base64
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from vae_lab.pictures.columns import names_of, standardised
from vae_lab.pictures.tiles import is_drawable, is_signal, is_table, tiles_of
from vae_lab.types import DataSpec

_MAX_POINTS = 4096
"""Points of a curve, and bars; of more, evenly spread ones are drawn."""
_MAX_CURVES = 8


def shown(example: Tensor, spec: DataSpec) -> dict[str, Any]:
    """Returns one example, (*shape), as the page draws it.

    Returns:
        ``kind`` pixels with ``width``, ``height``, ``channels`` and base64 bytes; curves or bars with ``values``,
        (C, T) and (D,), and the ``names`` of channels or columns; nothing for data that cannot be drawn. Each with a
        ``note`` that says how it is drawn, empty if that is plain.
    """
    x = example.detach().float().cpu()
    if not is_drawable(x.shape):
        return {"kind": "nothing", "note": f"data of shape {tuple(x.shape)} cannot be drawn"}
    if is_table(x.shape):
        return _bars(x, spec)
    if is_signal(x.shape):
        return _curves(x, spec)
    if x.dim() == 3 and x.shape[0] in (1, 3) and spec.support != "real":
        return _pixels(x.nan_to_num(0.0), "")  # in its own size: the page enlarges it
    drawn = tiles_of(x[None], spec)
    return _pixels(drawn.pictures[0], drawn.note)


def _pixels(x: Tensor, note: str) -> dict[str, Any]:
    # Rounded as torchvision's save_image does, so that a picture that the sample command saves has the same pixels.
    levels = x.mul(255).add(0.5).clamp(0, 255).to(torch.uint8)
    channels, height, width = levels.shape
    data = base64.b64encode(levels.permute(1, 2, 0).contiguous().numpy().tobytes()).decode("ascii")
    size = {"width": width, "height": height, "channels": channels}
    return {"kind": "pixels", **size, "data": data, "note": note}


def _curves(x: Tensor, spec: DataSpec) -> dict[str, Any]:
    channels, times = x.shape
    places = _spread(times)
    values = [rounded(row[places]) for row in x[:_MAX_CURVES]]
    note = f"the first {_MAX_CURVES} of {channels} channels" if channels > _MAX_CURVES else ""
    return {"kind": "curves", "values": values, "names": names_of(spec, channels)[:_MAX_CURVES], "note": note}


def _bars(x: Tensor, spec: DataSpec) -> dict[str, Any]:
    places = _spread(len(x))
    names = names_of(spec, len(x))
    # The height of a bar is in standard deviations, because columns have different units.
    heights = x if spec.scaling is None else standardised(x[None], spec)[0]
    note = "" if spec.scaling is None else "in standard deviations from the mean"
    note += "; of categories their shares" if note and spec.categories else ""
    return {
        "kind": "bars",
        "values": rounded(x[places]),
        "heights": rounded(heights[places]),
        "names": [names[i] for i in places.tolist()],
        "note": note,
    }


def rounded(values: Tensor) -> list[float | None]:
    """Returns numbers for JSON; None for those that are missing."""
    return [float(f"{value:.6g}") if isfinite(value) else None for value in values.tolist()]


def _spread(size: int) -> Tensor:
    return torch.arange(size) if size <= _MAX_POINTS else torch.linspace(0, size - 1, _MAX_POINTS).round().long()
