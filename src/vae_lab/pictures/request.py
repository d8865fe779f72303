"""Sheets on demand, as a `Request` asks for them."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.classes import class_of, class_tag
from vae_lab.pictures.conditions import Chosen, Condition, conditions_of, example_of
from vae_lab.pictures.decoded import decoded, digest_of
from vae_lab.pictures.latents import first_varied, varied
from vae_lab.pictures.levels import progressive, redrawn
from vae_lab.pictures.plane import latent_plane, manifold
from vae_lab.pictures.reconstructions import interpolations, pairs, reconstructions
from vae_lab.pictures.samples import condition_sheets, samples, samples_by_class
from vae_lab.pictures.sheet import Sheet
from vae_lab.pictures.traversals import traversals
from vae_lab.settings import NUM, Label, Request
from vae_lab.types import Batch, NoExampleError, Where, listed

Examples = Callable[[int, Where], Batch]
"""(num, where) -> that many such examples, or all there are."""

_NUM_OF_EACH_CLASS = 8
"""Samples of each class if several classes stand side by side."""
_POOL = 1000
"""Examples to choose from, as many as a training draws its pictures from, so that both show the same ones."""
_MAX_JOINED = 120
"""Bytes of several class names, or of a condition, in the name of a file."""
_IN_NAMES = {"num": "num", "temperature": "t", "draw": "draw_", "split": "", "seed": "seed", "columns": "of_"}
"""Prefix of the value of a setting in the name of a sheet."""


def requested(request: Request, model: LatentVariableModel, examples: Examples) -> Iterator[tuple[str, Sheet]]:
    """Yields the sheets, each with a name that says what it shows and which settings are not the default.

    Args:
        model: model with the ``spec`` of its data.
        examples: source of examples; called only if some are needed.

    Raises:
        ValueError: naming the setting that does not suit the model or the examples.
    """
    if request.y == "null" and "null" not in _class_names(model):  # typed for none
        request = replace(request, y=None)
    if model.discrete and request.what not in ("samples", "reconstructions", "conditions"):
        raise ValueError(
            f"what={request.what}: needs codes that are points of a space, and those of this model are numbers of a"
            " codebook's entries; choose samples, reconstructions or, with labels, conditions"
        )
    chosen = _chosen(request, model)
    each: Sequence[int | Condition | None] = chosen or [None]
    match request.what:
        case "samples":
            yield _name(request, model, chosen), _samples(request, model, examples, chosen)
        case "reconstructions":
            yield _name(request, model, chosen), _reconstructions(request, model, examples, chosen)
        case "interpolations":
            found = varied(_enough(request, examples, 2 * _num(request), chosen))
            ends = pairs(found, _num(request), same_class=model.conditional)
            yield _name(request, model, chosen), interpolations(model, *ends, seed=request.seed)
        case "progressive" | "levels":
            yield _name(request, model, chosen), _by_level(request, model, examples, chosen)
        case "decode":
            assert request.z is not None, "checked by the request"
            _refuse_no_condition(request, model, chosen)
            y = None if chosen is None else _rows(chosen)
            sheet = decoded(model, request.z, y, request.seed, request.draw)
            yield _name(request, model, chosen, digest_of(request.z)), sheet
        case "conditions":
            for part, sheet in _conditions(request, model, examples, chosen).items():
                yield _name(request, model, chosen, part), sheet
        case "traversals":
            yield from _all_traversals(request, model, examples, each)
        case "manifold":
            yield from _manifolds(request, model, chosen)


def _manifolds(request: Request, model: LatentVariableModel, chosen: Chosen) -> Iterator[tuple[str, Sheet]]:
    if not latent_plane(model):
        raise ValueError(
            "what=manifold: the top level of this model does not have 2 dimensions; train with latent_dim=2"
        )
    _refuse_no_condition(request, model, chosen)
    each: Sequence[int | Condition | None] = chosen or [None]
    for one in each:
        y = one.row() if isinstance(one, Condition) else one
        yield _name(request, model, None if one is None else [one]), manifold(model, y, _num(request))


def _refuse_no_condition(request: Request, model: LatentVariableModel, chosen: Chosen) -> None:
    if model.conditional and chosen is None:
        assert model.spec is not None
        raise ValueError(f"y: {request.what} needs a condition; give it, such as {example_of(model.spec)}")


def _samples(request: Request, model: LatentVariableModel, examples: Examples, chosen: Chosen) -> Sheet:
    how: dict[str, Any] = {"temperature": request.temperature, "seed": request.seed, "draw": request.draw}
    if chosen is not None and len(chosen) > 1:
        return samples_by_class(model, _rows(chosen), request.num or _NUM_OF_EACH_CLASS, **how)
    num = _num(request)
    if chosen is None:
        return samples(model, num, _conditions_of_examples(examples, num) if model.conditional else None, **how)
    return samples(model, num, _rows(chosen).expand(num, *[-1] * (_rows(chosen).dim() - 1)), **how)


def _conditions(
    request: Request, model: LatentVariableModel, examples: Examples, chosen: Chosen
) -> Mapping[str, Sheet]:
    if not model.conditional:
        raise ValueError("what=conditions: this model is unconditional; train with model.conditional=true")
    num, seed = _num(request), request.seed
    assert model.spec is not None, "every model of vae_lab.models has it"
    if chosen is not None and not model.spec.vector_condition:
        return {"classes": samples_by_class(model, _rows(chosen), num, request.temperature, seed)}
    starts = _conditions_of_examples(examples, num) if chosen is None else _rows(chosen).repeat_interleave(num, 0)
    known = examples(_POOL, None).y if model.spec.numbers else None
    return condition_sheets(model, starts, known, request.temperature, seed)


def _rows(chosen: Sequence[int | Condition]) -> Tensor:
    """Returns class indices (N,), or rows of conditions (N, C)."""
    return torch.stack([y.row() if isinstance(y, Condition) else torch.tensor(y) for y in chosen])


def _conditions_of_examples(examples: Examples, num: int) -> Tensor:
    """Returns the conditions of varied examples, again from the first one if there are fewer."""
    y = varied(examples(max(num, _POOL), None)).y
    assert y is not None, "a conditional model has examples with conditions"
    return y[torch.arange(num) % len(y)]


def _reconstructions(request: Request, model: LatentVariableModel, examples: Examples, chosen: Chosen) -> Sheet:
    num = _num(request)
    found = _enough(request, examples, num, chosen)
    shown = found if num >= len(found.x) else first_varied(found, num)
    return reconstructions(model, shown, seed=request.seed)


def _by_level(request: Request, model: LatentVariableModel, examples: Examples, chosen: Chosen) -> Sheet:
    if model.num_levels == 1:
        raise ValueError(f"what={request.what}: shows the levels of a hierarchy, this model has one")
    num = _num(request)
    if request.what == "progressive":
        return progressive(model, first_varied(examples(max(num, _POOL), _where(chosen)), num), request.seed)
    return redrawn(model, first_varied(examples(_POOL, _where(chosen)), 1), request.seed, num)


def _all_traversals(
    request: Request, model: LatentVariableModel, examples: Examples, each: Sequence[int | Condition | None]
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
    request: Request, model: LatentVariableModel, examples: Examples, y: int | Condition | None
) -> Iterator[tuple[str, Sheet]]:
    chosen: Any = None if y is None else [y]
    found = examples(_POOL, _where(chosen))
    every = range(1, model.num_levels + 1)
    for level in every if request.level is None else [request.level]:
        name = _name(request, model, chosen, f"level_{level}" if len(every) > 1 else "")
        yield name, traversals(model, found, level, _num(request), request.seed)


def _num(request: Request) -> int:
    return request.num or NUM[request.what]


def _enough(request: Request, examples: Examples, num: int, chosen: Chosen) -> Batch:
    """Returns at least ``num`` examples; fewer only if the user gave no number."""
    found = examples(max(num, _POOL), _where(chosen))
    if request.num is not None and len(found.x) < num:
        raise ValueError(f"num={request.num}: takes {num} examples, but the {request.split} split has {len(found.x)}")
    return found


def _chosen(request: Request, model: LatentVariableModel) -> Chosen:
    if not model.conditional:
        if request.y is not None:
            raise ValueError(f"y={request.y}: this model is unconditional, it takes no labels")
        return None
    spec = model.spec
    assert spec is not None, "every model of vae_lab.models has it"
    if spec.vector_condition:
        return None if request.y is None else conditions_of(spec, request.y)
    every = range(spec.num_classes)
    if request.y is None and request.what in ("samples", "decode"):
        classes = listed(spec.class_names) or f"0 to {every[-1]}"
        raise ValueError(f"y: this model is conditional; give y=all or a class: {classes}")
    if request.y == "all" and "all" in spec.class_names:
        warnings.warn("y=all: all classes; y=[all] is the class of that name", stacklevel=2)
    if request.y is None or request.y == "all":
        return every
    if isinstance(request.y, Mapping):
        raise ValueError(f"y={dict(request.y)}: this model's condition is one class; give its name or number")
    labels = [request.y] if isinstance(request.y, Label) else request.y
    if not labels:
        raise ValueError("y=[]: name at least one class, or give y=all")
    return [class_of(spec, label) for label in labels]


def _where(chosen: Chosen) -> Where:
    """Returns what examples are chosen by: classes, or the flags of conditions."""
    return None if chosen is None else [y.flags() if isinstance(y, Condition) else y for y in chosen]


def _class_names(model: LatentVariableModel) -> tuple[str, ...]:
    return () if model.spec is None else model.spec.class_names


def _name(request: Request, model: LatentVariableModel, chosen: Chosen, part: str = "") -> str:
    """Returns a name such as ``traversals_level_2_y3_seed1`` of a sheet that shows ``part``, such as ``level_2``."""
    parts = [request.what, *([part] if part else [])]
    if chosen is not None and len(chosen) == 1:
        parts.append(f"y{_joined(model, chosen)}")
    elif chosen is not None and request.y is not None:
        parts.append("y_all" if request.y == "all" else f"y{_joined(model, chosen)}")
    parts += [f"{_IN_NAMES[key]}{_shown(value)}" for key, value in request.changes().items() if key in _IN_NAMES]
    return "_".join(parts)


def _shown(value: Any) -> str:
    several = isinstance(value, list | tuple)
    return "-".join(re.sub(r"[^\w.]", "_", str(each)) for each in value) if several else str(value)


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
