"""Sheets on demand, as a `Request` asks for them."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.classes import class_of, class_tag
from vae_lab.pictures.latents import first_varied, varied
from vae_lab.pictures.levels import progressive, redrawn
from vae_lab.pictures.plane import latent_plane, manifold
from vae_lab.pictures.reconstructions import interpolations, pairs, reconstructions
from vae_lab.pictures.samples import samples, samples_by_class
from vae_lab.pictures.sheet import Sheet
from vae_lab.pictures.traversals import traversals
from vae_lab.settings import NUM, Label, Request
from vae_lab.types import Batch, NoExampleError, listed

Classes = Sequence[int] | None
"""Numbers of the classes that are asked for; None: all of them, or an unconditional model."""
Examples = Callable[[int, Classes], Batch]
"""(num, classes) -> that many examples of these classes, or all there are."""

_NUM_OF_EACH_CLASS = 8
"""Samples of each class if several classes stand side by side."""
_MAX_JOINED = 120
"""Bytes of several class names in the name of a file."""
_POOL = 1000
"""Examples to choose from, as many as a training draws its pictures from, so that both show the same ones."""
_IN_NAMES = {"num": "num", "temperature": "t", "draw": "draw_", "split": "", "seed": "seed"}
"""Prefix of the value of a setting in the name of a sheet."""


def requested(request: Request, model: LatentVariableModel, examples: Examples) -> Iterator[tuple[str, Sheet]]:
    """Yields the sheets, each with a name that says what it shows and which settings are not the default.

    Args:
        request: kind of the sheets and their settings.
        model: model with the ``spec`` of its data.
        examples: source of examples; called only if some are needed.

    Raises:
        ValueError: naming the setting that does not suit the model or the examples.
    """
    if request.y == "null" and "null" not in _class_names(model):  # typed for none
        request = replace(request, y=None)
    if model.discrete and request.what not in ("samples", "reconstructions"):
        raise ValueError(
            f"what={request.what}: moves codes by small steps, and those of this model are numbers of a codebook's "
            "entries; choose samples or reconstructions"
        )
    classes = _classes(request, model)
    each: Sequence[int | None] = classes or [None]
    match request.what:
        case "samples":
            yield _name(request, model, classes), _samples(request, model, classes)
        case "reconstructions":
            yield _name(request, model, classes), _reconstructions(request, model, examples, classes)
        case "interpolations":
            found = varied(_enough(request, examples, 2 * _num(request), classes))
            ends = pairs(found, _num(request), same_class=model.conditional)
            yield _name(request, model, classes), interpolations(model, *ends, seed=request.seed)
        case "progressive" | "levels":
            yield _name(request, model, classes), _by_level(request, model, examples, classes)
        case "traversals":
            yield from _all_traversals(request, model, examples, each)
        case "manifold":
            if not latent_plane(model):
                raise ValueError(
                    "what=manifold: the top level of this model does not have 2 dimensions; train with latent_dim=2"
                )
            for y in each:
                yield _name(request, model, None if y is None else [y]), manifold(model, y, _num(request))


def _samples(request: Request, model: LatentVariableModel, classes: Classes) -> Sheet:
    how: dict[str, Any] = {"temperature": request.temperature, "seed": request.seed, "draw": request.draw}
    if classes is not None and len(classes) > 1:
        return samples_by_class(model, classes, request.num or _NUM_OF_EACH_CLASS, **how)
    num = _num(request)
    return samples(model, num, None if classes is None else torch.full((num,), classes[0]), **how)


def _reconstructions(request: Request, model: LatentVariableModel, examples: Examples, classes: Classes) -> Sheet:
    num = _num(request)
    found = _enough(request, examples, num, classes)
    shown = found if num >= len(found.x) else first_varied(found, num)
    return reconstructions(model, shown, seed=request.seed)


def _by_level(request: Request, model: LatentVariableModel, examples: Examples, classes: Classes) -> Sheet:
    if model.num_levels == 1:
        raise ValueError(f"what={request.what}: shows the levels of a hierarchy, this model has one")
    num = _num(request)
    if request.what == "progressive":
        return progressive(model, first_varied(examples(max(num, _POOL), classes), num), request.seed)
    return redrawn(model, first_varied(examples(_POOL, classes), 1), request.seed, num)


def _all_traversals(
    request: Request, model: LatentVariableModel, examples: Examples, each: Sequence[int | None]
) -> Iterator[tuple[str, Sheet]]:
    """Yields the traversals of each class; if all classes are asked for, of each that has an example."""
    missing = []
    for y in each:
        try:
            yield from _traversals(request, model, examples, y)
        except NoExampleError as error:
            missing.append(error)
            if request.y not in (None, "all") or len(missing) == len(each):
                raise
    if missing:
        names = listed([error.name for error in missing])
        warnings.warn(f"{names}: the {request.split} split has no example, so no traversals of it", stacklevel=2)


def _traversals(
    request: Request, model: LatentVariableModel, examples: Examples, y: int | None
) -> Iterator[tuple[str, Sheet]]:
    classes = None if y is None else [y]
    found = examples(_POOL, classes)
    every = range(1, model.num_levels + 1)
    for level in every if request.level is None else [request.level]:
        name = _name(request, model, classes, level if len(every) > 1 else None)
        yield name, traversals(model, found, level, _num(request), request.seed)


def _num(request: Request) -> int:
    return request.num or NUM[request.what]


def _enough(request: Request, examples: Examples, num: int, classes: Classes) -> Batch:
    """Returns at least ``num`` examples; fewer only if the user gave no number."""
    found = examples(max(num, _POOL), classes)
    if request.num is not None and len(found.x) < num:
        raise ValueError(f"num={request.num}: takes {num} examples, but the {request.split} split has {len(found.x)}")
    return found


def _classes(request: Request, model: LatentVariableModel) -> Classes:
    if not model.conditional:
        if request.y is not None:
            raise ValueError(f"y={request.y}: this model is unconditional, it takes no labels")
        return None
    assert model.spec is not None, "every model of vae_lab.models has it"
    every = range(model.spec.num_classes)
    if request.y is None and request.what == "samples":
        classes = listed(model.spec.class_names) or f"0 to {every[-1]}"
        raise ValueError(f"y: this model is conditional; give y=all or a class: {classes}")
    if request.y == "all" and "all" in _class_names(model):
        warnings.warn("y=all: all classes; y=[all] is the class of that name", stacklevel=2)
    if request.y is None or request.y == "all":
        return every
    labels = [request.y] if isinstance(request.y, Label) else request.y
    if not labels:
        raise ValueError("y=[]: name at least one class, or give y=all")
    return [class_of(model.spec, label) for label in labels]


def _name(request: Request, model: LatentVariableModel, classes: Classes, level: int | None = None) -> str:
    """Returns a name such as ``traversals_level_2_y3_seed1``."""
    parts = [request.what, *([] if level is None else [f"level_{level}"])]
    if classes is not None and len(classes) == 1:
        parts.append(f"y{class_tag(model.spec, classes[0])}")
    elif classes is not None and request.y is not None:
        parts.append("y_all" if request.y == "all" else f"y{_joined(model, classes)}")
    parts += [f"{_IN_NAMES[key]}{_shown(value)}" for key, value in request.changes().items() if key in _IN_NAMES]
    return "_".join(parts)


def _shown(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _class_names(model: LatentVariableModel) -> tuple[str, ...]:
    return () if model.spec is None else model.spec.class_names


def _joined(model: LatentVariableModel, classes: Sequence[int]) -> str:
    """Returns several classes for the name of a file; of very many a digest, because file systems limit its length."""
    for names in ([class_tag(model.spec, y) for y in classes], list(map(str, classes))):
        if len("-".join(names).encode()) <= _MAX_JOINED:
            return "-".join(names)
    return f"{len(classes)}_classes_{zlib.crc32(repr(list(classes)).encode()):08x}"
