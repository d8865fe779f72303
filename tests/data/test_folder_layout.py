"""Folders of pictures are read as they look, or refused; a run says at its start what it found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import BARE, Outcome
from tests.data.small_sets import image_set
from vae_lab.data import ImageDataModule, ImageFolder, Mnist
from vae_lab.data.summary import summary

WORDS = (
    "data=image_folder",
    "data.root=own",
    "data.image_size=8",
    "network=mlp",
    "logger=none",
    *BARE,
)


def pictures(root: Path, **numbers: int) -> Path:
    """``pictures(root, train__ant=3)`` saves three pictures of one grey in train/ant."""
    for name, number in numbers.items():
        folder = root.joinpath(*name.split("__"))
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(number):
            Image.new("L", (8, 8), 100 + len(name)).save(folder / f"{i}.png")
    return root


def opened(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(str(root), image_size=4, channels=1, **options)


def sizes(folder: ImageFolder) -> list[int]:
    data = ImageDataModule(lambda **_: folder, val_size=3)
    return [len(data.split(name).rows) for name in ("train", "val", "test")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Valid", "TESTING"),
        ("TRAIN", "validation", "Test"),
        ("train", "dev", "test"),
        ("training_set", "validation set", "test_set"),
        ("seg_train", "val-images", "testset"),
    ],
)
def test_the_usual_names_are_splits(tmp_path: Path, train: str, val: str, test: str) -> None:
    names = {f"{split}__{c}": n for split, n in ((train, 12), (val, 5), (test, 4)) for c in ("ant", "bee")}
    folder = opened(pictures(tmp_path, **names))
    assert (folder.class_names, sizes(folder)) == (("ant", "bee"), [24, 10, 8])
    assert set(folder.load_val().x.flatten()) == {100 + len(f"{val}__ant")}


def test_splits_without_classes_have_their_own_validation(tmp_path: Path) -> None:
    folder = opened(pictures(tmp_path, train=12, val=5, test=4))
    assert (folder.num_classes, sizes(folder)) == (0, [12, 5, 4])


def test_without_a_test_folder_the_test_set_is_drawn_from_training(tmp_path: Path) -> None:
    folder = opened(pictures(tmp_path, train=20, val=5))
    assert sizes(folder) == [18, 5, 2]
    assert [folder.origin(split) for split in ("train", "val", "test")] == ["train/", "val/", "chosen by chance, 10%"]


REFUSED: dict[str, tuple[dict[str, int], str]] = {
    "another name of a split": ({"train__a": 9, "Eval__a": 9}, "Eval may be a split under another name; rename it to"),
    "such a name beside classes": ({"a": 9, "b": 9, "held-out set": 9}, "held-out set may be a split under another"),
    "a split beside classes": ({"a": 9, "b": 9, "testing": 9}, "testing look like splits, a, b like classes"),
    "a class called train": ({"train": 9, "car": 9, "plane": 9}, "train look like splits, car, plane like classes"),
    "others beside splits": (
        {"train__a": 9, "test__a": 9, "extra": 9},
        "test, train look like splits, extra like classes",
    ),
    "two folders of a split": ({"train": 9, "Training": 9}, "both look like the train split"),
    "val and validation": ({"train": 9, "val": 9, "valid": 9}, "both look like the val split"),
    "no train": ({"test": 9, "val": 9}, "test, val but no folder train"),
    "one level too high": ({"flowers__rose": 9, "flowers__lily": 9}, "only the folder flowers in it.*data.root="),
    "splits within classes": ({"a__train": 9, "a__test": 9, "b__train": 9}, "a/test looks like a split within a class"),
    "thumbs": ({"": 9, "thumbs": 3}, "9 pictures beside the folders thumbs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path: Path, case: str) -> None:
    numbers, message = REFUSED[case]
    pictures(tmp_path, **numbers)
    with pytest.raises(ValueError, match=message) as caught:
        _ = opened(tmp_path).class_names
    assert "\n" not in str(caught.value)
    if "data.images.layout=classes" in str(caught.value):
        expected = sorted({name.split("__")[0] for name in numbers} - {""})
        assert list(opened(tmp_path, layout="classes").class_names) == expected


def test_layout_splits_passes_over_the_rest(tmp_path: Path) -> None:
    folder = opened(pictures(tmp_path, train__a=9, test__a=4, extra=9), layout="splits")
    assert (folder.class_names, sizes(folder)) == (("a",), [6, 3, 4])
    assert folder.passed_over() == ["folders beside the splits (extra)"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_that_training_lacks_are_refused(tmp_path: Path, split: str) -> None:
    (tmp_path / "train" / "bee").mkdir(parents=True)  # empty
    pictures(tmp_path, train__ant=5, **{f"{split}__ant": 5, f"{split}__bee": 5})
    with pytest.raises(ValueError, match=rf"{split}: class bee has no folder with pictures in .*train"):
        _ = opened(tmp_path).class_names


def test_a_split_without_class_folders_beside_one_with_them_is_named(tmp_path: Path) -> None:
    folder = opened(pictures(tmp_path, train__ant=5, train__bee=5, test=5))
    with pytest.raises(ValueError, match=r"test: pictures without class folders, but .*train has the classes ant, bee"):
        folder.load(train=False)


def test_empty_folders_are_no_classes_and_what_lies_beside_is_said(tmp_path: Path) -> None:
    pictures(tmp_path, a=9, c=9, c__deep=2)
    for name in ("b", "__MACOSX/a"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "__MACOSX" / "a" / "0.png").touch()
    (tmp_path / "notes.txt").touch()
    folder = opened(tmp_path)
    assert folder.class_names == ("a", "c")
    assert len(folder.load(train=True)) + len(folder.load(train=False)) == 20
    assert folder.passed_over() == [
        "1 files beside the class folders (notes.txt)",
        "empty folders (b)",
        "folders within the classes (c): their pictures count",
    ]


def test_hidden_folders_and_artefacts_count_nowhere_and_linked_folders_do(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "set", pictures(tmp_path, elsewhere__more=3) / "elsewhere"
    hidden = {f"cat__{name}": 2 for name in (".thumbnails", ".ipynb_checkpoints", "@eaDir", "in__@eaDir")}
    pictures(root, cat=4, cat__in=1, dog=3, **hidden)
    (root / "dog" / "linked").symlink_to(elsewhere)
    (root / "dog" / "loop").symlink_to(root / "dog")
    paths, labels = opened(root)._folders.listing("train")
    assert [str(path.relative_to(root)) for path in paths] == [
        *(f"cat/{i}.png" for i in range(4)),
        "cat/in/0.png",
        *(f"dog/{i}.png" for i in range(3)),
        *(f"dog/linked/more/{i}.png" for i in range(3)),
    ]
    assert labels is not None
    assert labels.tolist() == [0] * 5 + [1] * 6


@pytest.mark.parametrize("train", ["", "train__"])
def test_a_folder_of_annotations_is_not_a_class(tmp_path: Path, train: str) -> None:
    names = {f"{train}{name}": 6 for name in ("ant", "bee")} | ({"test__ant": 2} if train else {})
    for labels in (f"{train}labels", "test__labels") if train else ("labels",):
        folder = pictures(tmp_path, **names).joinpath(*labels.split("__"))
        folder.mkdir()
        for i in range(6):
            (folder / f"{i}.txt").write_text("0 0.5 0.5 1 1")
    folder = opened(tmp_path)
    assert folder.class_names == ("ant", "bee")
    assert sum(sizes(folder)) == 12 + 2 * bool(train)
    assert f"folders without pictures{' of train/' if train else ''} (labels)" in folder.passed_over()


def test_annotations_beside_pictures_in_folders_leave_them_as_they_are(tmp_path: Path) -> None:
    root = pictures(tmp_path, images__ant=3, images__bee=3)
    (root / "labels").mkdir()
    (root / "labels" / "ant.txt").write_text("0")
    with pytest.raises(ValueError, match=r"only the folder images in it, with folders within; set data.root=.*images"):
        _ = opened(root).class_names
    pictures(tmp_path / "flat", **{"": 5}).joinpath("labels").mkdir()
    for i in range(7):
        (tmp_path / "flat" / "labels" / f"{i}.txt").write_text("0")
    with pytest.raises(ValueError, match="5 pictures beside the folders labels, more than in them"):
        _ = opened(tmp_path / "flat").class_names
    pictures(tmp_path, plain__ant=3).joinpath("plain", "bee").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "plain" / "bee" / "7", "png")
    assert opened(tmp_path / "plain").class_names == ("ant", "bee"), "a picture may have no suffix"


@pytest.mark.parametrize("name", ["train_images.npy", "mnist.npz"])
def test_arrays_are_sent_to_the_data_set_for_arrays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match="a file; expected a folder of pictures; for arrays, set data=array"):
        _ = opened(tmp_path / name).class_names
    with pytest.raises(FileNotFoundError, match=r"no pictures; .*; for arrays, set data=array"):
        opened(tmp_path).load(train=True)


# What a run says


def test_a_run_says_what_it_found(train: Callable[..., Outcome], tmp_path: Path) -> None:
    pictures(tmp_path / "own", train__ant=40, train__bee=30, val__ant=10, test__bee=9)
    (tmp_path / "own" / "train" / "labels.csv").touch()
    (tmp_path / "own" / "test" / "bee" / "broken.png").touch()
    with pytest.warns(UserWarning, match="1 of 10 files"):
        outcome = train(*WORDS, "model=cvae", "latent_dim=2")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("data "))
    assert lines[first : first + 6] == [
        f"data         image_folder in {tmp_path / 'own'}: 3 x 8 x 8, 2 classes (ant, bee)",
        "values       three equal channels, because every picture is grey; data.images.channels=1 reads one",
        "splits       train 70 (train/), val 10 (val/), test 9 (test/)",
        "few examples test: fewer than 10, so that their figures mean little",
        "passed over  1 unreadable files of test",
        "passed over  1 files beside the class folders of train/ (labels.csv)",
    ]


def test_a_class_called_train_ends_a_run_in_one_line(train: Callable[..., Outcome], tmp_path: Path) -> None:
    pictures(tmp_path / "own", train=9, car=9)
    outcome = train(*WORDS, "model=cvae")
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert "data.images.layout=splits" in outcome.error_lines[0]
    assert not list(tmp_path.glob("outputs/*/*"))


@pytest.mark.parametrize(("val_size", "val"), [(30, "val 30 (held out of train)"), (0, "val 40 (the test set)")])
def test_any_set_is_described(val_size: int, val: str) -> None:
    data = ImageDataModule(image_set(num_classes=100), val_size=val_size)
    first, second, *selection = summary(data).splitlines()
    assert first.startswith("data         numbered: 1 x 4 x 4, 100 classes (0, 1, 2, ")
    assert first.endswith("(100 in all))")
    assert len(first) < 150
    assert second == f"splits       train {100 - val_size}, {val}, test 40"
    assert [line.split()[:5] for line in selection] == (
        [["classes", "30", "without", "a", "training"]] if val_size else [["selection", "by", "the", "test", "set,"]]
    )
    assert "no labels" in summary(ImageDataModule(image_set(num_classes=0), val_size=10))


def test_digits_are_described_in_two_lines() -> None:
    assert len(summary(ImageDataModule(Mnist), ("test",)).splitlines()) == 2


def test_an_array_for_each_example_is_sent_to_none_that_would_refuse_it(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", np.zeros((4, 4)))
    with pytest.raises(FileNotFoundError, match=r"; np\.save\('train\.npy', np\.stack.*for each example$"):
        opened(tmp_path).load(train=True)
