"""The spec of a run's data: what the source says of them, and what the user has asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, get_args

from vae_lab.data.scaling import numbers_spec, scaling_of
from vae_lab.data.source import DataSource, readable
from vae_lab.data.split_rows import Splits
from vae_lab.types import DataSpec, Scaling, Support

_NAMED = ("class_names", "attributes", "numbers", "columns")
"""Names in the spec that the source states."""


class Facts:
    """Support, scaling and spec of the examples of a source.

    Args:
        source: source of the examples.
        splits: splits of the source; the training split gives the scaling.
        support, standardize, horizontal_flip: see `ImageDataModule`.

    Raises:
        ValueError: for an unknown support.
    """

    def __init__(
        self,
        source: DataSource,
        splits: Splits,
        support: Support | Literal["auto"],
        standardize: bool | Literal["auto"],
        horizontal_flip: bool,
    ) -> None:
        if support not in ("auto", *get_args(Support)):
            raise ValueError(f"support={support}: choose auto or one of {', '.join(get_args(Support))}")
        self.source = source
        self.splits = splits
        self.asked = None if support == "auto" else support
        self.standardize = standardize
        self.horizontal_flip = horizontal_flip
        self._recorded: DataSpec | None = None

    def keep(self, recorded: DataSpec) -> None:
        """Keeps the scaling and the support of the run that the data belong to."""
        self._recorded = recorded
        for found in ("scaling", "_numbers_spec"):
            self.__dict__.pop(found, None)

    @property
    def spec(self) -> DataSpec:
        """Spec of the data; own files are listed for it and, for the scaling, their training split is read."""
        source = self.source
        support = self._support()
        self._check_kind(support)
        named: dict[str, Any] = {key: tuple(map(readable, getattr(source, key))) for key in _NAMED}
        return DataSpec(
            source.shape,
            source.num_classes,
            support,
            scaling=self.scaling,
            categories=source.categories,
            missing=source.missing,
            **named,
            **self._numbers_spec,
        )

    @cached_property
    def scaling(self) -> Scaling | None:
        """Mean and scale of real numbers in the training split; None for other values."""
        if self._recorded is not None:
            return self._recorded.scaling
        if self._support() != "real":
            return None
        found = scaling_of(*self.splits["train"], self.source.columns, sum(self.source.categories))
        return found if self.standardize else None  # numbers that float32 does not tell apart are refused anyhow

    @cached_property
    def _numbers_spec(self) -> dict[str, Any]:
        """Scaling and range of the condition's numbers in the training split; empty if there are none."""
        if not self.source.numbers:
            return {}
        if self._recorded is not None and self._recorded.numbers == tuple(map(readable, self.source.numbers)):
            return {key: getattr(self._recorded, key) for key in ("numbers_scaling", "numbers_range")}
        return numbers_spec(*self.splits["train"], self.source.numbers)

    def ask_support(self) -> Support | None:
        """Has the source read its values with the support that the user or the run asks for, if either does."""
        if self.splits.binarization != "none":
            return "binary"
        asked = self._recorded.support if self._recorded is not None and self.asked is None else self.asked
        if asked is not None and asked != self.source.asked_support:
            self.source.ask_support(asked)
        return asked

    def _support(self) -> Support:
        """Returns the support that was asked for, by the user or by the run, or else that of the source."""
        return self.ask_support() or self.source.support

    def _check_kind(self, support: Support) -> None:
        """Raises ValueError for options that the values or the shape of the examples do not have."""
        binarization, shape = self.splits.binarization, self.source.shape
        if binarization != "none" and self.asked not in (None, "binary"):
            raise ValueError(
                f"data.support={self.asked}: binarization={binarization} makes values binary; leave out one"
            )
        if binarization != "none" and self.source.support == "real":
            raise ValueError(
                f"binarization={binarization}: for values in [0, 1], and these are real numbers; leave it out"
            )
        changed = "data.image_size" if self.source.sides else "data.binarization" if binarization != "none" else ""
        if self.source.missing and changed:
            raise ValueError(f"data.missing=mask: {changed} would change missing values; leave out one")
        if binarization == "none" and support == "binary" and shape != self.source.native_shape and not self._recorded:
            raise ValueError(
                f"data.image_size={self.source.image_size}: resizing makes grey values of 0 and 1;"
                " data.binarization=threshold makes them 0 and 1 again, data.support=uint8 takes them as grey values"
            )
        if self.standardize is True and support != "real":
            raise ValueError(
                "data.standardize=true: only real numbers are standardised; data.support=real makes them that"
            )
        if self.horizontal_flip and len(shape) != 3:
            raise ValueError(
                f"data.horizontal_flip=true: mirrors pictures, and examples of shape {shape} are not pictures;"
                " leave it out"
            )
