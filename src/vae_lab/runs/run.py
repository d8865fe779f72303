"""A trained run in Python: its model, with arrays in and arrays out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.core.codes import Code, posterior_codes
from vae_lab.core.inputs import check_examples, check_labels, check_number, on_model
from vae_lab.distributions.conditional import LevelsHead
from vae_lab.nested import value_at
from vae_lab.plain_values import refuse_other_rows
from vae_lab.runs.own_units import (
    Pixels,
    as_given,
    check_device,
    codes_as_read,
    examples_as_read,
    labels_as_read,
    num_labels,
    warn_of_other_units,
)
from vae_lab.runs.reading import read_run
from vae_lab.threads import one_thread
from vae_lab.types import DataSpec

_NUMBERS_AT_ONCE = 2**22
"""Numbers (samples x examples x pixels) that are computed at once."""
_MAX_BATCH = 1024
_MARGINAL_BATCH = 128
_CODE_SAMPLES = 8
"""Samples over which the code of a level that depends on others is averaged."""
_LEVEL_ROUNDING = 0.1
"""Distance from a grey level, in levels, that half precision may cause."""
_NUM_DRAWS = 64
T = TypeVar("T")


class Run:
    """A trained run: codes, samples, reconstructions and likelihoods, with NumPy arrays or tensors.

    Arrays go in as they were trained on: pictures as uint8 of 0..255 or as floats in [0, 1], grey ones also without
    the channel axis, colours first or last; they are made black and white as ``data.binarization=threshold`` did. What
    comes out is a NumPy array, or a tensor where a tensor went in, with the shape of ``spec``; pictures as floats in
    [0, 1]. Work is done in batches, so that memory does not grow with the number of examples.

    Labels ``y`` of a conditional model are one class for all examples, or one for each, by name or by number.

    Any other attribute, such as ``generate``, ``log_marginal`` or ``state_dict``, is that of ``model``, and
    ``run(x, y)`` is ``run.model(x, y)``, all of them on tensors.

    Attributes:
        model: trained model in evaluation mode, a plain torch module.
        config: whole config of the run, as plain containers.
        folder: run folder; None if it has been removed.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        config: Mapping[str, Any],
        folder: Path | None = None,
        tested: bool = True,
    ) -> None:
        self.model = model
        self.config = config
        self.folder = folder
        self._tested = tested

    @property
    def spec(self) -> DataSpec:
        """Spec of the data that the model was built for."""
        assert self.model.spec is not None, "a run has the spec of its data"
        return self.model.spec

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics by name, and those of an evaluation since; nats per example. Empty for weights never tested."""
        if not self._tested or self.folder is None or not self.folder.is_dir():
            return {}
        found = read_run(self.folder)
        return {} if found is None else dict(found.metrics)

    def encode(self, x: Any, y: Any = None, seed: int | None = 0) -> list[Code]:
        """Returns the posterior of each level, nearest the data first: a `Code` of mean and scale, (N, *event) each.

        Args:
            x: N examples.
            y: labels of a conditional model.
            seed: seed of the samples over which levels that depend on others are averaged; None: continues the random
                numbers of torch.
        """
        parts = self._each_batch(lambda x, y: posterior_codes(self.model, x, y, _CODE_SAMPLES), x, y, seed)
        return [
            Code(*(as_given(torch.cat(values), x) for values in zip(*level, strict=True)))
            for level in zip(*parts, strict=True)
        ]

    def reconstruct(self, x: Any, y: Any = None, seed: int | None = 0) -> Any:
        """Returns the mean of p(x | z) with z at the posterior mean, (N, *shape); arguments as of `encode`."""
        return as_given(torch.cat(self._each_batch(lambda x, y: self.model.reconstruct(x, y).mean, x, y, seed)), x)

    def log_prob(self, x: Any, y: Any = None, num_samples: int = 1000, seed: int | None = 0) -> Any:
        """Returns log p(x), or log p(x | y) of a conditional model, in nats per example, (N,).

        In expectation this is a lower bound, which rises to log p(x) with the number of importance samples.

        Args:
            x: N examples; those of a model of binary data must be 0 and 1, those of a mass over grey levels k/255.
            y: labels of a conditional model.
            num_samples: number of importance samples.
            seed: seed of the samples; None: continues the random numbers of torch.

        Raises:
            ValueError: as `refuse_improbable`.
        """

        def log_marginal(x: Tensor, y: Tensor | None) -> Tensor:
            self.refuse_improbable(x)
            return self.model.log_marginal(x, y, num_samples)

        return as_given(torch.cat(self._each_batch(log_marginal, x, y, seed, _MARGINAL_BATCH)), x)

    def refuse_improbable(self, x: Tensor) -> None:
        """Raises ValueError for values without a probability: grey ones in a model of 0 and 1, or between levels."""
        if self.spec.support == "binary" and not ((x == 0) | (x == 1)).all():
            raise ValueError("x: grey values, but this model has probabilities of 0 and 1 only; give x > 0.5")
        head = getattr(self.model.likelihood, "head", None)
        levels = head.levels if isinstance(head, LevelsHead) and self.spec.support in head.exact_on else 0
        if levels and ((x * (levels - 1)).frac() - 0.5).abs().min() < 0.5 - _LEVEL_ROUNDING:
            raise ValueError(
                f"x: values between the {levels} grey levels, which alone have probabilities; give"
                f" (x * {levels - 1}).round() / {levels - 1}"
            )

    def decode(self, z: Any, y: Any = None) -> Any:
        """Returns the mean of p(x | z), (N, *shape); levels below those given are at the means of their priors.

        Args:
            z: codes of the top level, (N, *event); or a list with those of the top levels, nearest the data first, such
                as `encode` returns.
            y: labels of a conditional model.
        """
        codes = codes_as_read(z)
        num = len(codes[0])
        labels = self._labels(y, num)
        with torch.no_grad():
            parts = [
                self.model.decode(
                    [on_model(self.model, code[rows]) for code in codes], None if labels is None else labels[rows]
                ).mean
                for rows in self._slices(num)
            ]
        return as_given(torch.cat(parts), z[0] if isinstance(z, list | tuple) else z)

    def sample(
        self,
        num: int | None = None,
        y: Any = None,
        temperature: float | Sequence[float] = 1.0,
        seed: int | None = None,
        draw: Literal["mean", "sample"] = "mean",
    ) -> Any:
        """Returns draws from the model, (num, *shape).

        Args:
            num: number of draws; None: one for each label in ``y``, or 64 of one label.
            y: labels of a conditional model.
            temperature: factor of the standard deviation of the latents, one number or one for each level.
            seed: seed of the draws; None: new draws at each call, from the random numbers of torch.
            draw: mean, or a sample, of p(x | z) for each z.
        """
        if draw not in ("mean", "sample"):
            raise ValueError(f"draw={draw}: choose mean or sample")
        count = (num_labels(y, self.spec) or _NUM_DRAWS) if num is None else num
        check_number(num=count)
        labels = self._labels(y, count)
        parts = []
        for index, rows in enumerate(self._slices(count)):
            with torch.no_grad(), self._seeded(seed, index):
                given = None if labels is None else labels[rows]
                p = self.model.generate(rows.stop - rows.start, given, temperature)
                parts.append(p.mean if draw == "mean" else p.sample())
        return as_given(torch.cat(parts), y)

    def to(self, device: torch.device | str) -> Run:
        """Moves the model to a device, and returns the run."""
        check_device(device)
        self.model.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return on_model(self.model, torch.empty(0, device="cpu")).device

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.model(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "model":  # also while it is unpickled or copied, before it has a model
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.model, name)

    def __repr__(self) -> str:
        data = value_at(self.config, "choices.data") or "data"
        shape = " x ".join(map(str, self.spec.shape))
        classes = f", {self.spec.num_classes} classes" if self.spec.num_classes else ""
        elbo = self.metrics.get("elbo")
        nats = "" if elbo is None else f", test ELBO {elbo:.3f} nats per example"
        place = "" if self.folder is None else f", folder {self.folder}"
        levels = f" of {self.model.num_levels} levels" if self.model.num_levels > 1 else ""
        conditional = "conditional " if self.model.conditional else ""
        return f"Run({conditional}{type(self.model).__name__}{levels} on {data} ({shape}{classes}){nats}{place})"

    def _each_batch(
        self,
        function: Callable[[Tensor, Tensor | None], T],
        x: Any,
        y: Any,
        seed: int | None,
        batch_size: int = _MAX_BATCH,
    ) -> list[T]:
        """Calls a function with each batch as the model reads it; without gradients, with noise by seed and batch."""
        pixels = Pixels.of(self.config)
        data = examples_as_read(x, self.spec, pixels)
        batches = (
            list(self._slices(len(data), batch_size)) if tuple(data.shape[1:]) == self.spec.shape else [slice(None)]
        )
        for rows in batches:  # before the first is computed
            check_examples(self.model, on_model(self.model, data[rows]))
        warn_of_other_units(data, self.spec)
        data = pixels.binarized(data)
        labels = self._labels(y, len(data))
        refuse_other_rows("y", y, "x", x)
        results = []
        for index, rows in enumerate(batches):
            with torch.no_grad(), self._seeded(seed, index):
                results.append(function(on_model(self.model, data[rows]), None if labels is None else labels[rows]))
        return results

    def _labels(self, y: Any, num: int) -> Tensor | None:
        labels = labels_as_read(y, self.spec, num) if self.model.conditional else y
        labels = on_model(self.model, labels) if isinstance(labels, Tensor) else labels
        check_labels(self.model, labels, num)
        return labels

    def _slices(self, num: int, batch_size: int = _MAX_BATCH) -> Iterator[slice]:
        numbers = _CODE_SAMPLES * max(math.prod(self.spec.shape), self.model.widest_state)
        size = max(1, min(batch_size, _NUMBERS_AT_ONCE // numbers))
        return (slice(start, min(start + size, num)) for start in range(0, max(num, 1), size))

    def _seeded(self, seed: int | None, index: int) -> AbstractContextManager[Any]:
        if seed is None:
            return one_thread  # a seed in another thread keeps its numbers
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= seed < 2**64:
            raise ValueError(f"seed={seed}: must be an integer from 0 to 2^64 - 1, or None")
        return noise.fixed_seed(noise.seed_of_batch(int(seed), index), self.device)
