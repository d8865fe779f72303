"""Answers to the questions of the page: plain containers in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vae_lab.explorer import projections, words
from vae_lab.explorer.explored import ExploredRun
from vae_lab.explorer.guard import RefusedError
from vae_lab.explorer.own_picture import read_picture
from vae_lab.explorer.shown import rounded, shown
from vae_lab.nested import value_at
from vae_lab.pictures.conditions import row_label
from vae_lab.pictures.decoded import codes_of
from vae_lab.pictures.latents import rows_of
from vae_lab.pictures.samples import generate
from vae_lab.types import Batch

_MAX_SAMPLES = 100
_MAX_STEPS = 31
_NUM_IN_STRIP = 40
_MAX_SEED = 2**32 - 1
_MAX_LATENT = 1e6
"""Largest absolute value of a latent that is decoded."""
_MAX_NUMBER = 1e30
"""Larger numbers would be infinite in float32; integers may have hundreds of digits in JSON."""

Body = Mapping[str, Any]
Answer = dict[str, Any]


def describe(run: ExploredRun, body: Body) -> Answer:
    """Returns all that the page must know of a run before anything is moved."""
    spec, model = run.spec, run.model
    y = run.first_condition()
    choices = (value_at(run.run.config, f"choices.{key}") for key in ("model", "data"))
    levels = []
    for level, shape in enumerate(run.shapes):
        nats, unit = run.nats(level)
        levels.append({"shape": list(shape), "nats": None if nats is None else rounded(nats), "unit": unit})
    return {
        "stamp": run.stamp,
        "title": " on ".join(map(str, filter(None, choices))) or type(model).__name__,
        "elbo": run.run.metrics.get("elbo"),
        "shape": list(spec.shape),
        "levels": levels,
        "movable": not model.discrete,
        "condition": _condition_controls(run),
        "y": _plain(y),
        "start": [code.flatten().tolist() for code in _start(run, y)],
        "examples": _strip(run),
        "num_examples": 0 if run.examples is None else len(run.examples.x),
        "problem": run.problem,
        "takes_pictures": len(spec.shape) == 3 and spec.shape[0] in (1, 3) and spec.support != "real",
    }


def decode(run: ExploredRun, body: Body) -> Answer:
    """Returns what codes of the top levels decode to, and mean and deviation of the prior of the lowest of them."""
    z = _codes(run, body.get("z"))
    picture, moments = run.decode(z, run.context(_condition(run, body.get("y"))))
    mean, std = (rounded(values.flatten()) for values in moments[len(run.shapes) - len(z)])
    return {"picture": shown(picture, run.spec), "mean": mean, "std": std}


def example(run: ExploredRun, body: Body) -> Answer:
    """Returns an example with its codes, ELBO and KL."""
    if run.examples is None:
        raise RefusedError(409, run.problem)
    index = _integer(body, "example", 0, len(run.examples.x) - 1)
    as_the_map = [level.mean[index].flatten().tolist() for level in run.levels]
    return _encoded(run, rows_of(run.examples, slice(index, index + 1))) | {"z": as_the_map}


def picture(run: ExploredRun, content: bytes, inverted: bool, y: Any) -> Answer:
    """Returns a user's own picture with its codes, ELBO and KL."""
    return _encoded(run, read_picture(content, run.spec, inverted)._replace(y=_condition(run, y)))


def samples(run: ExploredRun, body: Body) -> Answer:
    """Returns samples, the same for the same seed, and the command that draws them; or the codes of one of them."""
    y = _condition(run, body.get("y"))
    num, seed = _integer(body, "num", 1, _MAX_SAMPLES), _integer(body, "seed", 0, _MAX_SEED)
    temperature = _temperatures(run, body)
    every = None if y is None else y.expand(num, *y.shape[1:])
    made = generate(run.model, num, every, temperature, seed, "mean")
    if "take" in body:
        row = _integer(body, "take", 0, num - 1)
        return {"z": [made[f"z_{level}"][row].flatten().tolist() for level in range(1, len(run.shapes) + 1)]}
    command = words.sample_command(run, y, num, seed, temperature)
    return {"pictures": [shown(image, run.spec) for image in made["images"]], "command": command}


def path(run: ExploredRun, body: Body) -> Answer:
    """Returns the pictures between two codes, each with its condition."""
    if run.model.discrete:
        raise RefusedError(400, "path: the codes of this model are numbers of a codebook's entries")
    ends = [body.get(key) for key in ("start", "end")]
    if not all(isinstance(end, Mapping) for end in ends):
        raise RefusedError(400, "path: must have a start and an end")
    found = [(_codes(run, end.get("z")), _condition(run, end.get("y"))) for end in ends if isinstance(end, Mapping)]
    if len(found[0][0]) != len(found[1][0]):
        raise RefusedError(400, "path: both ends must have codes of the same levels")
    steps = _integer(body, "steps", 2, _MAX_STEPS, default=9)
    return {"pictures": [shown(image, run.spec) for image in run.between(found, steps)]}


def _map_of(run: ExploredRun, body: Body) -> Answer:
    """Returns the places of the examples' codes in a plane; see `vae_lab.explorer.projections`."""
    if run.examples is None:
        raise RefusedError(409, run.problem)
    if run.model.discrete:
        raise RefusedError(400, "map: the codes of this model are numbers of a codebook's entries")
    level = _integer(body, "level", 0, len(run.shapes) - 1)
    nats, _ = run.nats(level)
    plane = projections.plane(run.levels[level].mean, body.get("view"), nats)
    labels, names = projections.labels(run.examples.y, run.spec)
    return {**plane, "labels": labels, "names": names}


def command(run: ExploredRun, body: Body) -> Answer:
    """Returns the command that decodes the same picture."""
    y = _condition(run, body.get("y"))
    return {"command": words.decode_command(run, y, _codes(run, body.get("z")))}


ANSWERS: dict[str, Callable[[ExploredRun, Body], Answer]] = {
    "open": describe,
    "decode": decode,
    "example": example,
    "samples": samples,
    "path": path,
    "map": _map_of,
    "command": command,
}
"""Answers by the last part of their address; `picture`, which reads a file, is beside them."""


def _integer(body: Body, key: str, least: int, most: int, default: int | None = None) -> int:
    """Returns an integer of a question; raises `RefusedError` for anything else."""
    value = body.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedError(400, f"{key}: must be an integer from {least} to {most}")
    return value


def _temperatures(run: ExploredRun, body: Body) -> list[float]:
    """Returns the temperature of each level, nearest the data first; 1 if the question has none."""
    num_levels = len(run.shapes)
    found = body.get("temperature", [1.0] * num_levels)
    values = found if isinstance(found, list) else [found] * num_levels
    if len(values) != num_levels or not all(_is_number(value) and 0 <= value <= 100 for value in values):
        raise RefusedError(400, f"temperature: must be {num_levels} numbers from 0 to 100, one for each level")
    return [float(value) for value in values]


def _codes(run: ExploredRun, z: Any) -> list[Tensor]:
    """Returns the codes of the top levels, (1, *event) each, nearest the data first, from a list of numbers each."""
    if not isinstance(z, list):
        raise RefusedError(400, "z: must be lists of numbers, one for each of the top levels")
    try:
        found = codes_of(z, run.shapes, _MAX_LATENT)
    except ValueError as error:
        raise RefusedError(400, str(error)) from error
    if not run.model.discrete:
        return found
    links: Any = run.model.prior.links
    return [code.round().clamp(0, links[0].num_codes - 1) for code in found]


def _condition(run: ExploredRun, y: Any) -> Tensor | None:
    """Returns a condition, a class (1,) or a row of floats (1, C); None for an unconditional model."""
    spec = run.spec
    if not run.model.conditional:
        return None
    if spec.vector_condition:
        size = spec.context_features
        if not isinstance(y, list) or len(y) != size or not all(map(_is_number, y)):
            raise RefusedError(400, f"y: must be {size} numbers: {', '.join(spec.context_names[:20])}")
        return torch.tensor([y], dtype=torch.get_default_dtype())
    if not isinstance(y, int) or isinstance(y, bool) or not 0 <= y < spec.num_classes:
        raise RefusedError(400, f"y: must be a class from 0 to {spec.num_classes - 1}")
    return torch.tensor([y])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MAX_NUMBER < value < _MAX_NUMBER


def _encoded(run: ExploredRun, batch: Batch) -> Answer:
    seen = {} if batch.grey is None else {"seen": shown(batch.x[0], run.spec)}
    label = "" if batch.y is None else row_label(run.spec, batch.y[0])
    y = _plain(batch.y) if run.model.conditional else None
    return {**run.measured(batch), **seen, "original": shown(batch.original[0], run.spec), "label": label, "y": y}


def _strip(run: ExploredRun) -> list[Answer]:
    if run.examples is None:
        return []
    x, y = run.examples.original, run.examples.y
    return [
        {"picture": shown(x[i], run.spec), "label": "" if y is None else row_label(run.spec, y[i])}
        for i in range(min(len(x), _NUM_IN_STRIP))
    ]


def _start(run: ExploredRun, y: Tensor | None) -> Sequence[Tensor]:
    """Returns the code that the page begins with: that of the first example, or the prior's means."""
    if run.levels:
        return [level.mean[0] for level in run.levels]
    made = generate(run.model, 1, y, 0.0 if not run.model.discrete else 1.0, 0, "mean")
    return [made[f"z_{level}"][0] for level in range(1, len(run.shapes) + 1)]


def _condition_controls(run: ExploredRun) -> Answer | None:
    """Returns the parts of the condition by name, with the values that numbers took in training."""
    spec = run.spec
    if not run.model.conditional:
        return None
    classes = [spec.name_of(y) for y in range(spec.num_classes)]
    numbers = []
    for i, name in enumerate(spec.numbers):
        mean, scale = (0.0, 1.0) if spec.numbers_scaling is None else (c[i] for c in spec.numbers_scaling)
        low, high = spec.numbers_range[i] if spec.numbers_range else (mean - 3 * scale, mean + 3 * scale)
        numbers.append({"name": name, "low": low, "high": high})
    return {"classes": classes, "attributes": list(spec.attributes), "numbers": numbers}


def _plain(y: Tensor | None) -> Any:
    """Returns a condition, (1,) or (1, C), as the page sends it: a class, or a list of numbers."""
    return None if y is None else y[0].tolist()
