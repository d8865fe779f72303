"""The contract between the data of a run and its training; `ImageDataModule` and `LoaderDataModule` fulfil it."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from vae_lab.types import Batch, DataSpec, SplitName, Where


@runtime_checkable
class DataModule(Protocol):
    """A LightningDataModule that a run is trained on.

    Its loaders give batches of x, (x,), (x, y) or `Batch`, and know their length. A data module that has no more than
    the members of Lightning, and perhaps ``spec``, is given to `vae_lab.fit`, which adds the rest.

    Attributes:
        batch_size: number of examples in a batch of all processes together.
        dtype: dtype of the numbers in a batch, that of the model.
    """

    batch_size: int
    dtype: torch.dtype

    @property
    def spec(self) -> DataSpec:
        """Spec of the data, known before they are set up."""

    @property
    def selection(self) -> Literal["validation set", "test set"]:
        """Examples by which best.ckpt, early stopping and searches choose."""

    def prepare_data(self) -> None:
        """Downloads and decodes what is missing."""

    def setup(self, stage: str | None = None) -> None:
        """Reads the splits that a stage of Lightning needs."""

    def train_dataloader(self) -> Any:
        """Returns the loader of the training split."""

    def val_dataloader(self) -> Any:
        """Returns the loader of the validation split."""

    def test_dataloader(self) -> Any:
        """Returns the loader of the test split."""

    def examples(self, num: int, split: SplitName = "test", classes: Where = None) -> Batch:
        """Returns the same few examples at every call, as the model reads them, on the CPU."""

    def size(self, name: SplitName) -> int:
        """Returns the number of examples of a split."""

    def train_sizes(self, world: int) -> list[int]:
        """Returns the number of examples in each training batch of an epoch, over all processes together."""

    def mean_example(self) -> Tensor:
        """Returns the mean of the training examples, (*shape)."""

    def keep_scaling(self, recorded: DataSpec) -> None:
        """Keeps the scaling of the run that goes on, whatever the data would have themselves."""

    def found(self) -> dict[str, Any]:
        """Returns the options that were left to the data, with the values found."""

    def fingerprint(self, name: SplitName) -> str | None:
        """Returns a digest of a split; None if it has none."""

    def title(self) -> str:
        """Returns the name of the data, and where they lie."""

    def origin(self, split: SplitName) -> str:
        """Returns where a split comes from, in a few words; empty if that goes without saying."""

    def passed_over(self) -> list[str]:
        """Returns what was found but not read, in words."""
