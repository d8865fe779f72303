"""The user's own pictures and arrays: every kind is converted rightly, what cannot be read is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae_lab.data import ArrayFiles, HuggingFace, ImageDataModule, ImageFolder, Table
from vae_lab.data.picture.decoding import Decoder
from vae_lab.runs.data import is_other_data
from vae_lab.runs.loading import SavedRun


def save(path: Path, grey: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (grey,) * 3).save(path)
    return path


def greys(images: np.ndarray) -> list[int]:
    return sorted(int(value) for value in images.mean((1, 2, 3)).round())


# Layouts


def test_train_and_test_folders_with_classes(tmp_path: Path) -> None:
    for split, offset in (("train", 200), ("test", 100)):
        for label, name in enumerate(("ant", "bee")):
            for i in range(3):
                save(tmp_path / split / name / f"{i}.png", offset + 10 * label + i)
    folder = ImageFolder(str(tmp_path), image_size=8)
    assert (folder.class_names, folder.num_classes, folder.shape) == (("ant", "bee"), 2, (3, 8, 8))
    for train, offset in ((True, 200), (False, 100)):
        arrays = folder.load(train)
        assert arrays.y is not None
        assert greys(arrays.x) == [offset + g for g in (0, 1, 2, 10, 11, 12)]
        np.testing.assert_array_equal(arrays.x[:, 0, 0, 0] % 100 // 10, arrays.y)


@pytest.mark.parametrize("below", ["", "train"])
def test_class_folders_alone_are_split_by_a_seed(tmp_path: Path, below: str) -> None:
    for i in range(20):
        save(tmp_path / below / "ab"[i % 2] / f"{i}.png", 5 * i)
    sets = [ImageFolder(str(tmp_path), image_size=4, test_fraction=0.25, split_seed=seed) for seed in (0, 0, 1)]
    tests = [greys(s.load(train=False).x) for s in sets]
    assert tests[0] == tests[1] != tests[2]
    assert len(tests[0]) == 5
    assert sorted(tests[0] + greys(sets[0].load(train=True).x)) == [5 * i for i in range(20)]
    labels = sets[0].load(train=True).y
    assert labels is not None
    np.testing.assert_array_equal(sets[0].load(train=True).x[:, 0, 0, 0] // 5 % 2, labels)


def test_flat_pictures_have_no_labels(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / f"{i}.jpg", 50 * i)
    folder = ImageFolder(str(tmp_path), channels=1)
    assert folder.shape == (1, 64, 64)
    assert folder.num_classes == 0
    assert folder.load(train=True).y is None
    assert len(folder.load(train=True)) == 3
    # The cache in the folder is neither a class nor a picture.
    assert ImageFolder(str(tmp_path), channels=1).num_classes == 0


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"data\.root=.*nowhere: no such folder"):
        _ = ImageFolder(str(tmp_path / "nowhere")).num_classes
    with pytest.raises(FileNotFoundError, match="no pictures"):
        ImageFolder(str(tmp_path)).load(train=True)
    save(tmp_path / "train" / "ant" / "0.png")
    save(tmp_path / "test" / "bee" / "0.png")
    with pytest.raises(ValueError, match="class bee has no folder"):
        _ = ImageFolder(str(tmp_path)).num_classes


def test_one_picture_is_too_few_to_split(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="at least 2"):
        ImageFolder(str(tmp_path)).load(train=True)


@pytest.mark.parametrize("archive", [True, False])
def test_labels_without_their_examples_are_named(tmp_path: Path, archive: bool) -> None:
    arrays = {"x_train": np.eye(20, 3), "y_train": np.arange(20) % 2, "y_test": np.arange(4) % 2}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "all.npz", **arrays)
    source = ArrayFiles(str(tmp_path / "all.npz") if archive else str(tmp_path))
    (line,) = source.passed_over()
    assert f"y_test{'' if archive else '.npy'} without its examples" in line


@pytest.mark.parametrize("kind", ["pictures", "arrays", "table", "huggingface"])
def test_data_without_a_test_set_that_are_no_run_s_own_are_tested_as_a_whole(tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    sources = {"pictures": ImageFolder, "arrays": ArrayFiles, "table": Table, "huggingface": HuggingFace}
    rows = np.random.default_rng(0).normal(size=(20, 2))
    for each in sources:
        (tmp_path / each).mkdir()
    for number in range(20):
        Image.new("L", (4, 4), 10 * number).save(tmp_path / "pictures" / f"{number}.png")
    np.save(tmp_path / "arrays" / "train.npy", rows)
    np.savetxt(tmp_path / "table" / "train.csv", rows, delimiter=",", header="a,b", comments="")
    datasets.Dataset.from_dict({"a": rows[:, 0]}).to_parquet(tmp_path / "huggingface" / "train.parquet")
    data = ImageDataModule(sources[kind], root=str(tmp_path / kind), val_size=4)
    data.prepare_data()
    tested = data.fingerprint("test")
    (tmp_path / "metrics.json").write_text(json.dumps({"fingerprints": {"test": tested}}))
    run = SavedRun(tmp_path, tmp_path / "best.ckpt", {"data": {}})
    assert not is_other_data(run, data)
    assert data.size("test") == 2
    (tmp_path / "metrics.json").write_text(json.dumps({"fingerprints": {"test": f"not {tested}"}}))
    assert is_other_data(run, data)
    data.test_on_all()
    assert (data.size("test"), data.origin("test"), data.size("train")) == (20, "all examples", 14)


def test_a_single_example_is_tested_and_not_trained_on(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", np.ones((1, 3)))
    run = SavedRun(tmp_path, tmp_path / "best.ckpt", {"data": {}})
    (tmp_path / "metrics.json").write_text(json.dumps({"fingerprints": {"test": "other"}}))
    data = ImageDataModule(ArrayFiles, root=str(tmp_path), standardize=False)
    assert is_other_data(run, data)
    assert data.size("test") == 1
    with pytest.raises(ValueError, match="1 example: at least 2 are needed for a training set and a test set"):
        data.size("train")


@pytest.mark.parametrize(
    "bad", [{"channels": 2}, {"test_fraction": 0.0}, {"test_fraction": 1.0}, {"max_skipped": -0.1}]
)
def test_bad_values_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        ImageFolder(**bad)  # type: ignore[arg-type]


# Unreadable files


def damaged_folder(root: Path, sound: int) -> None:
    whole = save(root / "train" / "a" / "0.png", 50).read_bytes()
    for i in range(1, sound):
        save(root / "train" / "a" / f"{i}.png", 50)
    Image.effect_noise((64, 64), 50).save(root / "train" / "a" / "cut.jpg")
    cut = root / "train" / "a" / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    (root / "train" / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "train" / "a" / "empty.png").touch()
    (root / "train" / "a" / "notes.txt").write_text("not a picture")
    save(root / "test" / "a" / "0.png")


BROKEN = ("cut.jpg", "cut.png", "empty.png", "notes.txt")


def test_unreadable_files_are_left_out_and_named_in_one_warning(tmp_path: Path) -> None:
    damaged_folder(tmp_path, sound=6)
    folder = ImageFolder(str(tmp_path), image_size=8)
    with pytest.warns(UserWarning, match="4 of 10 files") as caught:
        arrays = folder.load(train=True)
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in BROKEN)
    assert len(arrays) == 6
    assert len(folder.load(train=True)) == 6


def test_labels_stay_with_the_pictures_that_are_kept(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, name in enumerate("ab"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").touch()
            for i in range(1 + 2 * label):
                save(tmp_path / split / name / f"{1 + i}.png", 100 * label)
    with pytest.warns(UserWarning, match=r"2 of 6 files"):
        arrays = ImageFolder(str(tmp_path), image_size=4).load(train=True)
    assert arrays.y is not None
    assert arrays.y.tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(arrays.x[:, 0, 0, 0], 100 * arrays.y)


def test_too_many_unreadable_files_are_an_error(tmp_path: Path) -> None:
    damaged_folder(tmp_path, sound=3)
    with pytest.raises(ValueError, match=r"4 of 7 files.*cut\.jpg"):
        ImageFolder(str(tmp_path)).load(train=True)


@pytest.mark.parametrize("over", [1.5, 3])  # Pillow warns of the one and refuses the other
def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: float) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png")
    Image.new("L", (100, round(100 * over))).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 * 100)
    with pytest.warns(UserWarning, match=r"1 of .*bomb\.png") as caught:
        ImageFolder(str(tmp_path), image_size=8, test_fraction=0.5).prepare()
    assert len(caught) == 1


# Kinds of pictures


def rotated(path: Path) -> None:
    """Left half black as stored, to be turned by 90 degrees clockwise: top half black as seen."""
    image = Image.new("L", (32, 32), 255)
    image.paste(0, (0, 0, 16, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((32, 32), 200 * 256 + 7, np.uint16)).save(path)


def half_transparent(path: Path) -> None:
    Image.new("LA", (32, 32), (0, 55)).save(path)  # over white: 200


def palette_transparent(path: Path) -> None:
    image = Image.new("P", (32, 32), 0)
    image.putpalette([10, 20, 30])
    image.save(path, transparency=0)  # over white: white


def ink(path: Path) -> None:
    Image.new("CMYK", (32, 32), (255, 255, 0, 0)).save(path)  # cyan and magenta: blue


def animation(path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), (value,) * 3) for value in (60, 120)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def one_bit(path: Path) -> None:
    Image.new("1", (32, 32), 1).save(path)


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (sixteen_bits, "a.png", (200, 200, 200)),
        (half_transparent, "a.png", (200, 200, 200)),
        (palette_transparent, "a.gif", (255, 255, 255)),
        (ink, "a.tif", (0, 0, 255)),
        (ink, "a.jpg", (0, 0, 255)),
        (animation, "a.gif", (60, 60, 60)),
        (one_bit, "a.png", (255, 255, 255)),
    ],
)
def test_every_kind_of_picture_becomes_what_it_shows(
    tmp_path: Path, make: Callable[[Path], None], name: str, expected: tuple[int, int, int]
) -> None:
    make(tmp_path / name)
    colours = Decoder(8, 3).decode(tmp_path / name).picture
    assert colours.shape == (3, 8, 8)
    np.testing.assert_allclose(colours.mean((1, 2)), expected, atol=2)
    assert Decoder(8, 1).decode(tmp_path / name).picture.shape == (1, 8, 8)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_pictures_are_turned_upright(tmp_path: Path, name: str) -> None:
    rotated(tmp_path / name)
    upper, lower = np.split(Decoder(32, 1).decode(tmp_path / name).picture.astype(float), 2, axis=1)
    assert upper.mean() < 5
    assert lower.mean() > 250


def test_the_central_square_is_kept(tmp_path: Path) -> None:
    image = Image.new("L", (96, 32), 255)
    image.paste(0, (32, 0, 64, 32))
    image.save(tmp_path / "wide.png")
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        assert Decoder(16, 1).decode(tmp_path / name).picture.max() == 0


# Arrays


def test_arrays_with_a_test_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    saved = {s: rng.integers(0, 256, (6, 2, 4, 5), np.uint8) for s in ("train", "test")}
    for split, images in saved.items():
        np.save(tmp_path / f"{split}_images.npy", images)
        np.save(tmp_path / f"{split}_labels.npy", np.arange(6, dtype=np.int16) % 3)
    own = ArrayFiles(str(tmp_path))
    assert (own.shape, own.num_classes) == ((2, 4, 5), 3)
    for train, split in ((True, "train"), (False, "test")):
        arrays, mapped = own.load(train), ArrayFiles(str(tmp_path), memory_limit_gb=0).load(train)
        np.testing.assert_array_equal(arrays.x, saved[split])
        np.testing.assert_array_equal(mapped.x, saved[split])
        assert not isinstance(arrays.x, np.memmap)
        assert isinstance(mapped.x, np.memmap)
        assert arrays.y is not None
        assert arrays.y.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("limit", [4.0, 0.0])
def test_arrays_without_a_test_set_are_split(tmp_path: Path, limit: float) -> None:
    np.save(
        tmp_path / "train_images.npy", (200 + np.arange(20)).astype(np.uint8)[:, None, None].repeat(3, 1).repeat(3, 2)
    )
    np.save(tmp_path / "train_labels.npy", np.arange(20))
    splits = [ArrayFiles(str(tmp_path), memory_limit_gb=limit).load(train) for train in (True, False)]
    assert [len(split) for split in splits] == [18, 2]
    assert sorted(int(i) for split in splits for i in split.x[:, 0, 0, 0]) == list(range(200, 220))
    for split in splits:
        np.testing.assert_array_equal(split.x[:, 0, 0, 0], 200 + split.y)


def test_wrong_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train\.npy"):
        _ = ArrayFiles(str(tmp_path)).shape
    path = tmp_path / "train_images.npy"
    np.save(path, np.array(["a", "b"] * 5))
    with pytest.raises(ValueError, match=r"train_images\.npy: <U1 \(10,\): must be numbers"):
        _ = ArrayFiles(str(tmp_path)).shape
    np.save(path, np.zeros((5, 0, 2), np.uint8))
    with pytest.raises(ValueError, match=r"train_images\.npy: uint8 \(5, 0, 2\)"):
        _ = ArrayFiles(str(tmp_path)).shape
    np.save(path, np.zeros((5, 2, 2), np.uint8))
    np.save(tmp_path / "train_labels.npy", np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="4 labels for 5 examples"):
        ArrayFiles(str(tmp_path)).load(train=True)
    np.save(tmp_path / "train_labels.npy", np.array([0, 1, -5, 0, 1]))
    with pytest.raises(ValueError, match=r"train_labels\.npy: label -5 of example 2 is not a class"):
        ArrayFiles(str(tmp_path), test_fraction=0.2).load(train=True) and ArrayFiles(str(tmp_path)).load(train=False)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"train_images\.npy: corrupt"):
        _ = ArrayFiles(str(tmp_path)).shape


def test_arrays_beside_the_one_file_that_is_read_are_named(tmp_path: Path) -> None:
    folder, x = tmp_path / "data", np.arange(60, dtype=np.uint8).reshape(15, 2, 2) * 4
    folder.mkdir()
    for name in ("train", "test", "train_labels", "notes"):
        np.save(folder / f"{name}.npy", np.arange(15) % 2 if "labels" in name else x)
    named = f"test.npy, train_labels.npy beside train.npy; data.root={folder} reads all of them"
    assert ArrayFiles(str(folder / "train.npy")).passed_over() == [named]
    assert ArrayFiles(str(folder)).origin("test") == "test.npy"
    (folder / "class_names.txt").write_text("no\nyes\n")
    with pytest.raises(ValueError, match=f"names of classes, but data.root={folder} reads train_labels.npy, too"):
        _ = ArrayFiles(str(folder / "train.npy")).class_names
    (folder / "class_names.txt").unlink()

    (folder / "train.npy").rename(folder / "cells.npy")
    (line,) = ArrayFiles(str(folder / "cells.npy")).passed_over()
    assert line.endswith(f"beside cells.npy; data.root={folder} reads all of them, once cells.npy is named train.npy")
    np.savez(folder / "train.npz", x=x)
    assert ArrayFiles(str(folder / "train.npz")).passed_over() == []
    np.savez(folder / "val.npz", x=x)
    assert "val.npz beside train.npz" in ArrayFiles(str(folder / "train.npz")).passed_over()[0]
