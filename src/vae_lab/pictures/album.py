"""Every picture that suits a model, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from vae_lab.core import LatentVariableModel
from vae_lab.pictures.classes import class_tag
from vae_lab.pictures.latents import first_varied, rows_of, varied
from vae_lab.pictures.levels import codebook_use, kl_by_level, most_used_levels, progressive, redrawn
from vae_lab.pictures.plane import code_scatter, latent_plane, manifold
from vae_lab.pictures.reconstructions import interpolations, pairs, reconstructions
from vae_lab.pictures.samples import class_rows, condition_sheets, samples, samples_by_class
from vae_lab.pictures.sheet import MAX_ROWS, Sheet
from vae_lab.pictures.tiles import is_drawable, is_table
from vae_lab.pictures.traversals import traversals
from vae_lab.settings import NUM
from vae_lab.types import Batch

_MAX_TRAVERSED = 4
"""Levels that are traversed, those with most nats: a deep model has many."""

Picture = tuple[str, Tensor]
"""A tag, such as ``traversals/level_1``, and an image (3, H, W) in [0, 1]."""


@dataclass(frozen=True)
class Album:
    """The pictures of a model, of the same examples and the same noise each time, so that they show it learn.

    Attributes:
        examples: images that the model has not seen. All of them are encoded, for the order of the dimensions and the
            scatter of codes; a few of all classes are shown.
        num_classes: number of classes that are shown of a conditional model, counted from class 0.
        num_samples: number of samples from the prior, or a few more for whole rows.
        num_reconstructions: number of examples that are reconstructed.
        num_interpolations: number of rows of interpolations.
        temperature: temperature of the samples; see `LatentVariableModel.generate`.
        seed: seed of the noise.
        columns: names of the two columns of a table that scatters show; empty: those with most variance.
    """

    examples: Batch
    num_classes: int = 0
    num_samples: int = NUM["samples"]
    num_reconstructions: int = NUM["reconstructions"]
    num_interpolations: int = NUM["interpolations"]
    temperature: float = 1.0
    seed: int = 0
    columns: Sequence[str] = ()

    @property
    def drawable(self) -> bool:
        """True if the examples can be drawn, not only their codes."""
        return is_drawable(self.examples.x.shape[1:])

    def quick(self, model: LatentVariableModel) -> Iterator[Picture]:
        """Yields `samples` and `reconstructions`, the first to show whether a model learns at all."""
        if not self.drawable:
            return
        yield "samples", self._samples(model).draw(self.columns)
        shown = self.examples if self._is_table else first_varied(self.examples, self.num_reconstructions)
        yield "reconstructions", reconstructions(model, shown, seed=self.seed).draw(self.columns)

    def full(self, model: LatentVariableModel) -> Iterator[Picture]:
        """Yields every picture that suits the model."""
        yield from self.quick(model)
        yield from self.others(model)

    def others(self, model: LatentVariableModel) -> Iterator[Picture]:
        """Yields all pictures but the `quick` ones."""
        if self.drawable and _has_rows(model):
            yield from self._conditions(model)
        elif self.drawable and model.conditional:
            classes = range(self.num_classes)
            by_class = samples_by_class(model, classes, temperature=self.temperature, seed=self.seed)
            yield "samples_by_class", by_class.draw()
        if model.discrete:
            yield "codebook", codebook_use(model, self.examples)
            return
        if model.num_levels > 1:
            yield from self._levels(model)
        if self.drawable:
            yield from self._traversals(model)
        if self.drawable and len(self.examples.x) > 1:
            ends = pairs(varied(self.examples), self.num_interpolations, same_class=model.conditional)
            yield "interpolations", interpolations(model, *ends, seed=self.seed).draw()
        if latent_plane(model):
            yield from self._plane(model)

    @property
    def _is_table(self) -> bool:
        return is_table(self.examples.x.shape[1:])

    def _samples(self, model: LatentVariableModel) -> Sheet:
        if self._is_table:
            return self._sampled_rows(model)
        if not model.conditional:
            return samples(model, self.num_samples, None, self.temperature, self.seed)
        if _has_rows(model):
            y = first_varied(self.examples, self.num_samples).y
            assert y is not None, "the data have the conditions that the model reads"
            return samples(model, len(y), y, self.temperature, self.seed)
        y, columns = class_rows(self.num_samples, self.num_classes)
        return samples(model, len(y), y, self.temperature, self.seed, columns)

    def _conditions(self, model: LatentVariableModel) -> Iterator[Picture]:
        """Draws the effect of each part of the condition."""
        start = first_varied(self.examples, NUM["conditions"]).y
        assert start is not None
        assert self.examples.y is not None
        known, limits = self.examples.y, (self.num_classes, MAX_ROWS)
        for part, sheet in condition_sheets(model, start, known, self.temperature, self.seed, *limits).items():
            yield f"conditions/{part}", sheet.draw()

    def _sampled_rows(self, model: LatentVariableModel) -> Sheet:
        """Draws as many samples of x as examples, under the same labels, and compares them column by column.

        Not means of p(x|z), whose spread is smaller than that of the data.
        """
        x, y = self.examples.x, self.examples.y if model.conditional else None
        sheet = samples(model, len(x), y, self.temperature, self.seed, draw="sample")
        return replace(sheet, compared={"data": x, **sheet.compared})

    def _levels(self, model: LatentVariableModel) -> Iterator[Picture]:
        """Draws what each level of a hierarchy adds and costs."""
        if self.drawable:
            shown = first_varied(self.examples, NUM["progressive"])
            yield "progressive", progressive(model, shown, self.seed).draw()
            yield "levels", redrawn(model, first_varied(self.examples, 1), self.seed).draw()
        yield "kl_by_level", kl_by_level(model, self.examples, self.seed)

    def _traversals(self, model: LatentVariableModel) -> Iterator[Picture]:
        for level in most_used_levels(model, self.examples, _MAX_TRAVERSED, self.seed):
            tag = "traversals" if model.num_levels == 1 else f"traversals/level_{level}"
            if not model.conditional or _has_rows(model):
                yield tag, traversals(model, self.examples, level, seed=self.seed).draw()
                continue
            assert self.examples.y is not None
            for y in sorted({*self.examples.y.tolist()} & {*range(self.num_classes)}):  # with an example to start from
                sheet = traversals(model, rows_of(self.examples, self.examples.y == y), level, seed=self.seed)
                yield f"{tag}/class_{class_tag(model.spec, y)}", sheet.draw()

    def _plane(self, model: LatentVariableModel) -> Iterator[Picture]:
        yield "codes", code_scatter(model, self.examples, self.seed)
        if not self.drawable:
            return
        if not model.conditional:
            yield "manifold", manifold(model).draw()
            return
        if _has_rows(model):
            condition = first_varied(self.examples, 1).y
            yield "manifold", manifold(model, None if condition is None else condition[0]).draw()
            return
        for y in range(self.num_classes):
            yield f"manifold/class_{class_tag(model.spec, y)}", manifold(model, y).draw()


def _has_rows(model: LatentVariableModel) -> bool:
    """True for a model whose condition is a row of attributes or numbers, not one class."""
    return model.conditional and model.spec is not None and model.spec.vector_condition
