"""A run that is explored: its model, some of its examples with their codes, and what each dimension carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae_lab.core.codes import latent_shapes
from vae_lab.core.inputs import on_model
from vae_lab.errors import RunError, naming_data_root, one_line
from vae_lab.pictures.latents import LevelCodes, batch_on_model, codes, evaluation_mode, first_varied
from vae_lab.runs.data import open_data
from vae_lab.runs.loading import find_checkpoint, find_run, load_run
from vae_lab.runs.run import Run
from vae_lab.settings import ExploreSettings
from vae_lab.types import Batch, DataSpec

_ELBO_SAMPLES = 16
_ALL = 2**31 - 1
"""More examples than any split has."""


class ExploredRun:
    """A run with its model, examples and codes.

    Attributes:
        path: run folder or checkpoint, as the user named it.
        settings: weights and examples that were read.
        run: the run, as `vae_lab.load_run` returns it.
        stamp: time and size of the checkpoint that was read.
        examples: examples in mixed order, as the model sees them; None if they cannot be read.
        problem: reason why there are no examples, in one line.
        levels: posterior means and nats of the examples by level, nearest the data first; empty without examples.

    Raises:
        RunError, ValueError: for a run that cannot be opened.
    """

    def __init__(self, path: Path, settings: ExploreSettings) -> None:
        self.path = path
        self.settings = settings
        self.stamp = stamp_of(path)
        self.run: Run = load_run(path, tuple(settings.packages), weights=settings.weights)
        self.model = self.run.model
        self.examples: Batch | None = None
        self.problem = ""
        self.levels: list[LevelCodes] = []
        try:
            self.examples = _examples(path, settings, self.run)
        except Exception as error:  # a run is explored without its data, too, whatever is wrong with them
            self.problem = one_line(error, 300)
        else:
            self.levels = codes(self.model, self.examples)
        self.shapes = latent_shapes(self.model)

    @property
    def spec(self) -> DataSpec:
        """Spec of the model, with the classes of the examples if it is unconditional."""
        return self.run.spec

    def first_condition(self) -> Tensor | None:
        """Returns the condition that the page begins with: that of the first example, class 0, or the mean numbers."""
        if not self.model.conditional:
            return None
        if self.examples is not None and self.examples.y is not None:
            return self.examples.y[:1]
        if not self.spec.vector_condition:
            return torch.zeros(1, dtype=torch.int64)
        y = torch.zeros(1, self.spec.context_features)
        y[:, : min(1, self.spec.num_classes)] = 1
        if self.spec.numbers_scaling is not None:
            y[0, self.spec.first_number :] = torch.tensor(self.spec.numbers_scaling.mean)
        return y

    def nats(self, level: int) -> tuple[Tensor | None, str]:
        """Returns what each dimension of a level, counted from 0, carries, and its unit: nats, or the variance."""
        if not self.levels:
            return None, ""
        found = self.levels[level]
        if found.kl is not None:
            return found.kl.flatten(), "nats"
        if len(found.mean) < 2:
            return None, ""
        return found.mean.flatten(1).float().var(0, correction=0), "var"

    def context(self, y: Tensor | None) -> Tensor | None:
        """Returns the context, (1, C), of a condition, (1,) or (1, C); None for an unconditional model."""
        with evaluation_mode(self.model, seed=0):
            return self.model.context(on_model(self.model, y))

    def decode(self, z: Sequence[Tensor], context: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Decodes one code of the top levels, (1, *event) each, nearest the data first; the rest follow the prior.

        Returns:
            The mean of p(x|z), (*data_shape); mean and deviation of the prior of each level given the levels above.
        """
        with evaluation_mode(self.model, seed=0):
            values = [on_model(self.model, code) for code in reversed(z)]
            walk = self.model.prior.descend(
                lambda i, p, _: values[i] if i < len(values) else p.mean.expand(1, *p.event_shape), None, context
            )
            picture = self.model.observed(walk.states[-1], context).mean[0]
            return picture, [_moments(p) for p in reversed(walk.conditionals)]

    def between(self, ends: Sequence[tuple[Sequence[Tensor], Tensor | None]], steps: int) -> list[Tensor]:
        """Returns what the codes from one end to the other decode to; conditions move along with the codes."""
        (start, y_start), (end, y_end) = ends
        first, last = self.context(y_start), self.context(y_end)
        pictures = []
        for weight in torch.linspace(0, 1, steps).tolist():
            z = [torch.lerp(one, other, weight) for one, other in zip(start, end, strict=True)]
            context = None if first is None or last is None else torch.lerp(first, last, weight)
            pictures.append(self.decode(z, context)[0])
        return pictures

    def measured(self, example: Batch) -> dict[str, Any]:
        """Returns codes, ELBO, log-likelihood and KL of one example, in nats; KL by level and by dimension."""
        levels = codes(self.model, example)
        with evaluation_mode(self.model, seed=0):
            batch = batch_on_model(self.model, example)
            terms = self.model(batch.x, batch.y, num_samples=_ELBO_SAMPLES)
            nats = {
                "elbo": float(terms.elbo),
                "log_likelihood": float(terms.log_likelihood.mean()),
                "kl": terms.kl.mean((0, 1)).tolist(),
            }
        return {
            "z": [level.mean[0].flatten().tolist() for level in levels],
            **nats,
            "kl_by_dimension": [None if level.kl is None else level.kl.flatten().tolist() for level in levels],
        }


def stamp_of(path: Path) -> str:
    """Returns time of change and size of the checkpoint that would be read, as a string: JavaScript would round it.

    Raises:
        RunError: if the run is gone.
    """
    try:
        found = find_checkpoint(path)[1].stat()
    except OSError as error:
        raise RunError(f"run={path}: {error.strerror or error}") from error
    return f"{found.st_mtime_ns}-{found.st_size}"


def _examples(path: Path, settings: ExploreSettings, run: Run) -> Batch:
    num = _ALL if settings.num_examples is None else settings.num_examples
    data = open_data(find_run(path), run.model, settings.packages, settings.data_root, settings.split)
    with naming_data_root():
        return first_varied(data.examples(num, settings.split), num)


def _moments(p: Any) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of a level's prior, (1, *event); 0 and 1 of a codebook, which has neither."""
    try:
        return p.mean.expand(1, *p.event_shape), p.stddev.expand(1, *p.event_shape).clamp(min=1e-6)
    except NotImplementedError:
        return torch.zeros(1, *p.event_shape), torch.ones(1, *p.event_shape)
