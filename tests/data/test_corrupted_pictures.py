"""Whatever bytes a picture file holds, it is decoded or left out by name."""

from __future__ import annotations

import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.damage import LONG, QUICK, damage
from vae_lab.data import ImageFolder

pytestmark = pytest.mark.usefixtures("little_memory", "fast_disk")


def noise(mode: str) -> Image.Image:
    size, bands = (20, 16), len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (bands, size[1], size[0]), np.uint8)
    return Image.merge(mode, [Image.fromarray(band) for band in values]) if bands > 1 else Image.fromarray(values[0])


def picture(mode: str, kind: str, frames: int = 1, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = noise(mode)
    many = {"save_all": True, "append_images": [image.rotate(90)] * (frames - 1)} if frames > 1 else {}
    image.save(buffer, kind, **many, **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def pictures() -> dict[str, bytes]:
    deep = io.BytesIO()
    Image.fromarray(np.arange(320, dtype=np.uint16).reshape(16, 20) * 200).save(deep, "PNG")
    return {
        "a.png": picture("RGBA", "PNG"),
        "animated.png": picture("RGB", "PNG", frames=3),
        "deep.png": deep.getvalue(),
        "a.jpg": picture("RGB", "JPEG", exif=turned()),
        "ink.jpg": picture("CMYK", "JPEG", progressive=True),
        "a.gif": picture("L", "GIF", frames=3),
        "a.tif": picture("RGB", "TIFF"),
        "packed.tif": picture("CMYK", "TIFF", compression="tiff_lzw"),
        "a.bmp": picture("RGB", "BMP"),
        "a.webp": picture("RGBA", "WEBP", frames=2),
        "lossless.webp": picture("RGB", "WEBP", lossless=True, exif=turned()),
    }


PICTURES = pictures()


def check_picture(root: Path, name: str, content: bytes) -> bool:
    """True if it is decoded beside a sound one; otherwise one warning names it."""
    shutil.rmtree(root / ".vae_lab", ignore_errors=True)
    (root / "train" / name).write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = ImageFolder(str(root), image_size=8).load(train=True).x
    caught = [each for each in caught if "several frames" not in str(each.message)]
    assert images.dtype == np.uint8
    assert images.shape == (2 - len(caught), 3, 8, 8)
    if caught:
        text = str(caught[0].message)
        assert text.startswith(f"image_folder: 1 of 2 files cannot be read as pictures: {root / 'train' / name} (")
        assert "\n" not in text
    return not caught


def check_pictures(root: Path, name: str, effort: settings) -> None:
    for split in ("train", "test"):
        (root / split).mkdir()
        (root / split / "0.bmp").write_bytes(PICTURES["a.bmp"])
    assert check_picture(root, name, PICTURES[name])

    @effort
    @given(st.data())
    def check(data: st.DataObject) -> None:
        check_picture(root, name, damage(data, PICTURES[name]))

    check()


@pytest.mark.parametrize("name", PICTURES)
def test_a_damaged_picture_is_decoded_or_skipped_by_name(tmp_path: Path, name: str) -> None:
    check_pictures(tmp_path, name, QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_damaged_in_many_ways_is_decoded_or_skipped_by_name(tmp_path: Path, name: str) -> None:
    check_pictures(tmp_path, name, LONG)
