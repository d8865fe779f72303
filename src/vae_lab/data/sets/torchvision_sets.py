"""The published sets of a few files each, which torchvision downloads: Fashion-MNIST, KMNIST, CIFAR-10 and SVHN."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from torchvision import datasets

from vae_lab.data.arrays import Arrays
from vae_lab.data.image_set import DIGITS, ImageSet
from vae_lab.data.sets.idx import as_arrays, read_idx
from vae_lab.data.sets.published_files import corrupt, existing, locate


class _PublishedSet(ImageSet):
    """A set whose files are on this machine or downloaded."""

    num_classes = 10

    @abstractmethod
    def locate(self) -> Path:
        """Returns the folder of the files, after a download if need be."""

    @property
    def place(self) -> str:
        return str(self.locate())

    def prepare(self) -> None:
        self.locate()


class _IdxSet(_PublishedSet):
    """A relative of MNIST: four IDX files, zipped or not (torchvision takes only those that it unzipped itself)."""

    native_shape = (1, 28, 28)
    source: ClassVar[type[datasets.MNIST]]
    elsewhere: ClassVar[Mapping[str, str]] = {}

    def locate(self) -> Path:
        files = [Path(name).stem for name, _ in self.source.resources]
        return locate(self.name, self.root, f"{self.source.__name__}/raw", files, self._download, self.elsewhere)

    def read(self, train: bool) -> Arrays:
        folder, split = self.locate(), "train" if train else "t10k"
        images, labels = folder / f"{split}-images-idx3-ubyte", folder / f"{split}-labels-idx1-ubyte"
        return as_arrays(read_idx(existing(images) or images, 3), read_idx(existing(labels) or labels, 1))

    def _download(self, folder: str) -> None:
        self.source(folder, download=True)


class FashionMnist(_IdxSet):
    """Pictures of clothes: 60,000 and 10,000 grey images of 28 x 28, 10 classes.

    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST" (2017), arXiv:1708.07747; Zalando SE, MIT licence.
    """

    name = "fashion_mnist"
    licence = "MIT, Zalando SE"
    source = datasets.FashionMNIST
    class_names = tuple(datasets.FashionMNIST.classes)
    elsewhere = {"/usr/share/datasets/fashion-mnist": "dataset-fashion-mnist"}


class Kmnist(_IdxSet):
    """Cursive Japanese characters: 60,000 and 10,000 grey images of 28 x 28, 10 classes.

    T. Clanuwat et al., "Deep Learning for Classical Japanese Literature" (2018), arXiv:1812.01718; CC BY-SA 4.0.
    """

    name = "kmnist"
    licence = "CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/), T. Clanuwat et al."
    source = datasets.KMNIST
    class_names = tuple(datasets.KMNIST.classes)


class Cifar10(_PublishedSet):
    """Small photographs: 50,000 and 10,000 colour images of 32 x 32, 10 classes.

    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009); no licence is stated.
    """

    name = "cifar10"
    licence = "none stated by A. Krizhevsky, who published them"
    native_shape = (3, 32, 32)
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def locate(self) -> Path:
        return locate(self.name, self.root, datasets.CIFAR10.base_folder, list(self._md5()), self._download)

    def read(self, train: bool) -> Arrays:
        folder = self.locate()
        try:
            data = datasets.CIFAR10(folder.parent, train)
        except RuntimeError as error:
            raise corrupt(self.name, folder, self._md5()) from error
        return Arrays(np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)), np.array(data.targets, np.int64))

    @staticmethod
    def _md5() -> dict[str, str]:
        source = datasets.CIFAR10
        return {**dict(source.train_list + source.test_list), source.meta["filename"]: source.meta["md5"]}

    @staticmethod
    def _download(folder: str) -> None:
        datasets.CIFAR10(folder, download=True)


class Svhn(_PublishedSet):
    """House numbers, cropped to digits: 73,257 and 26,032 colour images of 32 x 32, 10 classes.

    Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning" (2011); non-commercial use.
    """

    name = "svhn"
    licence = "for non-commercial use only, Y. Netzer et al."
    native_shape = (3, 32, 32)
    class_names = DIGITS

    def locate(self) -> Path:
        return locate(self.name, self.root, "", list(self._md5()), self._download)

    def read(self, train: bool) -> Arrays:
        folder = self.locate()
        try:
            data = datasets.SVHN(folder, "train" if train else "test")
        except RuntimeError as error:
            raise corrupt(self.name, folder, self._md5()) from error
        return Arrays(np.ascontiguousarray(data.data), data.labels)

    @staticmethod
    def _md5() -> dict[str, str]:
        return {file: md5 for _, file, md5 in (datasets.SVHN.split_list[split] for split in ("train", "test"))}

    @staticmethod
    def _download(folder: str) -> None:
        for split in ("train", "test"):
            datasets.SVHN(folder, split, download=True)
