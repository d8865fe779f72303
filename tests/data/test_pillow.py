"""Pictures of Pillow that a program holds are read as those of a folder: in lists, in a Dataset, by a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from vae_lab.data import ArrayFiles
from vae_lab.data.array.memory import ArraysInMemory
from vae_lab.data.own_loader.module import LoaderDataModule
from vae_lab.data.picture.decoding import Decoder
from vae_lab.data.picture.files import pixels_of
from vae_lab.runs.own_units import Pixels, examples_as_read

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 4), np.uint8)
SUFFIX = {"CMYK": "tif", "rotated": "png", "animated": "gif"}
MODES = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "rotated", "animated"]


def saved(folder: Path, mode: str) -> Path:
    path = folder / f"picture.{SUFFIX.get(mode, 'png')}"
    colours = Image.fromarray(PIXELS, "RGBA")
    if mode == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        colours.convert("RGB").save(path, exif=exif)
    elif mode == "animated":
        colours.convert("P").save(path, save_all=True, append_images=[colours.rotate(180).convert("P")])
    elif mode == "PA":  # a palette of which one colour is transparent
        colours.convert("RGB").convert("P").save(path, transparency=3)
    else:
        (colours if mode in ("LA", "RGBA") else colours.convert("RGB")).convert(mode).save(path)
    return path


class Pictures(Dataset[Any]):
    def __init__(self, *pictures: Any) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> Any:
        return self.pictures[row % len(self.pictures)], row % 3


def module_of(*pictures: Any) -> LoaderDataModule:
    module = LoaderDataModule(batch_size=4)
    module.hold_dataset(Pictures(*pictures))
    return module


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:Palette images:UserWarning")
def test_pictures_in_memory_are_those_of_a_folder(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path, mode)
    channels = 1 if mode in ("1", "L", "LA") else 3
    sides = (6, 8) if mode == "rotated" else (8, 6)
    expected = Decoder(sides, channels).decode(path).picture
    with Image.open(path) as picture:
        source = ArrayFiles()
        source.hold(ArraysInMemory(([picture] * 12, [0, 1, 2] * 4)))
        for x in (source.load(train=True).x, source.load(train=False).x):
            assert np.array_equal(x, np.broadcast_to(expected, x.shape))
        module = module_of(picture)
        assert module.spec.shape == (channels, *sides)
        for batch in (module.examples(3, "train"), module.examples(1, "val")):
            assert torch.equal(batch.x, torch.from_numpy(expected / np.float32(255)).expand(batch.x.shape))
            read = examples_as_read([picture, picture], module.spec, Pixels())
        assert torch.equal(read, module.examples(2, "train").x)
        assert "fingerprint" in module.description()
        assert not module.resume_note()


def test_pictures_of_16_bits_are_numbers() -> None:
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 16)
    assert np.array_equal(pixels_of(deep), PIXELS[..., 0].astype(np.uint16) * 16)
    assert module_of(deep).spec.support == "real"


def test_a_loader_of_pictures_is_answered_with_the_transform() -> None:
    for workers in (0, 1):
        loader = DataLoader(Pictures(Image.fromarray(PIXELS)), 4, num_workers=workers)
        module = LoaderDataModule()
        module.hold({"train": loader, "val": loader})
        with pytest.raises(
            ValueError, match=r"^train: the loader gives pictures of Pillow; .*PILToTensor\(\)"
        ) as raised:
            _ = module.spec
        assert "\n" not in str(raised.value)


def test_pictures_of_different_sizes_are_answered_with_the_transform() -> None:
    colours = Image.fromarray(PIXELS)
    for other in (colours.resize((8, 8)), colours.convert("L")):
        with pytest.raises(ValueError, match=r"examples of different shapes; .*Resize\(\(64, 64\)\)") as raised:
            _ = module_of(colours, other).spec
        assert "\n" not in str(raised.value)


def test_a_mask_of_a_data_set_is_not_dropped() -> None:
    hidden = np.ma.array(PIXELS[..., 0] / 255, mask=PIXELS[..., 0] > 200)
    with pytest.raises(
        ValueError, match=r"train: a masked array, which loaders cannot read; give arrays, with data\.missing=mask"
    ):
        _ = module_of(hidden).spec
    assert module_of(np.ma.array(PIXELS[..., 0])).spec.support == "uint8"
