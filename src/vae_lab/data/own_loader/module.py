"""The data of a run that a Python program brings as loaders: a Dataset, DataLoaders or a LightningDataModule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vae_lab.data.arrays import evenly_spread
from vae_lab.data.conditions import chosen_places
from vae_lab.data.loader import as_batch
from vae_lab.data.own_loader.collate import collated
from vae_lab.data.own_loader.scan import Scan, as_numbers, scan, spec_of
from vae_lab.data.own_loader.seeded import SeededLoader, is_repeatable
from vae_lab.data.splits import held_out
from vae_lab.types import Batch, DataSpec, SplitName, Where

Loaders = Mapping[SplitName, Iterable[Any]]


class LoaderDataModule(LightningDataModule):
    """Batches of a user's loaders, each read once before training for its shape, values, classes and size.

    Args:
        batch_size: number of examples in a batch of a Dataset; loaders have their own.
        val_size: part of a Dataset that validates where none is given: a number of examples, or a fraction below 1.
        test_size: part of a Dataset that tests where none is given.
        seed: seed of the validation part, of the order of a Dataset, and of the random numbers of each batch.
        split_seed: seed of the test part, which is the same for every seed, as of arrays; None: ``seed``.

    Raises:
        ValueError: for a value outside its range.
    """

    def __init__(
        self,
        batch_size: int = 128,
        val_size: int | float = 0.1,
        test_size: int | float = 0.1,
        seed: int = 0,
        split_seed: int | None = 0,
    ) -> None:
        super().__init__()
        for key, value in (("batch_size", batch_size), ("val_size", val_size), ("test_size", test_size)):
            if not value > 0 or (isinstance(value, float) and value >= 1):
                raise ValueError(f"{key}={value}: must be a number of examples above 0, or a fraction below 1")
        self.batch_size = batch_size
        self.val_size = val_size
        self.test_size = test_size
        self.seed = seed
        self.split_seed = seed if split_seed is None else split_seed
        self.dtype = torch.float32
        self.inner: LightningDataModule | None = None
        self._loaders: Loaders = {}
        self._given_spec: DataSpec | None = None
        self._recorded: DataSpec | None = None

    def hold(self, loaders: Loaders, inner: LightningDataModule | None = None, spec: DataSpec | None = None) -> None:
        """Serves the loader of each split, without one for test that of the validation set.

        Args:
            inner: data module that they come from, whose transfer hooks are called; None: there is none.
            spec: spec of the data; None: found by reading them.
        """
        self._loaders, self.inner, self._given_spec = loaders, inner, spec
        self._brought: tuple[SplitName, ...] = ("train", "val", "test")

    def hold_dataset(self, train: Any, val: Any = None, test: Any = None) -> None:
        """Serves map-style data sets; without ``val`` and ``test`` parts of the first one.

        Raises:
            ValueError: if nothing is left to train on.
        """
        rows = torch.arange(len(train)).numpy()
        parts = {"val": val, "test": test}
        for name, size, seed in (("test", self.test_size, self.split_seed), ("val", self.val_size, self.seed + 1)):
            if parts[name] is None:
                number = max(1, round(size * len(rows))) if isinstance(size, float) else size
                if number >= len(rows):
                    raise ValueError(f"{name}_size={size}: leaves nothing of {len(rows)} examples to train on")
                kept, held = held_out(len(rows), number, seed)
                parts[name], rows = Subset(train, rows[held].tolist()), rows[kept]
        batches = partial(DataLoader, batch_size=self.batch_size, collate_fn=collated)
        loaders = {"train": batches(Subset(train, rows.tolist()), shuffle=True)}
        self.hold(loaders | {name: batches(part) for name, part in parts.items()})  # type: ignore[arg-type]
        given: dict[SplitName, Any] = {"val": val, "test": test}
        self._brought = tuple(name for name, part in given.items() if part is not None)

    def brought(self, split: SplitName) -> str:
        """Returns the loader that the program brings as a split, in words; empty for a part of a data set."""
        return f"the loader of {self._served(split)}" if split in self._brought else ""

    @cached_property
    def scans(self) -> dict[SplitName, Scan]:
        """Facts about the loader of each split, which is read for them.

        Raises:
            ValueError: if there are no loaders, because the run was opened from its folder; for splits of other shapes,
                values or labels than those of training.
        """
        if not self._loaders:
            raise ValueError(
                "data=loader: the run was trained on a loader of a Python program; vae_lab.load_run opens it, and"
                " vae_lab.fit(data, resume=FOLDER) goes on"
            )
        found = {name: scan(name, SeededLoader(loader, 0, self.seed)) for name, loader in self._loaders.items()}
        classes = max(found["train"].num_classes, len(self._class_names))
        for each in found.values():
            each.check_beside(found["train"], self._given_spec.num_classes if self._given_spec else classes)
        return found

    @cached_property
    def spec(self) -> DataSpec:
        """Spec of these data."""
        if self._given_spec is not None:
            return self._given_spec
        found = spec_of(self.scans["train"], self._class_names)
        if self._recorded is not None and found.scaling is not None:
            return DataSpec(**{**vars(found), "scaling": self._recorded.scaling})
        return found

    @property
    def _class_names(self) -> tuple[str, ...]:
        """The names in the attribute ``classes`` of the training data set, as torchvision's have it; empty if none."""
        dataset: Any = getattr(self._loaders.get("train"), "dataset", None)
        while isinstance(dataset, Subset):
            dataset = dataset.dataset
        names = getattr(dataset, "classes", ())
        return tuple(map(str, names)) if isinstance(names, list | tuple) else ()

    def keep_scaling(self, recorded: DataSpec) -> None:
        """Keeps the scaling of the run that goes on."""
        self._recorded = recorded
        self.__dict__.pop("spec", None)

    def description(self) -> dict[str, str]:
        """Returns what config.yaml records of the data; a digest of the values if they are the same at each reading."""
        sizes = ", ".join(f"{name} {found.num_examples}" for name, found in self.scans.items())
        described = {"x": f"{self.scans['train'].support} {self.spec.shape}", "examples": sizes}
        if self._is_repeatable:
            described["fingerprint"] = " ".join(found.digest() for found in self.scans.values())
        return described

    @cached_property
    def _is_repeatable(self) -> bool:
        return all(is_repeatable(loader, self.seed) for loader in self._loaders.values())

    def values_note(self) -> str:
        """Returns how few grey levels the values have, in words; empty if nothing need be said."""
        return "" if self._given_spec is not None else self.scans["train"].levels_note()

    def resume_note(self) -> str:
        """Returns that a run which goes on cannot know its data, in words; empty if it can."""
        return "" if self._is_repeatable else "other values go unnoticed, because each reading of these differs"

    def unseen_classes(self) -> list[int]:
        """Returns the classes that no training example has, such as 0 of labels that begin with 1."""
        return sorted({*range(self.spec.num_classes)} - self.scans["train"].classes)

    def size(self, name: SplitName) -> int:
        """Returns the number of examples of a split."""
        return self.scans[self._served(name)].num_examples

    def train_sizes(self, world: int) -> list[int]:
        """Returns the number of examples in each training batch."""
        if world > 1:
            raise ValueError(
                f"trainer.devices={world}: a loader of your own is read by one process; give arrays, or use Lightning's"
                " own Trainer with it"
            )
        return self.scans["train"].sizes

    def setup(self, stage: str | None = None) -> None:
        if self.inner is not None:
            self.inner.trainer = self.trainer

    def train_dataloader(self) -> SeededLoader:
        return self._seeded("train")

    def val_dataloader(self) -> SeededLoader:
        return self._seeded("val")

    def test_dataloader(self) -> SeededLoader:
        return self._seeded("test")

    def predict_dataloader(self) -> SeededLoader:
        return self.test_dataloader()

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch if self.inner is None else self.inner.on_before_batch_transfer(batch, dataloader_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if self.inner is None:
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return self.inner.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        if self.inner is not None:
            batch = self.inner.on_after_batch_transfer(batch, dataloader_idx)
        return self._read(as_batch(batch))

    def _read(self, batch: Batch) -> Batch:
        y = None if batch.y is None else batch.y.long()
        return batch._replace(x=as_numbers(batch.x, self.spec.support, self.dtype), y=y)

    def examples(self, num: int, split: SplitName = "test", classes: Where = None) -> Batch:
        """Returns the first few examples of a split, evenly spread over those kept; see `ImageDataModule.examples`."""
        kept = [self._read(batch) for batch in self.scans[self._served(split)].kept]
        x = torch.cat([batch.x for batch in kept])
        y = None if kept[0].y is None else torch.cat([batch.y for batch in kept if batch.y is not None])
        places = torch.arange(len(x)).numpy()
        if classes is not None:
            assert y is not None, "only labelled data have classes"
            places = chosen_places(self.spec, y.numpy(), classes, split)
        rows = torch.from_numpy(evenly_spread(places, num))
        return Batch(x[rows], None if y is None else y[rows])

    def mean_example(self) -> Tensor:
        """Returns the mean of the first training examples, (*shape)."""
        return self.scans["train"].mean().to(self.dtype)

    @property
    def selection(self) -> Literal["validation set", "test set"]:
        """Examples by which best.ckpt, early stopping and searches choose."""
        return "validation set" if "test" in self._loaders else "test set"

    def fingerprint(self, name: SplitName) -> str | None:
        """Returns None: the order of a loader, and its augmentations, may differ each time."""
        return None

    def found(self) -> dict[str, Any]:
        """Returns no options: nothing is left to the data."""
        return {}

    def title(self) -> str:
        """Returns what the data are."""
        return "loader of a Python program"

    def origin(self, split: SplitName) -> str:
        """Returns where a split comes from; empty if that goes without saying."""
        return "the validation set" if split != self._served(split) else ""

    def passed_over(self) -> list[str]:
        """Returns nothing: every batch is read."""
        return []

    def _seeded(self, name: SplitName) -> SeededLoader:
        served = self._served(name)
        same = name != "train" or bool(getattr(self.trainer, "overfit_batches", 0))
        return SeededLoader(self._loaders[served], len(self.scans[served].sizes), self.seed, same)

    def _served(self, name: SplitName) -> SplitName:
        return "val" if name == "test" and "test" not in self._loaders else name
