"""Data that a Python program gives to `vae_lab.fit`: arrays, tensors, data frames, data sets, loaders, data modules."""

from __future__ import annotations

from typing import Any, Protocol

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from vae_lab.data.array_files import ArrayFiles
from vae_lab.data.array_memory import ArraysInMemory
from vae_lab.data.datamodule import ImageDataModule
from vae_lab.data.loader_module import LoaderDataModule
from vae_lab.data.protocol import DataModule
from vae_lab.types import SplitName


class GivenData(Protocol):
    """Data of a Python program, and the option of the group data that serves them."""

    option: str

    def give(self, data: Any) -> Any:
        """Gives the data module of that option what it serves, and returns it."""

    def description(self) -> dict[str, str]:
        """Returns what config.yaml records of the data."""


def given_data(data: Any, val: Any = None, test: Any = None) -> GivenData:
    """Returns data of whatever kind as `GivenData`.

    Args:
        data: x or (x, y); a Dataset, a DataLoader or another loader; or a LightningDataModule.
        val, test: the same of the other splits; None: see `vae_lab.fit`.

    Raises:
        ValueError: in one line, for kinds that do not go together.
    """
    if isinstance(data, LightningDataModule):
        if val is not None or test is not None:
            raise ValueError("val, test: a LightningDataModule has its own; leave them out")
        whole: Any = data
        return GivenModule(whole) if hasattr(type(data), "train_sizes") else GivenLoaders(data)
    if isinstance(data, Dataset | DataLoader) and not isinstance(data, TensorDataset):
        return GivenLoaders(data, val, test)
    if isinstance(data, TensorDataset):
        return GivenArrays(*(None if part is None else _tensors(part) for part in (data, val, test)))
    return GivenArrays(data, val, test)


def _tensors(data: Any) -> Any:
    """Returns the tensors of a TensorDataset; anything else as it is."""
    return data.tensors if isinstance(data, TensorDataset) else data


class GivenModule:
    """A data module that fulfils `DataModule`, such as `ImageDataModule`; it is used as it is.

    Args:
        data: data module.
    """

    option = "loader"

    def __init__(self, data: DataModule) -> None:
        self.data = data

    def give(self, data: Any) -> DataModule:
        """Returns the data module instead of the one that was built."""
        return self.data

    def description(self) -> dict[str, str]:
        """Returns what config.yaml records of the data."""
        self.data.prepare_data()
        self.data.setup("fit")
        names: tuple[SplitName, ...] = ("train", "val")
        sizes = ", ".join(f"{name} {self.data.size(name)}" for name in names)
        return {"x": f"{self.data.spec.support} {self.data.spec.shape}", "examples": sizes}


class GivenLoaders:
    """A Dataset, DataLoaders or a LightningDataModule.

    Args:
        data: any of these.
        val, test: the same kind; None: parts of a Dataset. DataLoaders need ``val``.

    Raises:
        ValueError: in one line, for a DataLoader without ``val``, or kinds that do not go together.
    """

    option = "loader"

    def __init__(self, data: Any, val: Any = None, test: Any = None) -> None:
        self.data, self.val, self.test = data, val, test
        self.module: LoaderDataModule | None = None
        if isinstance(data, DataLoader) and val is None:
            raise ValueError("val=None: a DataLoader is read as it is; give val=LOADER, and test=LOADER if any")
        if isinstance(data, IterableDataset):
            raise ValueError("data: an IterableDataset has no length; give DataLoader(data), and val=DataLoader(...)")
        kind = DataLoader if isinstance(data, DataLoader) else Dataset
        for name, part in (("val", val), ("test", test)):
            if part is not None and not isinstance(part, kind):
                raise ValueError(f"{name}: a {type(part).__name__}, must be a {kind.__name__}, as data are")

    def give(self, data: Any) -> LoaderDataModule:
        """Gives the data module the loaders to serve, and returns it."""
        assert isinstance(data, LoaderDataModule), "data=loader serves loaders"
        self.module = data
        if isinstance(self.data, LightningDataModule):
            data.hold(*_of_module(self.data))
        elif isinstance(self.data, DataLoader):
            pairs: tuple[tuple[SplitName, Any], ...] = (("train", self.data), ("val", self.val), ("test", self.test))
            data.hold({name: loader for name, loader in pairs if loader is not None})
        else:
            data.hold_dataset(self.data, self.val, self.test)
        return data

    def description(self) -> dict[str, str]:
        """Returns what config.yaml records of the data."""
        assert self.module is not None, "the loaders were given"
        return self.module.description()


def _of_module(module: LightningDataModule) -> tuple[dict[SplitName, Any], LightningDataModule, Any]:
    """Returns the loaders of a data module, the module, and its spec or None.

    Raises:
        ValueError: for a split of several loaders, or no validation loader.
    """
    module.prepare_data()
    for stage in ("fit", "test"):
        module.setup(stage)
    loaders: dict[SplitName, Any] = {}
    names: tuple[SplitName, ...] = ("train", "val", "test")
    for name in names:
        try:
            loader = getattr(module, f"{name}_dataloader")()
        except Exception as error:
            if type(error).__name__ != "MisconfigurationException":  # Lightning's, for a module without this loader
                raise
            loader = None
        if isinstance(loader, list | tuple | dict):
            raise ValueError(f"{type(module).__name__}.{name}_dataloader: gives {len(loader)} loaders, must give one")
        if loader is not None:
            loaders[name] = loader
    for name in names[:2]:
        if name not in loaders:
            raise ValueError(f"{type(module).__name__}: has no {name}_dataloader, which training needs")
    return loaders, module, getattr(module, "spec", None)


class GivenArrays:
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
