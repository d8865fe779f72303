"""Pictures of examples show all of a set, whatever its order, and as people know it, whatever the model sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.data.small_sets import image_set
from vae_lab.data import Arrays, ImageDataModule
from vae_lab.distributions import Bernoulli
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.pictures import interpolations, reconstructions, requested
from vae_lab.pictures.grid import displayable
from vae_lab.pictures.latents import rows_of, varied
from vae_lab.settings import Request
from vae_lab.types import Batch, DataSpec

ORDERS = {
    "sorted": np.arange(1000) * 10 // 1000,
    "in turn": np.arange(1000) % 10,
    "hundreds in turn": np.arange(1000) // 100 % 10,
    "one rare": np.minimum(np.arange(1000), 9)[::-1].copy(),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("what", ["reconstructions", "interpolations"])
def test_a_few_of_a_set_are_of_every_class(order: str, what: Any) -> None:
    labels = torch.from_numpy(ORDERS[order])
    examples = Batch(torch.linspace(0, 1, 1000)[:, None, None, None].expand(1000, 1, 4, 4), labels)
    model = VAE(DataSpec((1, 4, 4), 10, "binary"), 2, MlpArchitecture([4]), Bernoulli)
    ((_, sheet),) = requested(Request(what, num=10), model, lambda num, classes: examples)
    assert set(sheet.arrays["y"].flatten().tolist()) == set(range(10))


def test_unlabelled_examples_are_of_the_whole_set() -> None:
    first = varied(Batch(torch.arange(1000.0))).x[:32]
    assert (torch.histc(first, 4, 0, 1000) >= 4).all()


def test_every_example_is_there_once_with_its_label() -> None:
    labels = torch.arange(100) // 30
    mixed = varied(Batch(torch.arange(100.0), labels, grey=-torch.arange(100.0)))
    assert mixed.y is not None
    assert mixed.grey is not None
    assert torch.equal(mixed.x.sort().values, torch.arange(100.0))
    assert torch.equal(mixed.x // 30, mixed.y.float())
    assert torch.equal(mixed.grey, -mixed.x)


@pytest.mark.parametrize("own_val", [False, True])
@pytest.mark.parametrize("val_size", [0, 30])
@pytest.mark.parametrize("binarization", ["none", "dynamic", "static", "threshold"])
def test_binarized_examples_come_with_the_grey_ones(binarization: Any, val_size: int, own_val: bool) -> None:
    def read_val(self: object) -> Arrays:
        return image_set(num_train=50)().read(train=True)

    made = image_set()
    made.has_val, made.read_val = own_val, read_val  # type: ignore[attr-defined]
    data, plain = (ImageDataModule(made, binarization=b, val_size=val_size) for b in (binarization, "none"))
    for split in ("train", "val", "test"):
        for classes in (None, [3, 4]):
            examples, grey = data.examples(7, split, classes), plain.examples(7, split, classes)  # type: ignore[arg-type]
            if binarization == "none":
                assert examples.grey is None
                continue
            assert examples.grey is not None
            assert torch.equal(examples.grey, grey.x)
            assert set(examples.x.flatten().tolist()) == {0, 1}


def test_the_grey_pictures_are_shown_above_what_the_model_sees() -> None:
    torch.manual_seed(0)
    grey = torch.rand(8, 1, 64, 64)
    batch = Batch(grey.round(), grey=grey)
    model = VAE(DataSpec((1, 64, 64), 0, "binary"), 2, MlpArchitecture([4]), Bernoulli)
    sheet = reconstructions(model, batch)
    assert list(sheet.row_labels) == ["original", "binarized", "reconstruction"]
    assert torch.equal(sheet.tiles, torch.cat((grey, batch.x, sheet.arrays["images"])))
    assert torch.equal(sheet.arrays["originals"], batch.x)
    assert torch.equal(sheet.arrays["grey"], grey)
    without = reconstructions(model, Batch(batch.x))
    assert torch.equal(without.arrays["images"], sheet.arrays["images"])
    assert "grey" not in without.arrays
    sheet = interpolations(model, rows_of(batch, slice(0, 2)), rows_of(batch, slice(4, 6)), num=3)
    tiles = displayable(sheet.tiles).reshape(2, 5, 64, 64)
    assert torch.equal(tiles[:, 0], grey[:2, 0])
    assert torch.equal(tiles[:, 4], grey[4:6, 0])
    assert torch.equal(sheet.arrays["grey"], torch.stack((grey[:2], grey[4:6]), dim=1))
