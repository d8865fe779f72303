"""The data of a run: three splits of an image set, served in whole batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from vae_lab import noise
from vae_lab.data.arrays import Arrays, Indices, chunks, release
from vae_lab.data.binarize import Binarization, binarized
from vae_lab.data.choosing import chosen_places
from vae_lab.data.fingerprint import fingerprint
from vae_lab.data.image_set import ImageSet, readable
from vae_lab.data.loader import BatchLoader, EpochSampler, resident_device
from vae_lab.data.splits import evenly_spread, held_out
from vae_lab.types import Batch, DataSpec, SplitName, Support, Where

_BINARIZATION_SEED = 0
"""Seed of fixed binarizations, the same for every run: otherwise test figures of different seeds would not compare."""


class Split(NamedTuple):
    """Some rows of some arrays."""

    arrays: Arrays
    rows: Indices


class ImageDataModule(LightningDataModule):
    """Images as floats in [0, 1], (B, C, H, W), on the device of the training.

    Batches travel as uint8; `on_after_batch_transfer` makes them floats, and binarizes and mirrors them, on the device.

    Args:
        images: constructor of the image set, such as a subclass of `ImageSet`, called with ``root``, ``image_size`` and
            ``memory_limit_gb``.
        root: folder of the data.
        batch_size: number of examples in a batch of all processes together.
        val_size: examples of the training set, chosen by ``seed``, that are held out for validation: a number of them,
            or a fraction below 1, which is rounded to at least one; 0: validate on the test set, as the tutorials do.
            Not used for data that have a validation split of their own.
        binarization: ``dynamic``: a new sample at each reading of a training image, one fixed sample of the validation
            and test images, as published; ``static``: one fixed sample of every image; ``threshold``: above one half.
        image_size: height and width in pixels that images are resized to; None: as they are.
        horizontal_flip: mirror training images with probability one half.
        drop_last: leave out a last training batch that is not full.
        memory_limit_gb: arrays larger than this, in 10^9 bytes, stay on disk and are memory-mapped.
        seed: seed of the validation set and of the order of the training set.

    Raises:
        ValueError: for a value outside its range.
    """

    def __init__(
        self,
        images: Callable[..., ImageSet],
        root: str = "data",
        batch_size: int = 128,
        val_size: int | float = 5000,
        binarization: Binarization = "none",
        image_size: int | None = None,
        horizontal_flip: bool = False,
        drop_last: bool = False,
        memory_limit_gb: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for key, value, least in (("batch_size", batch_size, 1), ("val_size", val_size, 0), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{key}={value}: must be {least} or more")
        if isinstance(val_size, float) and not val_size < 1:
            raise ValueError(f"val_size={val_size}: must be a whole number of examples, or a fraction below 1")
        if binarization not in get_args(Binarization):
            raise ValueError(f"binarization={binarization}: choose one of {', '.join(get_args(Binarization))}")
        self.images = images(root=root, image_size=image_size, memory_limit_gb=memory_limit_gb)
        self.batch_size = batch_size
        self.val_size = val_size
        self.binarization = binarization
        self.horizontal_flip = horizontal_flip
        self.drop_last = drop_last
        self.seed = seed
        self.dtype = torch.float32  # of the images in a batch; that of the model
        self.test_split: SplitName = "test"  # what `test_dataloader` serves; an evaluation may ask for another,
        self.num_test_examples: int | None = None  # and for a part of it

    @property
    def spec(self) -> DataSpec:
        """Spec of these data; nothing is read for it but, for one's own files, their listing."""
        binary = self.images.binary or self.binarization != "none"
        support: Support = "binary" if binary else "uint8"
        names = tuple(map(readable, self.images.class_names))
        return DataSpec(self.images.shape, self.images.num_classes, support, names)

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
        if name == "train":
            return self._train
        return self._val if name == "val" else self._test

    @property
    def selection(self) -> Literal["validation set", "test set"]:
        """Examples by which best.ckpt, early stopping and searches choose."""
        return "validation set" if self.images.has_val or self.val_size else "test set"

    def origin(self, split: SplitName) -> str:
        """Returns where a split comes from, in a few words; empty if that goes without saying."""
        if split != "val" or self.images.has_val:
            return self.images.origin(split)
        return "held out of train" if self.val_size else "the test set"

    def fingerprint(self, name: SplitName) -> str:
        """Returns a digest of a split, the same wherever the data lie."""
        return fingerprint(*self.split(name))

    def train_dataloader(self) -> BatchLoader:
        sampler = EpochSampler(self._train.rows, self.seed)
        loader = self._loader(self._train, sampler, even=True, drop_last=self.drop_last)
        if not len(loader):
            raise ValueError(
                f"batch_size={self.batch_size}: no batch is left of {len(self._train.rows)} training images"
            )
        return loader

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_split, self.num_test_examples)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        y = None if batch.y is None else batch.y.to(device, non_blocking=True)
        return batch._replace(x=batch.x.to(device, non_blocking=True), y=y)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return self.transform(batch, training=self.trainer is not None and bool(self.trainer.training))

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Returns uint8 images as numbers of ``dtype`` in [0, 1], binarized and, in training, mirrored as asked."""
        x = batch.x.to(self.dtype) / 255
        with noise.sharded(batch.shard):
            if self.binarization == "threshold":
                x = (x > 0.5).to(self.dtype)
            elif self.binarization == "dynamic" and training:
                x = (noise.uniform(x.shape, like=x) < x).to(self.dtype)
            if self.horizontal_flip and training:
                x = _mirrored_by_chance(x)
        return batch._replace(x=x)

    def examples(self, num: int, split: SplitName = "test", classes: Where = None) -> Batch:
        """Returns the same few examples at every call, evenly spread over a split, as evaluated, on the CPU.

        Args:
            num: number of examples, or fewer if the split has fewer.
            split: split that they are taken from.
            classes: classes that they may have, or columns of their condition with the values; None: any.

        Returns:
            floats in [0, 1], (num, C, H, W), labels, (num,), and, if they are binarized, what they were before.

        Raises:
            ValueError: if there is no example of the classes.
        """
        arrays, rows = self.split(split)
        places = np.arange(len(rows))
        if classes is not None:
            assert arrays.labels is not None, "only labelled data have classes"
            places = chosen_places(self.spec, arrays.labels[rows], classes, split)
        places = evenly_spread(places, num)
        picked = rows[places]
        fixed = self._fixed(arrays, picked) if split == "train" else Split(arrays, picked)
        loader = BatchLoader(fixed.arrays, EpochSampler(fixed.rows), len(picked))
        grey = None if self.binarization == "none" else self._grey(split, places)
        return self.transform(next(iter(loader)), training=False)._replace(shard=None, grey=grey)

    def _grey(self, split: SplitName, places: Indices) -> Tensor:
        """Returns the images at these places of a split before they were binarized, in [0, 1]."""
        of_train = split == "train" or (split == "val" and not self.images.has_val and self.val_size > 0)
        if of_train:
            arrays = self.images.load(train=True) if self.binarization == "static" else self._train_set
            rows = self._train_and_val_rows[0 if split == "train" else 1][places]
        else:
            own = split == "val" and self.images.has_val
            arrays, rows = self.images.load_val() if own else self.images.load(train=False), places
        return torch.from_numpy(np.array(arrays.images[rows])).float() / 255

    def factors(self, num: int, split: SplitName = "test") -> Indices | None:
        """Returns the generative factors of `examples`, indices of values, (num, F); None if they are not known."""
        arrays, rows = self.split(split)
        return None if arrays.factors is None else arrays.factors[evenly_spread(rows, num)]

    def mean_image(self) -> Tensor:
        """Returns the mean of the training images, in [0, 1], (C, H, W)."""
        arrays, rows = self.split("train")
        total = np.zeros(arrays.images.shape[1:])
        for chunk in chunks(len(rows)):
            total += arrays.images[rows[chunk]].sum(0, dtype=np.float64)
            release(arrays.images)
        return torch.from_numpy(total / len(rows) / 255).to(self.dtype)

    @cached_property
    def _train_set(self) -> Arrays:
        arrays = self.images.load(train=True)
        return self._sampled(arrays, np.arange(len(arrays))) if self.binarization == "static" else arrays

    @cached_property
    def _train_and_val_rows(self) -> tuple[Indices, Indices]:
        size = len(self._train_set)
        if self.images.has_val:
            return np.arange(size), np.arange(0)
        num = max(round(self.val_size * size), 1) if 0 < self.val_size < 1 else int(self.val_size)
        if num >= size:
            raise ValueError(
                f"val_size={self.val_size}: must be less than the {size} training images"
                f"{'; with 0 the test set validates' if size == 1 else ''}"
            )
        return held_out(size, num, self.seed)

    @cached_property
    def _train(self) -> Split:
        return Split(self._train_set, self._train_and_val_rows[0])

    @cached_property
    def _val(self) -> Split:
        if self.images.has_val:
            return self._evaluated(self.images.load_val())
        if not self.val_size:
            return self._test
        return self._fixed(self._train_set, self._train_and_val_rows[1])

    @cached_property
    def _test(self) -> Split:
        return self._evaluated(self.images.load(train=False))

    def _evaluated(self, arrays: Arrays) -> Split:
        """Returns all rows of a split that is never trained on, binarized once if they are binarized by chance."""
        rows = np.arange(len(arrays))
        return Split(self._sampled(arrays, rows), rows) if self.binarization == "static" else self._fixed(arrays, rows)

    def _fixed(self, arrays: Arrays, rows: Indices) -> Split:
        """Returns the rows as an evaluation sees them: under dynamic binarization, one fixed sample."""
        if self.binarization != "dynamic":
            return Split(arrays, rows)
        return Split(self._sampled(arrays, rows), np.arange(len(rows)))

    def _sampled(self, arrays: Arrays, rows: Indices) -> Arrays:
        return Arrays(
            binarized(arrays.images, rows, _BINARIZATION_SEED, self.images.memory_limit_gb),
            None if arrays.labels is None else arrays.labels[rows],
            None if arrays.factors is None else arrays.factors[rows],
        )

    def _evaluation_loader(self, name: SplitName, num: int | None = None) -> BatchLoader:
        split = self._fixed(*self._train) if name == "train" else self.split(name)
        rows = split.rows if num is None else evenly_spread(split.rows, num)
        return self._loader(split, EpochSampler(rows))

    def _loader(self, split: Split, sampler: EpochSampler, even: bool = False, drop_last: bool = False) -> BatchLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        strategy = getattr(self.trainer, "strategy", None)
        device = resident_device(split.arrays, len(split.rows), strategy.root_device if strategy else None)
        return BatchLoader(split.arrays, sampler, self.batch_size, rank, world, even, drop_last, device)


def _mirrored_by_chance(x: Tensor) -> Tensor:
    mirrored = noise.uniform((len(x), 1, 1, 1), like=x) < 0.5
    return torch.where(mirrored, x.flip(-1), x)
