"""Pictures of codes that a user gives as numbers."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.core.inputs import on_model
from vae_lab.pictures.conditions import row_label
from vae_lab.pictures.latents import by_level, decode, evaluation_mode
from vae_lab.pictures.sheet import Sheet
from vae_lab.settings import Draw

_MAX_FILE_BYTES = 64 * 2**20


def decoded(
    model: LatentVariableModel, z: Sequence[Any] | str, y: Tensor | None = None, seed: int = 0, draw: Draw = "mean"
) -> Sheet:
    """Draws what one code decodes to, under each condition; levels that are not given are the means of their priors.

    Args:
        model: model of continuous latents.
        z: list of numbers for each of the top levels, nearest the data first; of a single level the numbers alone; or
            the path of a JSON file that holds them.
        y: class indices (N,), or rows of conditions (N, C), for a conditional model.
        seed: seed of the pixels, if these are drawn.
        draw: mean or sample of p(x|z).

    Returns:
        A row with a column for each condition. With the arrays ``images``, ``z_1``, ... of the levels that are given,
        (N, ...), and ``y``, if any.

    Raises:
        ValueError: for codes that are not of this model.
    """
    num = 1 if y is None else len(y)
    labels = on_model(model, y)
    with evaluation_mode(model, seed):
        shapes = [tuple(code.shape[1:]) for code in model.sample_prior(num, labels)]
        levels = codes_of(_read(z) if isinstance(z, str) else z, shapes)
        codes = [code.expand(num, *code.shape[1:]) for code in levels]
        images = decode(model, [on_model(model, code) for code in codes], model.context(labels), draw)
    first = len(shapes) - len(codes) + 1
    arrays = {"images": images, **by_level(codes, first), **({} if y is None else {"y": y})}
    names = [] if y is None else [row_label(model.spec, each) for each in y]
    return Sheet(images, num, arrays, column_labels=names, spec=model.spec)


def digest_of(z: Any) -> str:
    """Returns a few letters that stand for codes in the name of a file."""
    return f"{zlib.crc32(repr(z).encode()):08x}"


def codes_of(z: Sequence[Any], shapes: Sequence[Sequence[int]], most: float = 1e30) -> list[Tensor]:
    """Returns codes of the top levels, (1, *event) each, nearest the data first.

    Args:
        z: list of numbers for each of the top levels, the last one the top level's; of a single level also the numbers.
        shapes: shape of the latents of each level, nearest the data first.
        most: largest absolute value of a latent.

    Raises:
        ValueError: for codes of other levels or sizes, or anything but numbers up to ``most``.
    """
    levels = z if z and all(isinstance(level, list | tuple) for level in z) else [z]
    if not 1 <= len(levels) <= len(shapes):
        raise ValueError(f"z: codes of {len(levels)} levels; this model has {len(shapes)}, give those of the top ones")
    first = len(shapes) - len(levels)
    codes = []
    for level, (values, shape) in enumerate(zip(levels, shapes[first:], strict=True), first + 1):
        if len(values) != math.prod(shape):
            raise ValueError(f"z: {len(values)} numbers for level {level}, which has {math.prod(shape)}")
        wrong = next((value for value in values if type(value) not in (int, float) or not abs(value) <= most), None)
        if wrong is not None:
            raise ValueError(
                f"z: {str(wrong)[:40]} in the code of level {level}; must be a finite number, up to {most:g}"
            )
        codes.append(torch.tensor(values, dtype=torch.get_default_dtype()).reshape(1, *shape))
    return codes


def _read(name: str) -> list[Any]:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ValueError(f"z={name}: no such file; give a JSON file, or the numbers, such as z=[0.5,-1.2]")
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"z={name}: larger than {_MAX_FILE_BYTES} bytes")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"z={name}: not JSON; must hold lists of numbers") from error
    if not isinstance(found, list):
        raise ValueError(f"z={name}: must hold lists of numbers")
    return found
