"""The white that a training set shows is part of the run: other pictures are read by it, or refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import FAST, Outcome
from vae_lab import evaluate
from vae_lab.data import ArrayFiles, ImageDataModule, ImageFolder
from vae_lab.data.picture import depth as picture_depth
from vae_lab.runs.loading import find_run

WORDS = ("data=image_folder", "data.root=own", "data.image_size=8", "data.images.channels=1", "network=mlp", *FAST)
QUICK = ("trainer=cpu", "trainer.enable_progress_bar=false", "elbo_samples=1", "num_samples=2", "batch_size=10")


def deep(root: Path, white: float, dtype: type = np.uint16, number: int = 60) -> Path:
    """Grey pictures; the first has one pixel of the largest value, the others of half of it."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(number):
        values = rng.uniform(0, 0.2 * white, (8, 8))
        values[0, 0] = white if i == 0 else white / 2
        Image.fromarray(values.astype(dtype)).save(root / f"{i}.tif")
    return root


@pytest.fixture
def run(train: Callable[..., Outcome], tmp_path: Path) -> Path:
    deep(tmp_path / "own", 4000)
    with pytest.warns(UserWarning, match="4095 is taken for white"):
        assert train(*WORDS, "logger=none", "hydra.run.dir=run").code == 0
    return tmp_path / "run"


def test_a_run_reads_other_pictures_by_its_own_white(
    run: Path, command: Callable[..., Outcome], tmp_path: Path
) -> None:
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["images"]["max_value"] == {"integers": 4095}
    darker, brighter = deep(tmp_path / "darker", 1000), deep(tmp_path / "brighter", 60000)
    images = find_run(run).data(root=str(darker)).images
    assert max(images.load(train=train).x.max() for train in (True, False)) == round(1000 / 4095 * 255)

    evaluated = command(evaluate.main, *QUICK, "run=run", f"data_root={darker}")
    assert evaluated.code == 0, evaluated.err
    assert f"data         image_folder in {darker}: 1 x 8 x 8, no labels\nsplits       test 60 (" in evaluated.out
    refused = command(evaluate.main, *QUICK, "run=run", f"data_root={brighter}")
    assert refused.code == 1
    assert len(refused.error_lines) == 1
    assert "where 4095 is white; data.images.max_value" in refused.error_lines[0]
    assert len(list(run.glob("evaluation*.json"))) == 1


def test_a_run_goes_on_with_its_white(run: Path, train: Callable[..., Outcome], tmp_path: Path) -> None:
    for words in ([], ["data.images.max_value=auto"]):
        resumed = train("resume=run", "trainer.max_epochs=2", *words)
        assert resumed.code == 0, resumed.err
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["data"]["images"]["max_value"] == {"integers": 4095}
    refused = train("resume=run", "trainer.max_epochs=3", "data.images.max_value=8191")
    assert "run keeps {'integers': 4095}, because the best score so far is of other data" in refused.error_lines[0]
    Image.fromarray(np.full((8, 8), 8000, np.uint16)).save(tmp_path / "own" / "new.tif")
    refused = train("resume=run", "trainer.max_epochs=3")
    assert refused.code == 1
    assert "value 8000 where 4095 is white" in refused.error_lines[0]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_floats_beside_integers_of_12_bits_keep_their_own_white(tmp_path: Path) -> None:
    deep(tmp_path / "train", 4000)
    deep(tmp_path / "test", 1.0, np.float32)
    folder = ImageFolder(str(tmp_path), image_size=8, channels=1)
    assert folder.load(train=False).x.max() == 255
    assert folder.load(train=True).x.max() == round(4000 / 4095 * 255)
    as_older_runs = ImageFolder(str(tmp_path), image_size=8, channels=1, max_value=4095)
    assert as_older_runs.load(train=False).x.max() == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        ({np.uint16: 4000}, {"integers": 4095}),
        ({np.uint16: 60000}, {"integers": 65535}),
        ({np.uint16: 1}, {"integers": 1}),
        ({np.uint16: 0}, "auto"),
        ({np.uint16: 200}, {"integers": 255}),
        ({np.float32: 0.7}, {"floats": 1.0}),
        ({np.float32: 300.0}, {"floats": 511.0}),
        ({np.uint16: 4000, np.float32: 1.0}, {"integers": 4095, "floats": 1.0}),
        ({np.uint8: 250}, "auto"),
        ({np.uint8: 250, np.uint16: 1}, {"integers": 1}),
    ],
)
def test_what_was_found_reads_the_set_as_it_was(tmp_path: Path, kinds: dict[type, float], found: object) -> None:
    for dtype, white in kinds.items():
        deep(tmp_path / np.dtype(dtype).name, white, dtype, number=6)
    folder = partial(ImageFolder, str(tmp_path), image_size=8, channels=1, layout="classes", test_fraction=0.2)
    auto = folder()
    arrays = [auto.load(train).x for train in (True, False)]
    assert auto.found() == {"max_value": found}
    again = folder(**yaml.safe_load(yaml.safe_dump(auto.found())))
    for train, expected in zip((True, False), arrays, strict=True):
        np.testing.assert_array_equal(again.load(train).x, expected)


def test_the_pictures_are_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep(tmp_path, 60000, number=6)
    folder = partial(ImageFolder, str(tmp_path), image_size=8, channels=1)
    folder().prepare()
    (remembered,) = (tmp_path / ".vae_lab").glob("depth-*.json")
    with monkeypatch.context() as patch:
        patch.setattr(picture_depth, "_largest_values", lambda paths: pytest.fail("opened again"))
        assert folder().found() == {"max_value": {"integers": 65535}}
    for damaged in (
        "",
        "[1, 2]",
        "[NaN, null, null]",
        "[Infinity, null, null]",
        '{"a": 1}',
        "[-1, null, null]",
        "[true, null, null]",
    ):
        remembered.write_text(damaged)
        assert folder().found() == {"max_value": {"integers": 65535}}


@pytest.mark.parametrize(
    "bad", [0, 2**32, {"integers": 0}, {"colours": 255}, {"floats": float("nan")}, {"integers": 1, "x": 3}]
)
def test_other_whites_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="max_value="):
        ImageFolder(max_value=bad)  # type: ignore[arg-type]


# --- colours of 16 bits


def png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, (H, W, 2 to 4), which Pillow cannot write."""
    height, width, channels = values.shape
    colour_type = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(values: np.ndarray) -> bytes:
    """A TIFF of 16-bit RGB, (H, W, 3), which Pillow cannot write."""
    height, width, _ = values.shape
    pixels = values.astype("<u2").tobytes()
    short, long = 3, 4
    tags = [(256, long, 1, width), (257, long, 1, height), (258, short, 3, 8), (259, short, 1, 1), (262, short, 1, 2)]
    tags += [(273, long, 1, 14), (277, short, 1, 3), (278, long, 1, height), (279, long, 1, len(pixels))]
    tags += [(284, short, 1, 1)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    head = b"II*\0" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<3H", 16, 16, 16)
    return head + pixels + directory


def colours(root: Path, white: int, channels: int = 3, suffix: str = "png") -> Path:
    for i in range(6):
        values = np.linspace(0, white, 64 * channels).reshape(8, 8, channels).round().astype(np.uint16)
        if channels != 3:
            values[..., -1] = 65535  # opaque
        (root / f"{i}.{suffix}").write_bytes((tiff if suffix == "tif" else png)(values))
    return root


@pytest.mark.parametrize(("channels", "suffix"), [(3, "png"), (4, "png"), (2, "png"), (3, "tif")])
@pytest.mark.parametrize("white", [255, 4095, 16383])
def test_colours_of_fewer_than_16_bits_are_refused(tmp_path: Path, channels: int, suffix: str, white: int) -> None:
    folder = ImageFolder(str(colours(tmp_path, white, channels, suffix)), image_size=8)
    with pytest.raises(ValueError, match=r"data\.images\.max_value=auto: colours of 16 bits .* convert .* or set it"):
        folder.load(train=True)


@pytest.mark.filterwarnings("ignore:image_folder. (every|no) pixel")
@pytest.mark.parametrize(("channels", "suffix"), [(3, "png"), (4, "png"), (3, "tif")])
def test_colours_that_use_16_bits_are_read(tmp_path: Path, channels: int, suffix: str) -> None:
    folder = ImageFolder(str(colours(tmp_path, 65535, channels, suffix)), image_size=8)
    assert folder.load(train=True).x.max() >= 254
    assert folder.found() == {"max_value": "auto"}
    colours(tmp_path, 4095, channels, suffix)
    dark = ImageFolder(str(tmp_path), image_size=8, max_value=65535)
    assert dark.load(train=True).x.max() <= 4095 / 256


# --- black sets


def test_a_black_set_says_so(tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", np.zeros((40, 4, 4), np.uint8))
    with pytest.warns(UserWarning, match=r"train_images\.npy: every pixel is black"):
        ImageDataModule(ArrayFiles, str(tmp_path), val_size=0.1).setup("fit")
    assert ArrayFiles(str(tmp_path)).support != "binary"
    np.save(tmp_path / "train_images.npy", np.zeros((40, 4), np.uint8))
    with pytest.warns(UserWarning, match=r"train_images\.npy: every value is 0"):
        ArrayFiles(str(tmp_path)).load(train=True)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(6):
        Image.new("RGB", (8, 8)).save(pictures / f"{i}.png")
    with pytest.warns(UserWarning, match="image_folder: every pixel is black"):
        ImageFolder(str(pictures), image_size=8).load(train=True)
