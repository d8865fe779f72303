"""Base class of every family of images: START HERE to add one (one file, one YAML)."""

from __future__ import annotations

from abc import abstractmethod

from vae_lab.data.source import DataSource
from vae_lab.types import Support

DIGITS = tuple("0123456789")
"""Class names of a set of digits."""


class ImageSet(DataSource):
    """One family of 8-bit images: it knows its sizes before anything is read, and reads each split into arrays.

    A subclass states ``name``, ``native_shape``, ``num_classes`` and, if the classes have names, ``class_names``, and
    writes `read`.
    """

    @property
    @abstractmethod
    def native_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of what `read` returns."""

    @property
    def binary(self) -> bool:
        """True if every pixel is 0 or 255."""
        return False

    @property
    def support(self) -> Support:
        return "binary" if self.binary else "uint8"
