"""Pictures of more than 8 bits keep their grey levels, whatever part of their range is used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from tests.conftest import BARE, Outcome
from vae_lab.data import ImageDataModule, ImageFolder
from vae_lab.data.summary import summary

RAMP = np.linspace(0, 1, 64, dtype=np.float64).reshape(8, 8)


def deep(root: Path, white: float, dtype: type, suffix: str = "tif", number: int = 6) -> Path:
    """Pictures whose largest value is white, and one of them in which it is a half."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(number):
        values = RAMP * white / (2 if i == 1 else 1)
        values = values.round() if np.issubdtype(dtype, np.integer) else values
        Image.fromarray(values.astype(dtype)).save(root / f"{i}.{suffix}")
    return root


def whole(root: Path, **options: object) -> np.ndarray:
    folder = ImageFolder(str(root), image_size=8, channels=1, **options)  # type: ignore[arg-type]
    return np.concatenate([folder.load(train).x[:, 0] for train in (True, False)])


def levels(images: np.ndarray) -> np.ndarray:
    """The brightest picture, as values from 0 to 1."""
    return images[images.max((1, 2)).argmax()] / 255


@pytest.mark.parametrize(
    ("white", "dtype", "suffix", "used"),
    [
        (4095, np.uint16, "tif", 4095),
        (4000, np.uint16, "png", 4095),
        (1023, np.uint16, "png", 1023),
        (255, np.uint16, "tif", 255),
        (1, np.uint16, "png", 1),
        (4095, np.int32, "tif", 4095),
        (2**20 - 1, np.int32, "tif", 2**20 - 1),
        (255, np.float32, "tif", 255),
        (4000.5, np.float32, "tif", 4095),
    ],
)
def test_the_range_of_the_set_counts_and_is_said(
    tmp_path: Path, white: float, dtype: type, suffix: str, used: int
) -> None:
    deep(tmp_path, white, dtype, suffix)
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(UserWarning, match=rf"no value above {white}, so {used} is taken for white") as caught:
            images = whole(tmp_path)
        assert len(caught) == 1
        expected = RAMP * white / used if white != 1 else RAMP.round()
        np.testing.assert_allclose(levels(images), expected, atol=0.01)


@pytest.mark.parametrize(
    ("white", "dtype"), [(65535, np.uint16), (60000, np.uint16), (1.0, np.float32), (0.8, np.float32)]
)
def test_the_usual_ranges_need_no_word(tmp_path: Path, white: float, dtype: type) -> None:
    images = whole(deep(tmp_path, white, dtype))
    np.testing.assert_allclose(levels(images), RAMP * white / (65535 if dtype == np.uint16 else 1), atol=0.01)


def test_dark_pictures_of_a_set_stay_dark(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="4095"):
        images = whole(deep(tmp_path, 4095, np.uint16))
    assert sorted(int(image.max()) for image in images)[0] == 128


def test_pictures_of_8_bits_among_deep_ones_keep_their_own_white(tmp_path: Path) -> None:
    deep(tmp_path, 4095, np.uint16)
    Image.new("L", (8, 8), 77).save(tmp_path / "z.png")
    with pytest.warns(UserWarning, match="4095"):
        assert 77 in {int(image.min()) for image in whole(tmp_path)}


def test_the_user_has_the_last_word_and_another_cache(tmp_path: Path) -> None:
    deep(tmp_path, 4095, np.uint16)
    for white in (4095, 8191, 65535):
        np.testing.assert_allclose(levels(whole(tmp_path, max_value=white)), RAMP * 4095 / white, atol=0.01)


def test_values_above_white_are_not_clipped(tmp_path: Path) -> None:
    deep(tmp_path, 4095, np.uint16)
    with pytest.raises(ValueError, match=r"value 4095 where 1023 is white; data\.images\.max_value"):
        whole(tmp_path, max_value=1023)


def test_a_test_set_brighter_than_training_is_not_clipped(tmp_path: Path) -> None:
    deep(tmp_path / "train", 1023, np.uint16)
    deep(tmp_path / "test", 4095, np.uint16)
    folder = ImageFolder(str(tmp_path), image_size=8, channels=1)
    with pytest.warns(UserWarning, match="1023 is taken for white"):
        folder.load(train=True)
    with pytest.raises(ValueError, match="value 4095 where 1023 is white"):
        folder.load(train=False)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_too_few_levels_are_refused_unless_said(tmp_path: Path, dtype: type) -> None:
    deep(tmp_path, 15, dtype)
    with pytest.raises(ValueError, match=r"data\.images\.max_value=auto: .* no value above 15; set it"):
        whole(tmp_path)
    np.testing.assert_allclose(levels(whole(tmp_path, max_value=15)), RAMP, atol=0.04)


@pytest.mark.parametrize("white", [3.0, 1000.0])
def test_values_below_0_are_answered_once_and_not_first_by_those_above(tmp_path: Path, white: float) -> None:
    for number in range(4):
        Image.fromarray(np.float32(white * (2 * RAMP - 1))).save(tmp_path / f"{number}.tif")
    for max_value in ("auto", 3):
        with pytest.raises(ValueError, match=rf"value -{white:g} where 0 is black .* data=array takes any numbers"):
            whole(tmp_path, max_value=max_value)


def test_infinite_values_are_named(tmp_path: Path) -> None:
    deep(tmp_path, 1.0, np.float32)
    for name, value in (("low", -np.inf), ("infinite", np.inf), ("nan", np.nan)):
        Image.fromarray(np.full((8, 8), value, np.float32)).save(tmp_path / f"{name}.tif")
    with pytest.raises(ValueError, match=r"files cannot be read as pictures: .*\(values (-inf|inf|nan) to"):
        whole(tmp_path, max_skipped=0.0)


@pytest.mark.parametrize(
    ("odd", "max_value", "why"),
    [
        (np.full((8, 8), -0.01, np.float32), "auto", r"odd.tif: value -0.01 where 0 is black and 1 white; clip"),
        (np.full((8, 8, 3), 90, np.uint8), 100, r"odd.tif: data.images.max_value=100 is for grey pictures, .* RGB"),
    ],
)
def test_sound_pictures_are_not_left_out(tmp_path: Path, odd: np.ndarray, max_value: int, why: str) -> None:
    deep(tmp_path, 1.0, np.float32)
    Image.fromarray(odd).save(tmp_path / "odd.tif")
    with pytest.raises(ValueError, match=why):
        whole(tmp_path, max_value=max_value)


@pytest.mark.parametrize("highest", [1, 15])
def test_masks_and_few_bits_in_8_bit_pictures_are_warned_of(tmp_path: Path, highest: int) -> None:
    for i in range(6):
        Image.fromarray((RAMP * highest).round().astype(np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.warns(UserWarning, match=rf"no pixel is brighter than {highest} of 255.*max_value={highest}"):
        whole(tmp_path)
    assert whole(tmp_path, max_value=highest).max() == 255


def test_a_run_says_the_range(train: Callable[..., Outcome], tmp_path: Path) -> None:
    deep(tmp_path / "own", 4095, np.uint16, number=60)
    words = ("data=image_folder", "data.root=own", "data.image_size=8", "network=mlp", *BARE)
    with pytest.warns(UserWarning, match="4095 is taken for white"):
        outcome = train(*words)
    assert outcome.code == 0, outcome.err


def test_masks_of_zeros_and_ones_beside_others_are_named(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 1
    for name in ("a", "b", "c", "d"):
        Image.fromarray(mask * 255).convert("1").save(tmp_path / f"{name}.png")
    Image.fromarray(mask).save(tmp_path / "e.png")
    Image.fromarray(mask * 0).save(tmp_path / "f.png")  # nothing in it
    with pytest.warns(UserWarning, match="1 of 5 pictures hold the values 0 and 1 of 255 alone") as warned:
        assert len(ImageFolder(str(tmp_path), image_size=8, channels=1, test_fraction=0.01).load(True)) == 5
    (text,) = [str(warning.message) for warning in warned]
    assert "e.png" in text
    assert "a.png" not in text
    remedied = ImageFolder(str(tmp_path), image_size=8, channels=1, test_fraction=0.01, max_value=1).load(True)
    assert sorted(int(image.max()) for image in remedied.x) == [0, 255, 255, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_start_says_what_is_lost_or_threefold(tmp_path: Path, channels: Literal[1, 3], dtype: type) -> None:
    deep(tmp_path, np.iinfo(dtype).max, dtype, "png", 20)
    images = partial(ImageFolder, channels=channels)
    for _ in range(2):  # decoded, and from the cache
        said = summary(ImageDataModule(images, str(tmp_path), batch_size=2, image_size=8, val_size=2))
        assert ("values       8 bits, to which deeper pictures are rounded" in said) is (dtype is np.uint16)
        assert ("every picture is grey; data.images.channels=1 reads one" in said) is (channels == 3)
    Image.fromarray(np.full((8, 8, 3), (9, 200, 9), np.uint8)).save(tmp_path / "green.png")
    assert "is grey" not in summary(ImageDataModule(images, str(tmp_path), batch_size=2, image_size=8, val_size=2))
