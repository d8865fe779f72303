"""Data of any kind: one file for each family, and the data module that serves them."""

from vae_lab.data.array.files import ArrayFiles
from vae_lab.data.arrays import Arrays
from vae_lab.data.datamodule import ImageDataModule
from vae_lab.data.huggingface.dataset import HuggingFace
from vae_lab.data.image_set import ImageSet
from vae_lab.data.loader import BatchLoader, EpochSampler
from vae_lab.data.own_loader.module import LoaderDataModule
from vae_lab.data.picture.folder import ImageFolder
from vae_lab.data.protocol import DataModule
from vae_lab.data.sets.celeba import CelebA
from vae_lab.data.sets.mnist import Mnist
from vae_lab.data.sets.sprites import Sprites
from vae_lab.data.sets.torchvision_sets import Cifar10, FashionMnist, Kmnist, Svhn
from vae_lab.data.source import DataSource
from vae_lab.data.split_rows import Split
from vae_lab.data.table.table import Table

__all__ = [
    "ArrayFiles",
    "Arrays",
    "BatchLoader",
    "CelebA",
    "Cifar10",
    "DataModule",
    "DataSource",
    "EpochSampler",
    "FashionMnist",
    "HuggingFace",
    "ImageDataModule",
    "ImageFolder",
    "ImageSet",
    "Kmnist",
    "LoaderDataModule",
    "Mnist",
    "Split",
    "Sprites",
    "Svhn",
    "Table",
]
