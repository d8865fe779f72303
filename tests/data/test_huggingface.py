"""Data sets of Hugging Face: pictures and tables on disk, by name, and each mistake in one line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vae_lab.data import HuggingFace, ImageDataModule

datasets = pytest.importorskip("datasets")
NAMES = ["shoe", "coat", "bag"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def arrays(num: int, seed: int = 0, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, *size), np.uint8)


def pictures(num: int, seed: int = 0, **more: list) -> Any:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    columns = {"image": [Image.fromarray(each) for each in arrays(num, seed)], "label": [i % 3 for i in range(num)]}
    features |= {name: datasets.Value("float32") for name in more}
    return datasets.Dataset.from_dict(columns | more, features=datasets.Features(features))


def saved(tmp_path: Path, kind: str) -> Path:
    folder = tmp_path / "set"
    splits = datasets.DatasetDict({"train": pictures(20), "test": pictures(7, 1)})
    if kind == "save_to_disk":
        splits.save_to_disk(folder)
    else:
        (folder / "data").mkdir(parents=True)
        for split, examples in splits.items():
            examples.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("kind", ["save_to_disk", "parquet"])
def test_pictures_and_labels_are_those_of_the_set(tmp_path: Path, kind: str) -> None:
    folder = saved(tmp_path, kind)
    data = ImageDataModule(lambda **s: HuggingFace(**s, label="label"), root=str(folder), val_size=4, batch_size=4)
    assert data.spec.shape == (1, 6, 8)
    assert data.spec.support == "uint8"
    assert data.spec.class_names == tuple(NAMES), "in the order of the numbers, not of the alphabet"
    for train, num, seed in ((True, 20, 0), (False, 7, 1)):
        found = data.images.load(train)
        assert np.array_equal(found.x[:, 0], arrays(num, seed))
        assert found.y.tolist() == [i % 3 for i in range(num)]
    assert [len(data.split(split).rows) for split in ("train", "val", "test")] == [16, 4, 7]
    assert data.images.found() == {"image": "image"}


@pytest.mark.parametrize("name", ["0000", "part-0"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_folders_named_after_splits_are_the_splits(tmp_path: Path, name: str, suffix: str) -> None:
    hidden = tmp_path / "set" / ".cache" / "train" / f"{name}.parquet"
    for path, num in ((f"default/train/more/{name}", 6), ("default/train/0001", 3), (f"default/test/{name}", 2)):
        place = tmp_path / "set" / f"{path}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(pictures(num), place)
    hidden.parent.mkdir(parents=True)
    hidden.write_bytes(b"no")
    source = HuggingFace(str(tmp_path / "set"))
    assert [len(source.load(train)) for train in (True, False)] == [9, 2]
    assert len(HuggingFace(str(tmp_path / "set" / "default" / "train")).load(train=True)) == 8, "by chance, of 9"


def _write(examples: Any, path: Path) -> None:
    if path.suffix == ".parquet":
        examples.to_parquet(path)
        return
    examples.save_to_disk(path.parent / "saved")
    (path.parent / "saved" / "data-00000-of-00001.arrow").rename(path)
    shutil.rmtree(path.parent / "saved")


@pytest.mark.parametrize("name", ["train-00000-of-00001", "train/0000", "0000", "part-0"])
def test_two_parts_of_a_set_are_not_merged(tmp_path: Path, name: str) -> None:
    for part in ("en", "de"):
        pictures(4).to_parquet(tmp_path / part / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"in 2 folders \(de.*, en.*\); set data.root to one of them"):
        HuggingFace(str(tmp_path)).load(train=True)
    assert len(HuggingFace(str(tmp_path / "en")).load(train=True)) == 3


def test_a_single_split_is_split_by_chance_and_pictures_are_resized(tmp_path: Path) -> None:
    pictures(20, height=[float(i) for i in range(20)]).save_to_disk(tmp_path / "one")
    source = HuggingFace(str(tmp_path / "one"), image_size=4, label="label", numbers=["height"])
    train, test = source.load(train=True), source.load(train=False)
    assert train.x.shape == (18, 1, 4, 4)
    assert test.x.shape == (2, 1, 4, 4)
    assert sorted(np.concatenate((train.y, test.y))[:, 3].tolist()) == list(map(float, range(20)))
    assert source.fit_note().startswith("20 of 20 pictures"), "those of both splits"
    assert source.passed_over() == []
    plain = HuggingFace(str(tmp_path / "one"))
    assert plain.num_classes == 0
    assert plain.passed_over() == ["2 other columns (label, height)"]


def test_columns_of_numbers_are_a_table(tmp_path: Path) -> None:
    columns = {"a": [float(i) for i in range(10)], "b": [i % 2 for i in range(10)], "name": list("xyxyxyxyxy")}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "set")
    data = ImageDataModule(
        lambda **s: HuggingFace(**s, columns=["a", "name"], categorical=["name"], label="b"),
        root=str(tmp_path / "set"),
        val_size=2,
    )
    assert data.spec.columns == ("a", "name=x", "name=y")
    assert data.spec.class_names == ()
    assert data.spec.num_classes == 2
    both = np.concatenate([data.images.load(train).x for train in (True, False)])
    assert sorted(both[:, 0].tolist()) == columns["a"]
    assert data.spec.support == "real"
    with pytest.raises(ValueError, match=r"column name: 'x' in row 1 is not a number"):
        HuggingFace(str(tmp_path / "set"), label="b").load(train=True)


def test_the_row_index_of_pandas_is_not_modelled(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(9.0), "b": np.arange(9.0) ** 2})[lambda frame: frame.a > 1]
    datasets.Dataset.from_pandas(frame).save_to_disk(tmp_path / "set")
    source = HuggingFace(str(tmp_path / "set"))
    assert source.columns == ("a", "b")
    assert source.passed_over() == ["row numbers that were saved as a column ('__index_level_0__')"]


def test_pictures_without_any_other_column(tmp_path: Path) -> None:
    datasets.DatasetDict({"train": pictures(9), "test": pictures(3)}).remove_columns("label").save_to_disk(tmp_path)
    source = HuggingFace(str(tmp_path))
    assert [(len(each), each.y) for each in map(source.load, (True, False))] == [(9, None), (3, None)]
    assert source.passed_over() == []


def test_splits_by_name(tmp_path: Path) -> None:
    named = {"fit": pictures(6), "holdout": pictures(3), "unused": pictures(2)}
    datasets.DatasetDict(named).save_to_disk(tmp_path / "set")
    source = HuggingFace(str(tmp_path / "set"), train_split="fit", val_split="holdout")
    assert (len(source.load(train=True)), len(source.load_val()), source.origin("val")) == (5, 3, "holdout")
    assert source.passed_over() == ["1 other column (label)", "1 other split (unused)"]
    with pytest.raises(ValueError, match="train_split: which of fit, holdout, unused is the training split"):
        HuggingFace(str(tmp_path / "set")).load(train=True)
    with pytest.raises(ValueError, match=r"test_split=tests: .* has the splits fit, holdout, unused"):
        HuggingFace(str(tmp_path / "set"), train_split="fit", test_split="tests").load(train=True)


def _odd(tmp_path: Path, odd: Any) -> str:
    images = [Image.fromarray(each) for each in arrays(5)]
    images[3] = odd
    features = datasets.Features({"image": datasets.Image(), "other": datasets.Value("int64")})
    examples = datasets.Dataset.from_dict({"image": images, "other": list(range(5))}, features=features)
    datasets.DatasetDict({"train": examples, "test": examples}).save_to_disk(tmp_path / "set")
    return str(tmp_path / "set")


@pytest.mark.parametrize(
    ("odd", "options", "wrong"),
    [
        (
            Image.new("L", (8, 9)),
            {},
            "train: column image, row 4: 9 x 8 pixels, but the first has 6 x 8",
        ),
        (
            Image.new("RGB", (8, 6)),
            {},
            "row 4: in colour, but the first picture is grey; set data.images",
        ),
        (Image.new("I;16", (8, 6)), {}, "row 4: pictures of more than 8 bits"),
        (None, {}, "row 4: no picture"),
        ({"bytes": b"no", "path": None}, {}, "a picture cannot be decoded"),
        (Image.new("L", (8, 6)), {"image": "photo"}, "image=photo: no column of pictures"),
        (Image.new("L", (8, 6)), {"label": "kind"}, "has no column kind"),
    ],
)
def test_a_picture_that_does_not_fit_is_one_line(tmp_path: Path, odd: Any, options: dict, wrong: str) -> None:
    source = HuggingFace(_odd(tmp_path, odd), **options)
    with pytest.raises(ValueError, match=re.escape(wrong)) as raised:
        source.load(train=True)
    assert "\n" not in str(raised.value)


def test_channels_and_sizes_can_be_given(tmp_path: Path) -> None:
    root = _odd(tmp_path, Image.new("RGB", (20, 30), (255, 0, 0)))
    source = HuggingFace(root, image_size=6, channels=3)
    x = source.load(train=True).x
    assert x.shape == (5, 3, 6, 6)
    assert (x[3] == np.array([255, 0, 0]).reshape(3, 1, 1)).all()
    assert (x[0, 0] == x[0, 1]).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_parts_are_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("L", (8, 6), 40).convert(mode)
    clear.putalpha(Image.fromarray(np.repeat(np.uint8([[0] * 4 + [255] * 4]), 6, 0)))
    source = HuggingFace(_odd(tmp_path, clear), channels=3)
    assert (source.load(train=True).x[3] == np.array([255] * 4 + [40] * 4)).all()


def test_pictures_are_fitted_to_sides_of_other_proportions(tmp_path: Path) -> None:
    root = _odd(tmp_path, Image.new("L", (8, 6), 200))
    for fit, mean in (("crop", 200), ("stretch", 200), ("pad", 200 * 3 / 8)):
        source = HuggingFace(root, image_size=[2, 8], fit=fit)
        x = source.load(train=True).x
        assert x.shape == (5, 1, 2, 8)
        assert abs(x[3].mean() - mean) < 30
        assert "5 of 5" in source.fit_note() or "all" in source.fit_note(), source.fit_note()


def test_what_cannot_be_opened_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        HuggingFace(str(tmp_path / "none")).load(train=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no data set in it; expected what save_to_disk writes"):
        HuggingFace(str(tmp_path / "empty")).load(train=True)
    (tmp_path / "empty" / "train.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="not readable as a data set"):
        HuggingFace(str(tmp_path / "empty")).load(train=True)

    def offline(name: str, config: str | None) -> None:
        raise ConnectionError("Couldn't reach the Hub\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(ValueError, match="dataset=a/b: cannot be loaded") as raised:
        HuggingFace(dataset="a/b").load(train=True)
    assert str(raised.value) == (
        "dataset=a/b: cannot be loaded (Couldn't reach the Hub); check the name and the network, or give data.root,"
        " the folder that save_to_disk wrote"
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: {"train": pictures(4)})
    assert len(HuggingFace(dataset="a/b").load(train=True)) == 3
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ImportError, match=r"data=huggingface needs datasets; pip install 'vae-lab\[huggingface\]'"):
        HuggingFace(str(tmp_path)).load(train=True)


def test_a_set_of_the_hub_is_read_from_its_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(20).to_parquet(tmp_path / "pets" / "train.parquet")
    assert len(HuggingFace(dataset=str(tmp_path / "pets")).load(train=True)) == 18, "a folder by its path"
    (tmp_path / "cache" / "pets").rename(tmp_path / "cache" / "somebody___pets")  # as a download leaves it
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    source = HuggingFace(dataset="somebody/pets", label="label")
    assert source.native_shape == (1, 6, 8)
    assert len(source.load(train=True)) == 18
    with pytest.raises(ValueError, match="dataset=somebody/birds: cannot be loaded"):
        HuggingFace(dataset="somebody/birds").load(train=True)


def test_the_code_of_a_set_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    pictures(4).to_parquet(tmp_path / "own" / "train.parquet")
    for name in ("own", str(tmp_path / "own"), "own/own.py"):
        with pytest.raises(ValueError, match=r"Dataset scripts are no longer supported, but found own\.py"):
            HuggingFace(dataset=name).load(train=True)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match="dataset=parquet: is a file format, not a data set"):
        HuggingFace(dataset="parquet").load(train=True)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="image=a: columns="):
        HuggingFace(image="a", columns=["b"])
    with pytest.raises(ValueError, match="channels=2"):
        HuggingFace(channels=2)


def test_columns_of_pictures_can_be_left_out(tmp_path: Path) -> None:
    """Two of them were refused until one was named, and a single one was trained on all the same."""
    masks = pictures(6, 1).select_columns(["image"]).rename_column("image", "mask")
    masked = datasets.concatenate_datasets([pictures(6, age=[0.0, 1, 2, 3, 4, 5]), masks], axis=1)
    datasets.DatasetDict({"train": masked}).save_to_disk(tmp_path / "set")
    root = str(tmp_path / "set")
    assert HuggingFace(root, leave_out=["mask"]).found() == {"image": "image"}
    table = HuggingFace(root, label="label", leave_out=["mask", "image"])
    assert (table.columns, table.passed_over()) == (("age",), ["2 other columns (image, mask)"])
    with pytest.raises(ValueError, match="has no column masks; its columns are image, label, age, mask"):
        HuggingFace(root, leave_out=["masks"]).found()
