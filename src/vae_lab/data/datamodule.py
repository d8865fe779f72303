"""The data of a run: three splits of a source of examples, served in whole batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from vae_lab import noise
from vae_lab.data.arrays import Indices, evenly_spread
from vae_lab.data.conditions import chosen_places
from vae_lab.data.framing import ImageSize
from vae_lab.data.loader import (
    BalancedSampler,
    BatchLoader,
    EpochSampler,
    StoredRows,
    as_batch,
    batch_sizes,
    resident_device,
)
from vae_lab.data.missing_values import Missing
from vae_lab.data.scaling import mean_example
from vae_lab.data.source import DataSource, readable, source_of
from vae_lab.data.split_rows import Binarization, Split, Splits
from vae_lab.data.splits import OwnData
from vae_lab.types import Batch, DataSpec, SplitName, Support, Where


class ImageDataModule(LightningDataModule):
    """Examples of any shape as floats, (B, *shape), on the device of the training; pictures lie in [0, 1].

    8-bit data travel as uint8; `on_after_batch_transfer` makes them floats, and binarizes and mirrors them, on the
    device. Real numbers are served in their own units: the model standardises them by the ``scaling`` of its spec.

    Args:
        images: constructor of the source, such as a subclass of `DataSource` or `ImageSet`, called with ``root``,
            ``image_size`` and ``memory_limit_gb``.
        root: folder of the data.
        batch_size: number of examples in a batch of all processes together.
        val_size: examples of the training set, chosen by ``seed``, that are held out for validation: a number of them,
            or a fraction below 1, which is rounded to at least one; 0: validate on the test set, as the tutorials do.
            Not used for data that have a validation split of their own.
        binarization: ``dynamic``: a new sample at each reading of a training image, one fixed sample of the validation
            and test images, as published; ``static``: one fixed sample of every image; ``threshold``: above one half.
        image_size: side of square pictures in pixels that they are resized to, or height and width; None: as they are.
        horizontal_flip: mirror training images with probability one half.
        drop_last: leave out a last training batch that is not full.
        memory_limit_gb: arrays larger than this, in 10^9 bytes, stay on disk and are memory-mapped.
        seed: seed of the validation set and of the order of the training set.
        support: values that the examples are taken to have; auto: those that are found.
        balance: train on every class equally often; an epoch keeps its number of examples.
        standardize: have the model standardise its data by the training split; auto: real numbers alone.
        missing: refuse missing values of tables, or mask them: the likelihood sums over what was observed.

    Raises:
        ValueError: for a value outside its range.
    """

    def __init__(
        self,
        images: Callable[..., DataSource],
        root: str = "data",
        batch_size: int = 128,
        val_size: int | float = 5000,
        binarization: Binarization = "none",
        image_size: ImageSize = None,
        horizontal_flip: bool = False,
        drop_last: bool = False,
        memory_limit_gb: float = 4.0,
        seed: int = 0,
        support: Support | Literal["auto"] = "auto",
        standardize: bool | Literal["auto"] = "auto",
        balance: bool = False,
        missing: Missing = "refuse",
    ) -> None:
        super().__init__()
        for key, value, least in (("batch_size", batch_size, 1), ("val_size", val_size, 0), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{key}={value}: must be {least} or more")
        if isinstance(val_size, float) and not val_size < 1:
            raise ValueError(f"val_size={val_size}: must be a whole number of examples, or a fraction below 1")
        if binarization not in get_args(Binarization):
            raise ValueError(f"binarization={binarization}: choose one of {', '.join(get_args(Binarization))}")
        self.images = source_of(images, missing, root=root, image_size=image_size, memory_limit_gb=memory_limit_gb)
        self.batch_size = batch_size
        self.val_size = val_size
        self.binarization = binarization
        self.horizontal_flip = horizontal_flip
        self.drop_last = drop_last
        self.balance = balance
        self.seed = seed
        self._splits = Splits(self.images, val_size, binarization, seed, support, standardize, horizontal_flip)
        self.dtype = torch.float32  # of the numbers in a batch; that of the model
        self.test_split: SplitName = "test"  # what `test_dataloader` serves; an evaluation may ask for another,
        self.num_test_examples: int | None = None  # and for a part of it

    @property
    def spec(self) -> DataSpec:
        """Spec of these data, for which nothing is read of published sets; see `Splits`."""
        return self._splits.spec

    def keep_scaling(self, recorded: DataSpec, classes: bool = False) -> None:
        """Keeps the scaling and the support of the run that these data belong to, and its classes if that is asked."""
        self._splits.keep(recorded, classes)

    def prepare_data(self) -> None:
        self.images.prepare()

    def setup(self, stage: str | None = None) -> None:
        """Reads the splits that ``stage`` needs (None: all), so that what is wrong with them shows at once.

        Raises:
            FileNotFoundError, ValueError: see `ImageSet.load`; ValueError for a ``val_size`` that leaves nothing to
                train on.
        """
        needs: dict[str | None, tuple[SplitName, ...]] = {
            "fit": ("train", "val"),
            "validate": ("val",),
            "test": (self.test_split,),
        }
        for name in needs.get(stage, ("train", "val", "test")):
            self.split(name)

    def split(self, name: SplitName) -> Split:
        """Returns the arrays and rows of one split, read at the first call."""
        return self._splits[name]

    def test_on_all(self) -> None:
        """Makes all examples the test set of a source that brings none, because no part of them was trained on."""
        if isinstance(self.images, OwnData):
            self.images.test_on_all()
            self._splits.forget_test()

    @property
    def selection(self) -> Literal["validation set", "test set"]:
        """Examples by which best.ckpt, early stopping and searches choose."""
        return "validation set" if self.images.has_val or self.val_size else "test set"

    def origin(self, split: SplitName) -> str:
        """Returns where a split comes from, in a few words; empty if that goes without saying."""
        if split != "val" or self.images.has_val:
            return self.images.origin(split)
        return "held out of train" if self.val_size else "the test set"

    def size(self, name: SplitName) -> int:
        """Returns the number of examples of a split."""
        return len(self.split(name).rows)

    def train_sizes(self, world: int) -> list[int]:
        """Returns the number of examples in each training batch of an epoch, over all processes together."""
        sizes = batch_sizes(self.size("train"), self.batch_size, world, even=True, drop_last=self.drop_last)
        return [size for size in sizes if size]

    def found(self) -> dict[str, Any]:
        """Returns the options of the source that were left to the data, with the values found."""
        return self.images.found()

    def title(self) -> str:
        """Returns the name of the data, and where they lie."""
        return self.images.name + (f" in {readable(self.images.place)}" if self.images.place else "")

    def passed_over(self) -> list[str]:
        """Returns what was found but not read, in words."""
        return self.images.passed_over()

    def fingerprint(self, name: SplitName) -> str:
        """Returns a digest of a split, the same wherever the data lie."""
        return self._splits.fingerprint(name)

    def train_dataloader(self) -> BatchLoader:
        train = self.split("train")
        sampler = EpochSampler(train.rows, self.seed)
        if self.balance:
            sampler = BalancedSampler(train.rows, self._classes_of(train), self.seed)
        if getattr(self.trainer, "overfit_batches", 0):
            sampler = EpochSampler(sampler.order())  # of the first epoch, in every one
        loader = self._loader(train, sampler, even=True, drop_last=self.drop_last)
        if not len(loader):
            raise ValueError(f"batch_size={self.batch_size}: no batch is left of {len(train.rows)} training examples")
        return loader

    def _classes_of(self, split: Split) -> Indices:
        """Returns the class of each row of a split, (N,); raises ValueError for data without classes."""
        num, y = self.spec.num_classes, split.arrays.y
        if not num or y is None:
            raise ValueError("data.balance=true: samples classes evenly, and these data have none; leave it out")
        labels: Indices = y[split.rows] if y.ndim == 1 else y[split.rows, :num].argmax(1)
        return labels

    def unseen_classes(self) -> list[int]:
        """Returns the classes that no training example has."""
        num = self.spec.num_classes
        return sorted({*range(num)} - {*np.unique(self._classes_of(self.split("train"))).tolist()}) if num else []

    def balance_note(self) -> str:
        """Returns how classes are balanced, in words; empty if they are not."""
        if not self.balance:
            return ""
        _, counts = np.unique(self._classes_of(self.split("train")), return_counts=True)
        each = counts.sum() / len(counts)
        return (
            f"each of {len(counts)} classes about {each:.0f} times in an epoch; the rarest has {counts.min()} examples,"
            f" the most frequent {counts.max()}"
        )

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader("val")

    def original(self, name: SplitName) -> Split:
        """Returns the arrays and rows of one split before they were binarized, which say what each example is."""
        return self._splits.original(name)

    def predict_dataloader(self) -> BatchLoader:
        return self.test_dataloader()

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_split, self.num_test_examples)

    def transfer_batch_to_device(self, batch: Batch | StoredRows, device: torch.device, dataloader_idx: int) -> Batch:
        batch = as_batch(batch)
        y = None if batch.y is None else batch.y.to(device, non_blocking=True)
        return batch._replace(x=batch.x.to(device, non_blocking=True), y=y)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return self.transform(batch, training=self.trainer is not None and bool(self.trainer.training))

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Returns examples as numbers of ``dtype``, binarized and, in training, mirrored as asked."""
        x = self._as_numbers(batch.x)
        with noise.sharded(batch.shard):
            if self.binarization == "threshold":
                x = (x > 0.5).to(self.dtype)
            elif self.binarization == "dynamic" and training:
                x = (noise.uniform(x.shape, like=x) < x).to(self.dtype)
            if self.horizontal_flip and training:
                x = torch.where(noise.uniform((len(x), 1, 1, 1), like=x) < 0.5, x.flip(-1), x)
        return batch._replace(x=x)

    def _as_numbers(self, x: Tensor) -> Tensor:
        numbers = x.to(self.dtype)
        return numbers / 255 if x.dtype == torch.uint8 else numbers

    def examples(self, num: int, split: SplitName = "test", classes: Where = None) -> Batch:
        """Returns the same few examples at every call, evenly spread over a split, as evaluated, on the CPU.

        Args:
            num: number of examples, or fewer if the split has fewer.
            split: split that they are taken from.
            classes: classes that they may have, or columns of their condition with the values; None: any.

        Returns:
            floats, (num, *shape), labels, (num,), and, if they are binarized, what they were before.

        Raises:
            ValueError: if there is no example of the classes.
        """
        arrays, rows = self.split(split)
        places = np.arange(len(rows))
        if classes is not None:
            assert arrays.y is not None, "only labelled data have classes"
            places = chosen_places(self.spec, arrays.y[rows], classes, split)
        places = evenly_spread(places, num)
        picked = rows[places]
        fixed = self._splits.fixed(arrays, picked) if split == "train" else Split(arrays, picked)
        loader = BatchLoader(fixed.arrays, EpochSampler(fixed.rows), len(picked))
        grey = None
        if self.binarization != "none":
            grey = self._as_numbers(torch.from_numpy(self._splits.grey(split, places)))
        return self.transform(as_batch(next(iter(loader))), training=False)._replace(shard=None, grey=grey)

    def factors(self, num: int, split: SplitName = "test") -> Indices | None:
        """Returns the generative factors of `examples`, indices of values, (num, F); None if they are not known."""
        arrays, rows = self.split(split)
        return None if arrays.factors is None else arrays.factors[evenly_spread(rows, num)]

    def mean_example(self) -> Tensor:
        """Returns the mean of the training examples, (*shape)."""
        mean = mean_example(*self.split("train"), threshold=self.binarization == "threshold")
        return torch.from_numpy(mean).to(self.dtype)

    def _evaluation_loader(self, name: SplitName, num: int | None = None) -> BatchLoader:
        split = self._splits.evaluated_train() if name == "train" else self.split(name)
        rows = split.rows if num is None else evenly_spread(split.rows, num)
        return self._loader(split, EpochSampler(rows))

    def _loader(self, split: Split, sampler: EpochSampler, even: bool = False, drop_last: bool = False) -> BatchLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        strategy = getattr(self.trainer, "strategy", None)
        device = resident_device(split.arrays, len(split.rows), strategy.root_device if strategy else None)
        read = type(self) is not ImageDataModule or not even  # a subclass may look at a training batch
        return BatchLoader(split.arrays, sampler, self.batch_size, rank, world, even, drop_last, device, read)
