"""Data that a Python program gives to `vae_lab.fit`: arrays, tensors, data frames, data sets, loaders, data modules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from vae_lab.data.array.files import ArrayFiles
from vae_lab.data.array.memory import ArraysInMemory
from vae_lab.data.datamodule import ImageDataModule
from vae_lab.data.own_loader.module import LoaderDataModule
from vae_lab.data.protocol import DataModule
from vae_lab.types import SplitName


class GivenData(NamedTuple):
    """Data of a Python program.

    Attributes:
        option: option of the group data that serves them.
        give: gives the data module of that option what it serves, and returns it, or another one instead.
        description: returns what config.yaml records of the data, given what ``give`` returned.
    """

    option: str
    give: Callable[[Any], Any]
    description: Callable[[Any], dict[str, str]]


def given_data(data: Any, val: Any = None, test: Any = None) -> GivenData:
    """Returns data of whatever kind as `GivenData`.

    Args:
        data: x or (x, y); a Dataset, a DataLoader or another loader; or a LightningDataModule.
        val, test: the same of the other splits; None: see `vae_lab.fit`.

    Raises:
        ValueError: in one line, for kinds that do not go together, a DataLoader without ``val``, and anything but
            arrays of as many examples as labels.
    """
    if isinstance(data, LightningDataModule):
        if val is not None or test is not None:
            raise ValueError("val, test: a LightningDataModule has its own; leave them out")
        if hasattr(type(data), "train_sizes"):  # it fulfils `DataModule`
            return GivenData("loader", lambda _: data, _description)
        return GivenData("loader", partial(_give_module, data), LoaderDataModule.description)
    if isinstance(data, Dataset | DataLoader) and not isinstance(data, TensorDataset):
        _check_kinds(data, val, test)
        return GivenData("loader", partial(_give_loaders, data, val, test), LoaderDataModule.description)
    parts = [data, val, test]
    if isinstance(data, TensorDataset):
        parts = [part.tensors if isinstance(part, TensorDataset) else part for part in parts]
    train, *others = map(_pair, ("", "val: ", "test: "), parts)
    if train is None:
        raise ValueError("data=None: must be x, (x, y), or the name of a data set")
    arrays = ArraysInMemory(train, *others)
    return GivenData("array", partial(_give_arrays, arrays), lambda _: arrays.description())


def _description(data: DataModule) -> dict[str, str]:
    data.prepare_data()
    data.setup("fit")
    names: tuple[SplitName, ...] = ("train", "val")
    sizes = ", ".join(f"{name} {data.size(name)}" for name in names)
    return {"x": f"{data.spec.support} {data.spec.shape}", "examples": sizes}


def _check_kinds(data: Any, val: Any, test: Any) -> None:
    if isinstance(data, DataLoader) and val is None:
        raise ValueError("val=None: a DataLoader is read as it is; give val=LOADER, and test=LOADER if any")
    if isinstance(data, IterableDataset):
        raise ValueError("data: an IterableDataset has no length; give DataLoader(data), and val=DataLoader(...)")
    kind = DataLoader if isinstance(data, DataLoader) else Dataset
    for name, part in (("val", val), ("test", test)):
        if part is not None and not isinstance(part, kind):
            raise ValueError(f"{name}: a {type(part).__name__}, must be a {kind.__name__}, as data are")


def _give_loaders(data: Any, val: Any, test: Any, module: LoaderDataModule) -> LoaderDataModule:
    if isinstance(data, DataLoader):
        pairs: tuple[tuple[SplitName, Any], ...] = (("train", data), ("val", val), ("test", test))
        module.hold({name: loader for name, loader in pairs if loader is not None})
    else:
        module.hold_dataset(data, val, test)
    return module


def _give_arrays(arrays: ArraysInMemory, module: ImageDataModule) -> ImageDataModule:
    assert isinstance(module.images, ArrayFiles), "data=array reads arrays"
    module.images.hold(arrays)
    return module


def _give_module(given: LightningDataModule, module: LoaderDataModule) -> LoaderDataModule:
    """Gives the loaders of a data module.

    Raises:
        ValueError: for a split of several loaders, or no training or validation loader.
    """
    given.prepare_data()
    for stage in ("fit", "test"):
        given.setup(stage)
    loaders: dict[SplitName, Any] = {}
    names: tuple[SplitName, ...] = ("train", "val", "test")
    for name in names:
        try:
            loader = getattr(given, f"{name}_dataloader")()
        except Exception as error:
            if type(error).__name__ != "MisconfigurationException":  # Lightning's, for a module without this loader
                raise
            loader = None
        if isinstance(loader, list | tuple | dict):
            raise ValueError(f"{type(given).__name__}.{name}_dataloader: gives {len(loader)} loaders, must give one")
        if loader is not None:
            loaders[name] = loader
    for name in names[:2]:
        if name not in loaders:
            raise ValueError(f"{type(given).__name__}: has no {name}_dataloader, which training needs")
    module.hold(loaders, given, getattr(given, "spec", None))
    return module


def _pair(source: str, data: Any) -> tuple[Any, Any] | None:
    """Returns examples, and labels or None; None for a split that is not given.

    Raises:
        ValueError: for a tuple of anything but one or two; its message opens with ``source``.
    """
    if data is None:
        return None
    if not isinstance(data, tuple):
        return data, None
    if len(data) == 1:
        return data[0], None
    if len(data) != 2:
        raise ValueError(f"{source}a tuple of {len(data)}, must be (x, y), examples and labels; or x alone")
    return data
