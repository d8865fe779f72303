"""Settings of an evaluation, and of pictures on demand: the keys of two commands, which are read without torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from vae_lab.types import SplitName

What = Literal[
    "samples",
    "reconstructions",
    "traversals",
    "interpolations",
    "manifold",
    "progressive",
    "levels",
    "conditions",
    "decode",
]
Draw = Literal["mean", "sample"]
"""Part of p(x|z) that is shown."""
Label = str | int | float | bool
"""A class as a command line gives it: a name, which YAML may take for a number or for true, or a number."""

NUM: dict[What, int] = {
    "samples": 64,
    "reconstructions": 32,
    "traversals": 10,
    "interpolations": 8,
    "manifold": 20,
    "progressive": 12,
    "levels": 10,
    "conditions": 4,
    "decode": 1,
}
"""The usual number of each kind of sheet; see `Request.num`."""

_USED_BY: dict[str, tuple[What, ...]] = {
    "level": ("traversals",),
    "temperature": ("samples", "conditions"),
    "draw": ("samples", "decode"),
    "z": ("decode",),
    "columns": ("samples", "reconstructions"),
    "split": ("reconstructions", "traversals", "interpolations", "progressive", "levels", "conditions"),
}
"""Settings that apply only to some kinds of sheets."""


class _Counts:
    """Settings whose integers, but for the seed, are numbers of things."""

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if key != "seed" and type(value) is int and value < 1:
                raise ValueError(f"{key}={value}: must be at least 1")


@dataclass(frozen=True)
class EvaluationSettings(_Counts):
    """Settings of an evaluation.

    Attributes:
        num_samples: K of the importance sampling.
        split: split of the data.
        num_examples: number of examples of the split, evenly spread over it; None: all of them.
        elbo_samples: posterior samples for the ELBO and the active units.
        chunk: samples decoded at once; None: as many as fit. The numbers are the same, to rounding.
        all_labels: for a conditional model, also estimate log p(x), summed over the labels.
        disentanglement: score the codes by the data's generative factors; auto: if these are known.
        disentanglement_codes: examples that are scored, evenly spread over the split; at most as many as it has.
        disentanglement_level: level of a hierarchy whose posterior means are scored; 1 is nearest the data.
        seed: seed of the samples.

    Raises:
        ValueError: for a number below 1.
    """

    num_samples: int = 5000
    split: SplitName = "test"
    num_examples: int | None = None
    elbo_samples: int = 32
    chunk: int | None = None
    all_labels: bool = False
    disentanglement: bool | Literal["auto"] = "auto"
    disentanglement_codes: int = 10_000
    disentanglement_level: int = 1
    seed: int = 0


@dataclass(frozen=True)
class EncodingSettings(_Counts):
    """Settings of a table of codes.

    Attributes:
        split: split of the data, or all of them.
        num_samples: K of the importance sampling of log p(x); None: leave log p(x) out.
        elbo_samples: posterior samples for the ELBO, and for the codes of levels that depend on other levels.
        chunk: samples decoded at once; None: as many as fit. The numbers are the same, to rounding.
        seed: seed of the samples.

    Raises:
        ValueError: for a number below 1.
    """

    split: SplitName | Literal["all"] = "test"
    num_samples: int | None = None
    elbo_samples: int = 8
    chunk: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ExploreSettings(_Counts):
    """Settings of the explorer: which weights and which examples it reads.

    Attributes:
        weights: weights of a run that averages them, the average or those that were trained.
        split: split that the examples come from.
        num_examples: number of examples that are encoded; None: all of them.
        data_root: folder of the data, if they are not where the run found them.
        packages: packages whose classes the run's config may name.

    Raises:
        ValueError: for a number below 1.
    """

    weights: Literal["average", "raw"] = "average"
    split: SplitName = "test"
    num_examples: int | None = 1000
    data_root: str | None = None
    packages: Sequence[str] = ()


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        weights: weights of a run that averages them, the average or those that were trained.
        format: format of the files; all: each of them.
        seed: seed of the examples on which the files are compared with the run, and of the samples on the card.
        push: repository of the Hugging Face Hub that the folder is uploaded to, such as ``user/name``; None: none.
        private: make a new repository private.

    Raises:
        ValueError: for a repository without a user or a name.
    """

    weights: Literal["average", "raw"] = "average"
    format: Literal["safetensors", "onnx", "torch_export", "all"] = "all"
    seed: int = 0
    push: str | None = None
    private: bool = True

    def __post_init__(self) -> None:
        if self.push is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.push, re.ASCII):
            raise ValueError(f"push={self.push}: must be USER/NAME, a repository of the Hugging Face Hub")


@dataclass(frozen=True)
class Request:
    """Request for sheets of one kind; `vae_lab.pictures.requested` makes them.

    Attributes:
        what: kind of sheet.
        num: samples (of each class), reconstructions, rows of traversals or interpolations, images on a side of a
            manifold, columns of progressive reconstructions, draws of each level, latents under each condition;
            None: the usual number.
        y: class of a conditional model by name or number, several of them, or "all"; for data with attributes or
            numbers see `vae_lab.pictures.conditions`.
        level: level of the traversals; None: every level.
        temperature: temperature of the samples, one number or one for each level, nearest the data first; see
            `vae_lab.core.LatentVariableModel.generate`.
        draw: mean or sample of p(x|z), for samples.
        split: split that the examples come from.
        z: codes to decode, a list of numbers for each of the top levels, nearest the data first; of a single level the
            numbers alone; or a JSON file that holds them.
        seed: seed of the noise.
        columns: names of the columns of a table that a scatter shows; empty: the two with most variance.

    Raises:
        ValueError: for a number outside its range, or a setting that does not apply to this kind of sheet.
    """

    what: What = "samples"
    num: int | None = None
    y: Label | Mapping[str, Label] | Sequence[Any] | None = None
    level: int | None = None
    temperature: float | Sequence[float] = 1.0
    draw: Draw = "mean"
    split: SplitName = "test"
    z: Sequence[Any] | str | None = None
    seed: int = 0
    columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num is not None and self.num < 1:
            raise ValueError(f"num={self.num}: must be at least 1")
        temperatures = [self.temperature] if isinstance(self.temperature, int | float) else self.temperature
        if not all(0 <= each < math.inf for each in temperatures):
            raise ValueError(f"temperature={self.temperature}: must be 0 or more")
        if self.what == "decode" and (self.z is None or self.num is not None):
            raise ValueError("z: give the codes to decode" if self.z is None else f"num={self.num}: decode draws one z")
        for key, value in self.changes().items():
            if self.what not in _USED_BY.get(key, (self.what,)):
                raise ValueError(f"{key}={value}: does not apply to {self.what}, only to {', '.join(_USED_BY[key])}")

    def changes(self) -> dict[str, Any]:
        """Returns the settings that differ from their defaults."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value not in (default, [])}
