"""A user's arrays mean what they say: axes, values, labels and archives are recognised, or refused with the remedy."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from PIL import Image

from tests.conftest import BARE, Outcome
from vae_lab.data import ArrayFiles, ImageDataModule

WORDS = ("data=array", "data.root=own", "network=mlp", "logger=none", *BARE)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def saved(root: Path, **arrays: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(root / f"{name}.npy", array)
    return root


# Axes


@pytest.mark.parametrize("limit", [4.0, 0.0])
@pytest.mark.parametrize("shape", [(20, 32, 32, 3), (20, 28, 30, 1), (20, 5, 6, 4), (20, 4, 4, 3)])
def test_channels_last_are_recognised(tmp_path: Path, shape: tuple[int, ...], limit: float) -> None:
    images = noise(*shape)
    own = ArrayFiles(str(saved(tmp_path, train_images=images, test_images=images[:5])), memory_limit_gb=limit)
    assert own.shape == (shape[3], *shape[1:3])
    np.testing.assert_array_equal(own.load(train=True).x, images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(own.load(train=False).x, images[:5].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(9, 3, 32, 33), (9, 1, 4, 4), (9, 2, 4, 5), (9, 4, 28, 28)])
def test_channels_first_stay_first(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert ArrayFiles(str(saved(tmp_path, train_images=noise(*shape)))).shape == shape[1:]


AMBIGUOUS = [(9, 3, 32, 3), (9, 32, 32, 32), (9, 4, 4, 4), (9, 28, 28, 2), (9, 13, 64, 64)]


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_axes_that_can_be_either_are_refused_unless_said(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    root = str(saved(tmp_path, train_images=images))
    with pytest.raises(ValueError, match=r"train_images\.npy: uint8 .*data\.images\.layout=channels_last") as caught:
        _ = ArrayFiles(root).shape
    assert "\n" not in str(caught.value)
    assert ArrayFiles(root, layout="channels_first").shape == shape[1:]
    assert ArrayFiles(root, layout="channels_last").shape == (shape[3], *shape[1:3])
    loaded = ArrayFiles(root, layout="channels_last").load(train=True).x
    assert {int(image.sum()) for image in loaded} <= {int(image.sum()) for image in images}


def test_examples_on_the_last_axis_are_refused_unless_said(tmp_path: Path) -> None:
    root = str(saved(tmp_path, train_images=noise(28, 28, 90)))
    with pytest.raises(ValueError, match=r"looks like \(H, W, N\); save np\.moveaxis\(images, -1, 0\)"):
        _ = ArrayFiles(root).shape
    assert ArrayFiles(root, layout="channels_first").shape == (1, 28, 90)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_of_another_size_is_named(tmp_path: Path, split: str) -> None:
    own = ArrayFiles(str(saved(tmp_path, train_images=noise(20, 8, 8), **{f"{split}_images": noise(5, 9, 9)})))
    with pytest.raises(ValueError, match=rf"{split}_images\.npy: examples of 1 x 9 x 9, .* are 1 x 8 x 8"):
        own.load_val() if split == "val" else own.load(train=False)


def test_one_picture_is_not_many_grey_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one picture of 3 channels"):
        _ = ArrayFiles(str(saved(tmp_path, train_images=noise(48, 64, 3)))).shape


def test_the_layout_is_a_word_of_the_command(train: Callable[..., Outcome], tmp_path: Path) -> None:
    saved(tmp_path / "own", train_images=noise(60, 8, 8, 8))
    outcome = train(*WORDS)
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1
    assert "data.images.layout=channels_last" in outcome.error_lines[0]
    assert not list(tmp_path.glob("outputs/*/*"))
    assert train(*WORDS, "data.images.layout=channels_last").code == 0


# Values


def masks(number: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (number, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
@pytest.mark.parametrize("limit", [4.0, 0.0])
def test_masks_of_zeros_and_ones_are_black_and_white(tmp_path: Path, dtype: type, limit: float) -> None:
    images = masks()
    root = saved(tmp_path, train_images=images.astype(dtype), test_images=images[:9].astype(dtype))
    own = ArrayFiles(str(root), memory_limit_gb=limit)
    data = ImageDataModule(lambda **_: own, val_size=0)
    assert data.spec.support == "binary"
    np.testing.assert_array_equal(own.load(train=True).x[:, 0], 255 * images)
    np.testing.assert_array_equal(own.load(train=False).x[:, 0], 255 * images[:9])
    assert set(np.unique(data.examples(9).x)) == {0, 1}


@pytest.mark.parametrize("highest", [2, 15, 100, 127])
def test_values_far_below_white_are_refused_unless_said(tmp_path: Path, highest: int) -> None:
    images = (np.arange(40 * 64).reshape(40, 8, 8) % (highest + 1)).astype(np.uint8)
    root = str(saved(tmp_path, train_images=images, test_images=images[:9]))
    with pytest.raises(ValueError, match=rf"no value is above {highest}; set data\.images\.max_value"):
        _ = ArrayFiles(root).support
    for white in (highest, 255):
        loaded = ArrayFiles(root, max_value=white).load(train=True).x[:, 0]
        np.testing.assert_array_equal(loaded, np.round(images * 255.0 / white))
    with pytest.raises(ValueError, match=rf"value {highest} where 1 is white"):
        ArrayFiles(root, max_value=1).load(train=True)


def test_one_bright_image_among_dark_ones_is_found(tmp_path: Path) -> None:
    images = np.zeros((3000, 4, 4), np.uint8)
    images[:, 0] = 3
    images[1234] = 200
    own = ArrayFiles(str(saved(tmp_path, train_images=images)), test_fraction=0.5)
    assert own.support != "binary"
    assert max(own.load(train=train).x.max() for train in (True, False)) == 200


def test_a_mask_set_with_one_other_value_is_refused_when_it_is_read(tmp_path: Path) -> None:
    images = masks(3000)
    images[1, 0, 0] = 7  # not among the rows that are looked at first
    own = ArrayFiles(str(saved(tmp_path, train_images=images, test_images=images[:9])))
    with pytest.raises(ValueError, match=r"train_images\.npy: value 7 where 1 is white"):
        own.load(train=True)


@pytest.mark.parametrize("test", [masks(9) * 255, masks(9) * 40])
def test_splits_of_different_ranges_are_refused(tmp_path: Path, test: np.ndarray) -> None:
    own = ArrayFiles(str(saved(tmp_path, train_images=masks(), test_images=test)))
    with pytest.raises(ValueError, match=r"test_images\.npy: .*data\.images\.max_value"):
        own.load(train=False)


@pytest.mark.filterwarnings("ignore:.*every pixel is black")
@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(("train", "other"), [(noise(30, 8, 8), noise(9, 8, 8) // 3), (masks(), 0 * masks(9))])
def test_a_dark_split_has_the_white_of_the_training_images(
    tmp_path: Path, train: np.ndarray, other: np.ndarray, split: str
) -> None:
    own = ArrayFiles(str(saved(tmp_path, train_images=train, **{f"{split}_images": other})))
    loaded = own.load_val() if split == "val" else own.load(train=False)
    np.testing.assert_array_equal(loaded.x[:, 0], other)


def test_masks_beside_grey_pictures_are_refused(tmp_path: Path) -> None:
    own = ArrayFiles(str(saved(tmp_path, train_images=noise(30, 8, 8), test_images=masks(9))))
    with pytest.raises(ValueError, match=r"test_images\.npy: white is 1, but 255 in the training images"):
        own.load(train=False)


def test_masks_train_with_a_bernoulli_likelihood(train: Callable[..., Outcome], tmp_path: Path) -> None:
    saved(tmp_path / "own", train_images=masks(60))
    outcome = train(*WORDS)
    assert outcome.code == 0
    assert "likelihood   bernoulli, because of the values (binary)" in outcome.out
    refused = train(*WORDS, "likelihood=discretized_logistic")
    assert refused.code == 1
    assert "choose likelihood=bernoulli" in refused.error_lines[0]


# Labels

LABELS = np.arange(30) % 3


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, ()),
        (LABELS.astype(np.float32), ()),
        (LABELS.astype(np.uint64), ()),
        (LABELS[:, None], ()),
        (np.eye(3)[LABELS], ()),
        (np.eye(3, dtype=bool)[LABELS], ()),
        (7 + 100 * LABELS, ("7", "107", "207")),
        (1 + LABELS, ("1", "2", "3")),
        (1.0 + LABELS, ("1", "2", "3")),
        (np.array(["ant", "bee", "cüt"])[LABELS], ("ant", "bee", "cüt")),
        (np.array([b"ant", b"bee", b"cat"])[LABELS], ("ant", "bee", "cat")),
    ],
)
def test_each_distinct_label_is_a_class(tmp_path: Path, labels: np.ndarray, names: tuple[str, ...]) -> None:
    own = ArrayFiles(
        str(
            saved(
                tmp_path,
                train_images=noise(30, 4, 4),
                train_labels=labels,
                test_images=noise(3, 4, 4),
                test_labels=labels[:3],
            )
        )
    )
    assert (own.num_classes, own.class_names) == (3, names)
    for train, number in ((True, 30), (False, 3)):
        found = own.load(train).y
        assert found is not None
        assert found.tolist() == LABELS[:number].tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS - 7, "label -7 of example 0 is not a class"),
        (LABELS + 0.5, r"label 0\.5 of example 0 is not a class"),
        (np.full(30, np.nan), "label nan of example 0"),
        (np.ones((30, 3), np.int64), "rows that are not one-hot"),
        (LABELS[:, None, None], r"\(30, 1, 1\), expected the class of each image"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    own = ArrayFiles(str(saved(tmp_path, train_images=noise(30, 4, 4), train_labels=labels)))
    with pytest.raises(ValueError, match=rf"train_labels\.npy: .*{message}|train_labels\.npy: {message}"):
        _ = own.num_classes


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("labels", [LABELS + 1, np.array(["ant"] * 30)])
def test_a_class_that_training_lacks_is_refused(tmp_path: Path, split: str, labels: np.ndarray) -> None:
    images = noise(30, 4, 4)
    own = ArrayFiles(
        str(
            saved(
                tmp_path,
                train_images=images,
                train_labels=LABELS,
                **{f"{split}_images": images, f"{split}_labels": labels},
            )
        )
    )
    with pytest.raises(ValueError, match=rf"{split}_labels\.npy: label (3|ant) is not one of the 3 classes"):
        _ = own.load_val() if split == "val" else own.load(train=False)


def test_a_split_without_labels_beside_labelled_ones_is_named(tmp_path: Path) -> None:
    images = noise(30, 4, 4)
    own = ArrayFiles(str(saved(tmp_path, train_images=images, train_labels=LABELS, test_images=images)))
    with pytest.raises(ValueError, match=r"test_images\.npy: no test_labels"):
        own.load(train=False)


# Files


def test_the_validation_files_are_the_validation_split(tmp_path: Path) -> None:
    files = {f"{split}_images": noise(n, 4, 4, seed=n) for split, n in (("train", 30), ("val", 7), ("test", 5))}
    data = ImageDataModule(ArrayFiles, root=str(saved(tmp_path, **files)), val_size=10)
    for split in ("train", "val", "test"):
        arrays, rows = data.split(split)  # type: ignore[arg-type]
        np.testing.assert_array_equal(arrays.x[rows, 0], files[f"{split}_images"])


KERAS = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
MEDICAL = {split: (f"{split}_images", f"{split}_labels") for split in ("train", "val", "test")}


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("limit", [4.0, 0.0])
@pytest.mark.parametrize("names", [KERAS, MEDICAL])
def test_archives_are_read(
    tmp_path: Path, names: dict[str, tuple[str, str]], limit: float, save: Callable[..., None], inside: bool
) -> None:
    arrays = {split: (noise(30, 4, 5, seed=i), LABELS[:, None]) for i, split in enumerate(names)}
    content = {name: array for split in names for name, array in zip(names[split], arrays[split], strict=True)}
    save(tmp_path / "set.npz", **content)
    own = ArrayFiles(str(tmp_path / "set.npz" if inside else tmp_path), memory_limit_gb=limit)
    assert (own.shape, own.num_classes, own.has_val) == ((1, 4, 5), 3, "val" in names)
    loads = {"train": lambda: own.load(True), "test": lambda: own.load(False), "val": own.load_val}
    for split in names:
        found = loads[split]()
        np.testing.assert_array_equal(found.x[:, 0], arrays[split][0])
        np.testing.assert_array_equal(found.y, LABELS)


def test_archives_by_split_and_of_one_array_are_read(tmp_path: Path) -> None:
    images = np.asfortranarray(noise(30, 4, 5))
    np.savez(tmp_path / "train.npz", images=images, labels=LABELS)
    np.savez(tmp_path / "test.npz", x=images[:9], y=LABELS[:9])
    own = ArrayFiles(str(tmp_path))
    np.testing.assert_array_equal(own.load(train=True).x[:, 0], images)
    np.testing.assert_array_equal(own.load(train=False).x[:, 0], images[:9])
    np.savez(tmp_path / "one.npz", images)
    np.save(tmp_path / "faces.npy", images)
    for name in ("one.npz", "faces.npy"):
        alone = ArrayFiles(str(tmp_path / name))
        assert (alone.num_classes, sum(len(alone.load(train)) for train in (True, False))) == (0, 30)


def test_other_members_of_an_archive_are_never_opened(tmp_path: Path) -> None:
    metadata = np.array({"author": "somebody"}, object)  # as dSprites has it
    np.savez(tmp_path / "d.npz", imgs=masks(), metadata=metadata, latents_classes=np.zeros((40, 6)))
    own = ArrayFiles(str(tmp_path / "d.npz"))
    assert (own.support, own.num_classes, len(own.load(train=True))) == ("binary", 0, 36)
    np.savez(tmp_path / "d.npz", imgs=masks(), labels=metadata.repeat(40))
    with pytest.raises(ValueError, match=r"d\.npz: labels: holds Python objects, which are never loaded"):
        _ = ArrayFiles(str(tmp_path / "d.npz")).num_classes


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    saved(tmp_path, train_images=masks())
    np.save(tmp_path / "train_labels.npy", np.array([{"a": 1}] * 40, object))
    with pytest.raises(ValueError, match=r"train_labels\.npy: holds Python objects"):
        _ = ArrayFiles(str(tmp_path)).num_classes


def one_each(folder: Path) -> None:
    folder.mkdir()
    np.save(folder / "0.npy", masks()[0])


def sparse(folder: Path) -> None:
    scipy.sparse.save_npz(folder / "s.npz", scipy.sparse.csr_matrix(np.eye(5)))


def groups(folder: Path) -> None:
    with pytest.importorskip("h5py").File(folder / "g.h5", "w") as file:
        file["train/images"] = masks()


def picture(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (8, 8)).save(path)


@pytest.mark.parametrize(
    ("make", "root", "message"),
    [
        (
            lambda r: np.save(r / "faces.npy", masks()),
            "",
            r"no train\.npy, but faces\.npy; .*data\.root=",
        ),
        (lambda r: np.savez(r / "a.npz", faces=masks(), n=LABELS), "a.npz", "no array train_images.* but faces, n"),
        (lambda r: np.savez(r / "a.npz", x=masks(), images=masks()), "a.npz", "are both train images"),
        (lambda r: [np.savez(r / f"{n}.npz", masks()) for n in "ab"], "", r"a\.npz, b\.npz: several archives"),
        (lambda r: picture(r / "cats" / "1.png"), "", "for pictures, set data=image_folder"),
        (lambda r: picture(r / "1.JPG"), "", "for pictures, set data=image_folder"),
        (lambda r: picture(r / "1.png"), "1.png", "for pictures, set data=image_folder"),
        (lambda r: (r / "t.pt").touch(), "t.pt", r"nor a .npy, .npz or .h5 file; np\.save\('train\.npy', torch\.load"),
        (lambda r: (r / "t.pt").touch(), "", r"no train\.npy .*; np\.save\('train\.npy', torch\.load"),
        (lambda r: (r / "m.MAT").touch(), "m.MAT", r"; np\.save\('train\.npy', scipy\.io\.loadmat"),
        (lambda r: (r / "c.h5ad").touch(), "c.h5ad", r"; vae_lab\.fit\(anndata\.read_h5ad\(FILE\)\) trains on it"),
        (lambda r: (r / "t.csv").touch(), "t.csv", "; for tables, set data=table"),
        (lambda r: one_each(r / "cats"), "", r"no train\.npy .*; np\.save\('train\.npy', np\.stack"),
        (sparse, "s.npz", r"a sparse matrix of scipy; np\.save\('train\.npy', scipy\.sparse\.load_npz\(FILE\)"),
        (groups, "g.h5", r"no arrays at the top, only groups \(train\); save them as train_images"),
        (lambda r: (r / "a.npz").write_bytes(b"PK\3\4 no more"), "a.npz", r"a\.npz: corrupt, truncated"),
        (lambda r: (r / "a.npy").write_bytes(pickle.dumps([1])), "a.npy", r"a\.npy: corrupt, truncated"),
        (lambda r: None, "nowhere", r"data\.root=.*nowhere: no such file or folder"),
        (lambda r: None, "", r"no train\.npy and no \.npz"),
    ],
)
def test_the_way_to_go_on_is_said(tmp_path: Path, make: Callable[[Path], object], root: str, message: str) -> None:
    make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        ArrayFiles(str(tmp_path / root)).load(train=True)
    assert "\n" not in str(caught.value)


def test_an_archive_that_announces_terabytes_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 4, 4), np.uint8))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content.replace(b"(20, 4, 4), }        ", b"(2000000000, 4, 4), }"))
    with pytest.raises(ValueError, match=r"a\.npz: x: corrupt, truncated"):
        ArrayFiles(str(tmp_path / "a.npz")).load(train=True)


def test_an_archive_that_holds_more_than_it_announces_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.save(header, np.zeros((20, 4, 4), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"more")
    with pytest.raises(ValueError, match=r"a\.npz: x: corrupt, truncated .*others present"):
        ArrayFiles(str(tmp_path / "a.npz")).load(train=True)


def test_arrays_without_names_are_refused_with_the_way_to_name_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", np.zeros((9, 4, 4), np.uint8), np.zeros(9, np.int64))
    with pytest.raises(FileNotFoundError, match=r"arr_0, arr_1 in it, .*; save them by name: np.savez\(FILE, train_im"):
        ArrayFiles(str(tmp_path / "own.npz")).load(True)


def test_arrays_of_other_splits_are_named_if_there_are_no_training_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x_test=np.zeros((4, 3)), y_test=np.zeros(4))
    for root in (tmp_path / "all.npz", tmp_path):
        with pytest.raises(FileNotFoundError, match="but x_test, y_test; rename one"):
            ArrayFiles(str(root)).load(train=True)


def test_archives_of_splits_hold_one_array_without_a_name_each(tmp_path: Path) -> None:
    train, test = np.arange(24.0).reshape(6, 4), np.arange(8.0).reshape(2, 4)
    np.savez(tmp_path / "train.npz", train)
    np.savez(tmp_path / "test.npz", test)
    source = ArrayFiles(str(tmp_path))
    assert np.array_equal(source.load(train=True).x, train.astype(np.float32))
    assert np.array_equal(source.load(train=False).x, test.astype(np.float32))
    np.savez(tmp_path / "train.npz", train, train)
    with pytest.raises(FileNotFoundError, match=r"images in test\.npz, train\.npz, but arr_0, arr_1; rename one"):
        ArrayFiles(str(tmp_path)).load(train=True)
