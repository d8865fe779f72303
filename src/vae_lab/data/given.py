"""Data that a Python program gives to `vae_lab.fit`: arrays, tensors, data frames, data sets, loaders."""

from __future__ import annotations

from typing import Any

from vae_lab.data.array_files import ArrayFiles
from vae_lab.data.array_memory import ArraysInMemory
from vae_lab.data.datamodule import ImageDataModule


class GivenData:
    """Arrays in memory in the place of the files of ``data=array``.

    Args:
        data: examples, or a pair of examples and labels.
        val, test: the same of the other splits; None: a part of the training split.

    Raises:
        ValueError: in one line, for anything but arrays of as many examples as labels.
    """

    option = "array"
    """Option of the group data by which such data are read."""

    def __init__(self, data: Any, val: Any = None, test: Any = None) -> None:
        others = [None if part is None else _pair(f"{name}: ", part) for name, part in (("val", val), ("test", test))]
        self.arrays = ArraysInMemory(_pair("", data), *others)

    def give(self, data: ImageDataModule) -> ImageDataModule:
        """Gives the data module the arrays to serve, and returns it."""
        assert isinstance(data.images, ArrayFiles), "data=array reads arrays"
        data.images.hold(self.arrays)
        return data

    def description(self) -> dict[str, str]:
        """Returns what config.yaml records of the data."""
        return self.arrays.description()


def _pair(source: str, data: Any) -> tuple[Any, Any]:
    """Returns examples, and labels or None.

    Args:
        source: opening of the message.
        data: examples, or a pair of examples and labels.

    Raises:
        ValueError: for a tuple of anything but one or two.
    """
    if data is None:
        raise ValueError("data=None: must be x, (x, y), or the name of a data set")
    if not isinstance(data, tuple):
        return data, None
    if len(data) == 1:
        return data[0], None
    if len(data) != 2:
        raise ValueError(f"{source}a tuple of {len(data)}, must be (x, y), examples and labels; or x alone")
    return data
