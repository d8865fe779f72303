"""Folders of pictures as the world has them: a file is shown as it should be, or left out by name; none does harm."""

from __future__ import annotations

import io
import os
import socket
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import FAST, Outcome
from vae_lab.data import ImageFolder
from vae_lab.data.picture.decoding import Decoder


def folder_of(root: Path, hostile: Callable[[Path], object] | None = None, sound: int = 3) -> ImageFolder:
    """Sound pictures under train/ and test/, and one hostile file among those of train/."""
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        for i in range(sound):
            Image.new("L", (16, 12), 20 * i).save(root / split / f"{i}.png")
    if hostile:
        hostile(root / "train")
    return ImageFolder(str(root), image_size=8)


# Decoded rightly

UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # from what is stored, as the Exif standard numbers it
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_every_orientation_is_turned_upright(tmp_path: Path, suffix: str) -> None:
    stored = np.array([[0, 80], [160, 240]], np.uint8).repeat(16, 0).repeat(16, 1)
    for orientation, turned in UPRIGHT.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif)
        seen = Decoder(32, 1).decode(tmp_path / f"a.{suffix}").picture[0]
        np.testing.assert_allclose(seen[4::8, 4::8].astype(int), turned(stored)[4::8, 4::8], atol=6)


def deep(path: Path, byte_order: str = "<") -> None:
    Image.fromarray(np.full((12, 16), 200 * 256 + 7, f"{byte_order}u2")).save(path)


def deep_transparent(path: Path) -> None:
    image = Image.fromarray(np.array([[0, 200 * 256]], np.uint16).repeat(8, 0).repeat(4, 1))
    image.save(path, transparency=200 * 256)


def palette_of_three(path: Path) -> None:
    image = Image.new("P", (16, 12), 1)
    image.putpalette([9, 9, 9, 0, 0, 0, 8, 8, 8])
    image.save(path, transparency=bytes([255, 55, 0]))  # black at 55 of 255, over white: 200


def animation(path: Path) -> None:
    frames = [Image.new("RGB", (16, 12), (value,) * 3) for value in (200, 120, 10)]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)


def damaged_exif(path: Path) -> None:
    Image.new("L", (16, 12), 200).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40), quality=100)


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (deep, "a.tif", 200),
        (lambda path: deep(path, ">"), "a.tif", 200),
        (deep, "a.pgm", 200),
        (deep_transparent, "a.png", (0 + 255) / 2),
        (palette_of_three, "a.png", 200),
        (animation, "a.png", 200),
        (animation, "a.webp", 200),
        (damaged_exif, "a.jpg", 200),
    ],
)
def test_a_picture_becomes_what_it_shows(
    tmp_path: Path, make: Callable[[Path], None], name: str, expected: float
) -> None:
    folder = folder_of(tmp_path, lambda folder: make(folder / name), sound=1)
    with pytest.warns(match="1 of 2 files have several frames") if make is animation else nullcontext():
        images = folder.load(train=True).x
    assert len(images) == 2
    assert images[1].mean() == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize("name", ["picture.gif", "picture", "picture.txt", "picture.eps", "-r.png", "a b\u732b.png"])
def test_the_bytes_decide_and_not_the_name(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, lambda train: Image.new("L", (16, 12), 255).save(train / name, "PNG"))
    assert folder.load(train=True).x.max() == 255


@pytest.mark.parametrize("name", ["two\nlines.png", "\x1b[2J.png", "\udcff.png"])
def test_odd_names_are_read_and_stay_in_their_line(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path, lambda train: Image.new("L", (16, 12), 255).save(train / f"sound-{name}", "PNG"))
    (tmp_path / "train" / f"broken-{name}").touch()
    with pytest.warns(UserWarning, match=r"1 of 5 files .*broken-") as caught:
        assert folder.load(train=True).x.max() == 255
    assert str(caught[0].message).isprintable()


# Left out by name


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(path: Path) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b""))


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # an absolute path may be too long for one


def truncated(kind: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        buffer = io.BytesIO()
        Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, kind)
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])

    return make


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "zero-bytes.png": Path.touch,
    "half.gif": truncated("GIF"),
    "half.tif": truncated("TIFF"),
    "half.bmp": truncated("BMP"),
    "half.webp": truncated("WEBP"),
    "program.png": lambda path: path.write_bytes(b"\x7fELF" + bytes(500)),
    "page.jpg": lambda path: path.write_text("<html>404 Not Found</html>"),
    "drawing.png": lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "float.tif": lambda path: Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(path),
    "infinite.tif": lambda path: Image.fromarray(np.full((8, 8), np.inf, np.float32)).save(path),
    "bomb.png": bomb,
    "pipe.png": os.mkfifo,
    "socket.png": bound_socket,
    "broken-link.png": lambda path: path.symlink_to("nowhere.png"),
    "link-to-itself.png": lambda path: path.symlink_to(path.name),
    "device.png": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_picture_is_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(tmp_path / "data", lambda train: UNREADABLE[name](train / name))
    with pytest.warns(UserWarning, match=rf"1 of 4 files cannot be read as pictures: \S+/{name} \(") as caught:
        assert len(folder.load(train=True)) == 3
    assert len(caught) == 1


def test_a_folder_with_a_picture_s_name_is_a_folder(tmp_path: Path) -> None:
    def inner(train: Path) -> None:
        (train / "a" / "x.png").mkdir(parents=True)
        Image.new("L", (8, 8), 255).save(train / "a" / "x.png" / "y.png")

    folder = folder_of(tmp_path, inner, sound=1)
    assert folder.class_names == ("a",)
    assert len(folder.load(train=True)) == 1


@pytest.mark.parametrize("name", ["page.eps", "page.png"])
def test_no_picture_is_run_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Pillow would have Ghostscript run the PostScript, which is a whole programming language."""
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path / 'executed'}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for once
    page = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
    folder = folder_of(tmp_path / "data", lambda train: (train / name).write_text(page))
    with pytest.warns(UserWarning, match=f"1 of 4 files .*{name}"):
        folder.load(train=True)
    assert not (tmp_path / "executed").exists()


def test_nothing_but_unreadable_files_is_an_error_whatever_is_allowed(tmp_path: Path) -> None:
    folder_of(tmp_path)
    for path in (tmp_path / "train").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="3 of 3 files cannot be read"):
        ImageFolder(str(tmp_path), image_size=8, max_skipped=1.0).load(train=True)


# The whole command

WORDS = ("data=image_folder", "data.root=pictures", "data.image_size=8", "network=mlp", *FAST)


def hostile_folder(root: Path, sound: int) -> None:
    folder_of(root, sound=sound)
    for name, make in UNREADABLE.items():
        make(root / "train" / name)


def test_a_run_trains_on_what_it_can_read_and_names_the_rest(train: Callable[..., Outcome], tmp_path: Path) -> None:
    hostile_folder(tmp_path / "pictures", sound=60)
    with pytest.warns(UserWarning, match="16 of 76 files") as caught:
        outcome = train(*WORDS)
    assert outcome.code == 0, outcome.err
    assert len([w for w in caught if "cannot be read" in str(w.message)]) == 1
    assert len(list(tmp_path.glob("outputs/**/metrics.json"))) == 1


def test_too_many_unreadable_files_end_a_run_in_one_line(train: Callable[..., Outcome], tmp_path: Path) -> None:
    hostile_folder(tmp_path / "pictures", sound=12)
    outcome = train(*WORDS)
    assert outcome.code == 1
    (line,) = outcome.error_lines
    bomb = tmp_path / "pictures" / "train" / "bomb.png"
    assert line.startswith(f"error: image_folder: 16 of 28 files cannot be read as pictures: {bomb} (")
    assert line.endswith("; data.images.max_skipped=0.5 allows no more")
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.glob("pictures/.vae_lab/*"))
    assert not list(tmp_path.glob("outputs/*/*"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert train(*WORDS, "data.images.max_skipped=0.6").code == 0
