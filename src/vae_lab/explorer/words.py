"""The command that gives the same picture as the page shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vae_lab.explorer.explored import ExploredRun
from vae_lab.files import absolute
from vae_lab.pictures.conditions import Condition
from vae_lab.types import DataSpec

_MAX_WORDS = 30_000
"""Characters of a command; longer ones take their codes from a file."""


def sample_command(run: ExploredRun, y: Tensor | None, num: int, seed: int, temperature: Sequence[float]) -> str:
    """Returns the command that draws the same samples."""
    words = [f"num={num}", f"seed={seed}"]
    if any(each != 1 for each in temperature):
        same = len(set(temperature)) == 1
        words.append(f"temperature={_number(temperature[0]) if same else _listed(temperature)}")
    return _command(run, y, words)


def decode_command(run: ExploredRun, y: Tensor | None, z: Sequence[Tensor]) -> str:
    """Returns the command that decodes codes of the top levels; very long ones come from a file to be saved first."""
    levels = [_listed(code.flatten().tolist()) for code in z]
    text = levels[0] if len(run.shapes) == 1 else f"[{','.join(levels)}]"
    return _command(run, y, ["what=decode", f"z={text if len(text) < _MAX_WORDS else 'codes.json'}"])


def _command(run: ExploredRun, y: Tensor | None, words: Sequence[str]) -> str:
    settings = run.settings
    # A whole path, because the command may be pasted into a shell that is elsewhere.
    found = [f"run={absolute(str(run.path))}", *condition_words(run.spec, y), *words]
    if settings.weights != "average":
        found.append(f"weights={settings.weights}")
    if settings.data_root:
        found.append(f"data_root={absolute(settings.data_root)}")
    if settings.packages:
        found.append(f"packages=[{','.join(settings.packages)}]")
    return " ".join(["python -m vae_lab.sample", *map(shlex.quote, found)])


def condition_words(spec: DataSpec, y: Tensor | None) -> list[str]:
    """Returns the word that asks for a condition by name; none for an unconditional model."""
    if y is None:
        return []
    if spec.vector_condition:
        values = {column: float(_number(value)) for column, value in enumerate(y[0].tolist())}
        none = "".join(f"{name}:0" for name in spec.attributes[:1])  # says that no attribute is present
        text = Condition(spec, values).text(digits=9) if any(values.values()) or spec.numbers else none
    else:
        text = spec.name_of(int(y))
    means_more = text in ("all", "null") or text[:1] in ("[", "{", "'", '"') or text != text.strip()
    return [f"y=[{_quoted(text)}]" if means_more else f"y={text}"]


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _listed(values: Sequence[float]) -> str:
    return f"[{','.join(map(_number, values))}]"


def _number(value: float) -> str:
    return str(np.float32(value))  # the shortest number that float32 reads as the same
