"""Pictures of other proportions than those asked for: cropped, given a margin or stretched, and never silently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import BARE, Outcome
from vae_lab.data import ArrayFiles, CelebA, ImageDataModule, ImageFolder, Mnist, Sprites
from vae_lab.data.array.memory import ArraysInMemory
from vae_lab.data.framing import Sides, cropped_sides, fitted_picture, fitted_tensor, inner_sides, is_changed
from vae_lab.data.summary import summary
from vae_lab.types import DataSpec

WANTED = Sides(32, 128)
FOUND = [(32, 128), (64, 256), (100, 100), (20, 300), (300, 20), (1, 1), (33, 127)]


@pytest.mark.parametrize("found", FOUND)
@pytest.mark.parametrize("wanted", [WANTED, Sides(28, 28), Sides(7, 3)])
def test_the_kept_part_is_the_largest_of_the_proportions(found: tuple[int, int], wanted: Sides) -> None:
    sides = Sides(*found)
    kept, inner = cropped_sides(sides, wanted), inner_sides(sides, wanted)
    assert kept.height == sides.height or kept.width == sides.width
    assert abs(kept.height * wanted.width - kept.width * wanted.height) <= max(wanted)
    assert inner.height == wanted.height or inner.width == wanted.width
    assert max(inner.height - wanted.height, inner.width - wanted.width) <= 0
    if wanted.height == wanted.width:
        assert kept == Sides(min(sides), min(sides))


def gradient(height: int, width: int) -> np.ndarray:
    return (np.linspace(0, 255, width)[None, :] * np.ones((height, 1))).astype(np.uint8)


@pytest.mark.parametrize("as_tensor", [True, False])
def test_what_each_way_keeps(as_tensor: bool) -> None:
    """A gradient from black to white across a picture of 50 x 100, fitted into 40 x 40."""
    array, wanted = gradient(50, 100), Sides(40, 40)
    fitted = {}
    for fit in ("crop", "pad", "stretch"):
        if as_tensor:
            fitted[fit] = fitted_tensor(torch.from_numpy(array)[None, None], wanted, fit)[0, 0].numpy()
        else:
            fitted[fit] = np.asarray(fitted_picture(Image.fromarray(array), wanted, fit))
        assert fitted[fit].shape == (40, 40)
        fitted[fit] = fitted[fit].astype(float)
    assert (fitted["crop"].min(), fitted["crop"].max()) == pytest.approx((255 * 0.25, 255 * 0.75), abs=4)
    assert (fitted["stretch"].min(), fitted["stretch"].max()) == pytest.approx((0, 255), abs=4)
    assert not fitted["pad"][:10].any()
    assert not fitted["pad"][30:].any()
    assert (fitted["pad"][10:30].min(), fitted["pad"][10:30].max()) == pytest.approx((0, 255), abs=4)


def test_only_proportions_that_differ_are_changed() -> None:
    assert not is_changed(Sides(64, 64), Sides(28, 28))
    assert not is_changed(Sides(218, 178), Sides(109, 89))
    assert not is_changed(Sides(65, 64), Sides(28, 28))
    assert is_changed(Sides(66, 64), Sides(28, 28))


def folder(root: Path, sizes: list[tuple[int, int]]) -> Path:
    root.mkdir()
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(gradient(height, width)).save(root / f"{number:02d}.png")
    return root


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_folder_counts_the_pictures_of_other_proportions(tmp_path: Path, fit: Any) -> None:
    root = folder(tmp_path / "own", [(40, 40)] * 7 + [(40, 80)] * 13)
    for _ in range(2):  # the second time from the cache
        data = ImageDataModule(
            lambda **how: ImageFolder(**how, channels=1, fit=fit), root=str(root), image_size=16, val_size=2
        )
        lines = summary(data).splitlines()
        assert data.spec.shape == (1, 16, 16)
        others = "|".join(other for other in ("crop", "pad", "stretch") if other != fit)
        (line,) = [line for line in lines if line.startswith("pictures")]
        assert line.startswith("pictures     13 of 20 pictures have other proportions than 16 x 16 and are ")
        assert line.endswith(f"; data.images.fit={others} decides otherwise")
    whites = [x[:, 0, 8].max() for x in (data.images.load(train=True).x,)]
    assert whites[0] > 240


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_that_are_enlarged_are_counted(tmp_path: Path, fit: Any) -> None:
    root = folder(tmp_path / "own", [(8, 8)] * 3 + [(8, 40)] * 2 + [(16, 16), (40, 40)] * 5)
    enlarged = 5 if fit != "pad" else 3
    for _ in range(2):  # the second time from the cache
        source = ImageFolder(str(root), image_size=16, channels=1, fit=fit)
        for train in (True, False):
            source.load(train)
        assert source.fit_note().endswith(f"; {enlarged} of 15 pictures are smaller than 16 x 16 and are enlarged")
    data = ImageDataModule(Mnist, image_size=32, val_size=2)
    data.split("test")
    assert data.images.fit_note() == "10000 of 10000 pictures are smaller than 32 x 32 and are enlarged"


def test_further_pages_and_frames_are_named(tmp_path: Path) -> None:
    pages = [Image.new("L", (8, 8), 60 * number) for number in range(1, 4)]
    for number, suffix in enumerate(("tif", "gif", "tif")):
        pages[0].save(tmp_path / f"{number}.{suffix}", save_all=True, append_images=pages[1:])
        pages[0].save(tmp_path / f"plain{number}.{suffix}")
    with pytest.warns(UserWarning, match="3 of 5 files have several frames or pages; the first of each is read"):
        ImageFolder(str(tmp_path), image_size=8, channels=1, test_fraction=0.2, split_seed=2).load(train=True)


def test_a_folder_of_rectangles_is_not_changed(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", [(16, 64)] * 10)
    data = ImageDataModule(lambda **how: ImageFolder(**how, channels=1), root=str(root), image_size=[8, 32], val_size=2)
    assert data.spec.shape == (1, 8, 32)
    assert "pictures" not in summary(data)
    assert data.images.load(train=True).x[0].max() > 250


def test_arrays_and_published_sets_take_both_sides(tmp_path: Path) -> None:
    x = np.stack([gradient(24, 48)] * 20)
    np.save(tmp_path / "train.npy", x)
    data = ImageDataModule(ArrayFiles, root=str(tmp_path), image_size=[12, 12], val_size=2)
    note = "20 of 20 pictures have other proportions than 12 x 12 and are cropped to their centre"
    assert note in summary(data)
    np.save(tmp_path / "train.npy", x[:, None] / np.float32(255))
    data = ImageDataModule(ArrayFiles, root=str(tmp_path), image_size=[12, 24], val_size=2)
    assert (data.spec.shape, data.spec.support) == ((1, 12, 24), "unit")
    assert data.examples(3).x.max() > 0.95
    assert Mnist(image_size=(14, 28), fit="stretch").load(train=False).x.shape[1:] == (1, 14, 28)
    assert CelebA(image_size=(32, 24)).shape == (3, 32, 24)


@pytest.mark.parametrize("size", [0, -1, 2**15, [32], [32, 0], [1, 2, 3]])
def test_sizes_out_of_range_are_refused(size: Any) -> None:
    with pytest.raises(ValueError, match=r"image_size=.*: must lie in 1\.\.16384, be \[height,width\]"):
        Mnist(image_size=size)


def test_other_words_are_refused(train: Callable[..., Outcome]) -> None:
    with pytest.raises(ValueError, match="fit=fill: choose one of crop, pad, stretch"):
        Mnist(fit="fill")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"image_size=\[32, 64\]: sprites are square"):
        Sprites(image_size=(32, 64))
    outcome = train("data.image_size=[32,a]", *BARE)
    assert outcome.error_lines == ["error: data.image_size=[32,a]: must be an integer or a list of integers or null"]
    assert train("data.image_size=[14,20]", "data.images.fit=pad", *BARE).code == 0


def test_masks_are_not_resized_to_grey_values_unawares() -> None:
    def data(image_size: int = 5, **options: Any) -> ImageDataModule:
        source = ArrayFiles(image_size=image_size)
        source.hold(ArraysInMemory((np.random.default_rng(0).integers(0, 2, (30, 8, 8)).astype(bool), None)))
        return ImageDataModule(lambda **_: source, val_size=5, **options)

    with pytest.raises(ValueError, match=r"resizing makes grey values of 0 and 1; data\.binarization=threshold"):
        _ = data().spec
    older = data()
    older.keep_scaling(DataSpec((1, 5, 5), 0, "binary"))
    assert older.spec.support == "binary"
    assert data(image_size=8).spec.support == "binary"
    assert data(support="uint8").spec.support == "uint8"
    thresholded = data(binarization="threshold")
    assert thresholded.spec.support == "binary"
    assert set(thresholded.examples(9).x.unique().tolist()) == {0, 1}
