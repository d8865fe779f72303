"""Every published family is read from small files in its real format; what is missing or broken is named."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.small_sets import idx_bytes, write_celeba, write_cifar10, write_idx_set, write_svhn
from vae_lab.data import CelebA, Cifar10, FashionMnist, ImageDataModule, ImageSet, Kmnist, Mnist, Svhn
from vae_lab.data.sets import mnist, torchvision_sets
from vae_lab.data.sets.idx import parse_idx, read_idx
from vae_lab.data.summary import summary

IDX_SETS = [(FashionMnist, "FashionMNIST"), (Kmnist, "KMNIST")]


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# MNIST, embedded


@pytest.fixture(scope="module")
def embedded() -> dict[str, bytes]:
    return mnist.unpack(mnist.EMBEDDED)


def test_embedded_mnist_is_the_published_one_byte_for_byte(embedded: dict[str, bytes]) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in embedded.items()}
    assert digests == {  # of the raw files, from the data folder's README
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }


def test_mnist_arrays_hold_the_bytes_of_the_files(embedded: dict[str, bytes]) -> None:
    for train, split, num in ((True, "train", 60_000), (False, "t10k", 10_000)):
        arrays = Mnist().load(train)
        assert arrays.x.shape == (num, 1, 28, 28)
        assert arrays.y is not None
        assert idx_bytes(arrays.x[:, 0]) == embedded[f"{split}-images-idx3-ubyte"]
        assert idx_bytes(arrays.y.astype(np.uint8)) == embedded[f"{split}-labels-idx1-ubyte"]


def test_mnist_has_the_published_numbers_of_each_digit() -> None:
    labels = Mnist().load(train=True).y
    assert labels is not None
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_embedded_file_is_named(tmp_path: Path, damage: str) -> None:
    content = bytearray(mnist.EMBEDDED.read_bytes())
    if damage == "flipped":
        content[len(content) // 3] ^= 1
    path = tmp_path / "mnist.xz"
    path.write_bytes(bytes({"cut": content[:-1000], "flipped": content, "empty": b""}[damage]))
    with pytest.raises(ValueError, match=r"mnist\.xz.*install vae_lab again") as error:
        mnist.unpack(path)
    one_line(error)


def test_other_data_in_a_sound_xz_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mnist.xz"
    path.write_bytes(lzma.compress(bytes(100)))
    with pytest.raises(ValueError, match=r"mnist\.xz: the sha256 of train-images"):
        mnist.unpack(path)


# IDX


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("family", "folder"), IDX_SETS)
def test_idx_sets_are_read_zipped_and_plain(alone: Path, family: type[ImageSet], folder: str, zipped: bool) -> None:
    written = write_idx_set(alone / folder / "raw", zipped)
    for train, split in ((True, "train"), (False, "t10k")):
        arrays = family(str(alone)).load(train)
        np.testing.assert_array_equal(arrays.x[:, 0], written[split][0])
        np.testing.assert_array_equal(arrays.y, written[split][1])


def test_fashion_mnist_is_found_where_debian_puts_it(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian = alone.parent / "usr" / "fashion-mnist"
    written = write_idx_set(debian, zipped=True)
    monkeypatch.setattr(FashionMnist, "elsewhere", {str(debian): "dataset-fashion-mnist"})
    np.testing.assert_array_equal(FashionMnist(str(alone)).load(train=True).x[:, 0], written["train"][0])


def test_data_are_found_in_the_shared_folder_beside_the_working_folder(alone: Path) -> None:
    written = write_idx_set(alone.parent / "shared" / "data" / "KMNIST" / "raw", zipped=True)
    np.testing.assert_array_equal(Kmnist(str(alone)).load(train=False).x[:, 0], written["t10k"][0])


@pytest.mark.parametrize("zipped", [False, True])
def test_a_truncated_idx_file_is_named(alone: Path, zipped: bool) -> None:
    write_idx_set(alone / "KMNIST" / "raw", zipped)
    path = next((alone / "KMNIST" / "raw").glob("train-images*"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{path.name}: corrupt or truncated") as error:
        Kmnist(str(alone)).load(train=True)
    one_line(error)


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x08", b"\x00\x00\x08\x03\x00", b"\x00\x00\x0d\x01" + bytes(8)])
def test_what_is_not_idx_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=r"file: corrupt"):
        read_idx(tmp_path / "file", 3)


def test_bytes_beyond_the_announced_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="announced"):
        parse_idx(idx_bytes(np.zeros((2, 3), np.uint8)) + b"\x00", 2)


def test_an_idx_label_outside_the_classes_is_named(alone: Path) -> None:
    write_idx_set(alone / "KMNIST" / "raw", zipped=False)
    (alone / "KMNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(12, 10, np.uint8)))
    with pytest.raises(ValueError, match=r"kmnist: label 10 is outside the classes 0\.\.9"):
        Kmnist(str(alone)).load(train=True)


def test_as_many_labels_as_images_are_needed(alone: Path) -> None:
    write_idx_set(alone / "KMNIST" / "raw", zipped=False)
    (alone / "KMNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    with pytest.raises(ValueError, match="12 examples, but labels"):
        Kmnist(str(alone)).load(train=True)


# CIFAR-10 and SVHN


def test_cifar10_is_read_from_its_pickles(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_cifar10(alone, monkeypatch)
    train, test = (Cifar10(str(alone)).load(train) for train in (True, False))
    np.testing.assert_array_equal(train.x.reshape(20, -1)[4:8], written["data_batch_2"][0])
    np.testing.assert_array_equal(test.x.reshape(4, -1), written["test_batch"][0])
    assert test.y is not None
    assert test.y.tolist() == written["test_batch"][1]


def test_svhn_is_read_from_matlab_files_and_its_ten_is_zero(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_svhn(alone, monkeypatch)
    arrays = Svhn(str(alone)).load(train=False)
    np.testing.assert_array_equal(arrays.x[3], written["test"][0][..., 3].transpose(2, 0, 1))
    assert arrays.y is not None
    assert arrays.y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


@pytest.mark.parametrize(
    ("family", "write", "file"),
    [(Cifar10, write_cifar10, "cifar-10-batches-py/data_batch_3"), (Svhn, write_svhn, "train_32x32.mat")],
)
def test_a_truncated_file_is_named_and_sound_ones_are_not(alone, monkeypatch, family, write, file) -> None:  # type: ignore[no-untyped-def]
    write(alone, monkeypatch)
    (alone / file).write_bytes((alone / file).read_bytes()[:-10])
    with pytest.raises(ValueError, match="corrupt or truncated") as error:
        family(str(alone)).load(train=True)
    assert one_line(error).count(str(alone)) == 1
    assert str(alone / file) in str(error.value)


# CelebA


def test_celeba_splits_labels_and_pictures(alone: Path) -> None:
    write_celeba(alone)
    faces = CelebA(str(alone), image_size=8, attribute="Smiling")
    train, test = faces.load(train=True), faces.load(train=False)
    in_test = [3, 7, 11]
    in_train = [i for i in range(12) if i not in in_test]
    np.testing.assert_allclose(test.x.mean(axis=(1, 2, 3)), [20 * i for i in in_test], atol=2)
    np.testing.assert_allclose(train.x.mean(axis=(1, 2, 3)), [20 * i for i in in_train], atol=2)
    assert train.y is not None
    assert train.y.tolist() == [int(i % 3 > 0) for i in in_train]
    assert CelebA(str(alone)).num_classes == 0
    assert CelebA(str(alone)).load(train=False).y is None


@pytest.mark.parametrize("variant", ["no number", "commas", "0 and 1", "windows", "partition with a head"])
def test_copies_of_celeba_in_other_forms_say_the_same(alone: Path, variant: str) -> None:
    write_celeba(alone)
    path, partition = (alone / "celeba" / name for name in ("list_attr_celeba.txt", "list_eval_partition.txt"))
    expected = CelebA(str(alone), image_size=8, attribute="Smiling").load(train=True)
    number, names, *rows = path.read_text().splitlines()
    comma = [",".join(row.split()) for row in (f"image_id {names}", *rows)]
    forms = {
        "no number": [names, *rows],
        "commas": comma,
        "0 and 1": [number, names, *(row.replace("-1", " 0") for row in rows)],
        "windows": [f"{line}\r" for line in (number, names, *rows)],
        "partition with a head": [number, names, *rows],
    }
    path.write_text("\n".join(forms[variant]) + "\n")
    if variant == "partition with a head":
        partition.write_text("image_id,partition\n" + partition.read_text().replace(" ", ","))
    found = CelebA(str(alone), image_size=8, attribute="Smiling").load(train=True)
    assert np.array_equal(found.y, expected.y)
    assert np.array_equal(found.names, expected.names)


def test_celeba_without_names_has_the_published_ones(alone: Path) -> None:
    write_celeba(alone)
    path = alone / "celeba" / "list_attr_celeba.txt"
    path.write_text(
        "".join(f"{i:06d}.jpg {' '.join(['-1'] * 20 + [str((-1) ** i)] + ['1'] * 19)}\n" for i in range(12))
    )
    male = CelebA(str(alone), image_size=8, attribute="Male").load(train=False)
    assert male.y.tolist() == [0, 0, 0], "pictures 3, 7 and 11"
    path.write_text("12\n" + path.read_text().replace(" 1", " 0", 1))
    with pytest.raises(ValueError, match="corrupt: -1 where one of 0, 1 should be"):
        CelebA(str(alone), image_size=8, attribute="Bald").load(train=False)
    path.write_text("13\n" + "".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match="truncated: announces 13 pictures and has 12"):
        CelebA(str(alone), image_size=8, attribute="Male").load(train=False)


def test_celeba_is_cropped_to_the_centre(alone: Path) -> None:
    paths = write_celeba(alone)
    framed = Image.new("RGB", (178, 218), "white")
    framed.paste(Image.new("RGB", (148, 148), "black"), (15, 35))
    framed.save(paths[3], quality=100)
    assert CelebA(str(alone), image_size=16).load(train=False).x[0].max() < 16
    assert CelebA(str(alone), image_size=16, crop=178).load(train=False).x[0].max() > 240


def test_an_unknown_attribute_is_answered_with_the_known_ones(alone: Path) -> None:
    write_celeba(alone)
    with pytest.raises(ValueError, match="attribute=Beard: choose one of Male, Smiling"):
        CelebA(str(alone), attribute="Beard").load(train=True)


def test_broken_celeba_files_are_named(alone: Path) -> None:
    paths = write_celeba(alone)
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    with pytest.raises(ValueError, match=r"000003\.jpg"):
        CelebA(str(alone)).load(train=False)
    paths[3].unlink()
    with pytest.raises(FileNotFoundError, match=r"000003\.jpg"):
        CelebA(str(alone)).load(train=False)
    partition = alone / "celeba" / "list_eval_partition.txt"
    partition.write_text(partition.read_text()[:-3])
    with pytest.raises(ValueError, match=r"list_eval_partition\.txt: corrupt or truncated in line 12"):
        CelebA(str(alone)).load(train=False)
    partition.write_text("000000.jpg 0\n")
    with pytest.raises(ValueError, match=r"list_eval_partition\.txt: names no picture of the test set"):
        CelebA(str(alone)).load(train=False)


# Missing files and downloads


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("family", [FashionMnist, Kmnist, Cifar10, Svhn, CelebA])
def test_missing_files_without_a_network_are_one_clear_error(alone: Path, family: type[ImageSet]) -> None:
    with pytest.raises(FileNotFoundError) as error:
        family(str(alone)).load(train=True)
    text = one_line(error)
    expected = {"cifar10": "data_batch_1", "svhn": "train_32x32.mat", "celeba": "list_attr_celeba.txt"}
    assert text.startswith(f"{family.name}: not found in {alone}")
    assert expected.get(family.name, "train-images-idx3-ubyte") in text
    assert text.endswith("set data.root=FOLDER or VAE_LAB_DATA=FOLDER")
    assert ("install Debian's package dataset-fashion-mnist" in text) == (family is FashionMnist)
    assert not list(alone.rglob("*"))


def test_an_interrupted_download_is_not_taken_for_a_good_one(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: str, download: bool) -> None:
        write_idx_set(Path(folder) / "KMNIST" / "raw", zipped=False)
        raise KeyboardInterrupt

    interrupted.resources, interrupted.__name__ = Kmnist.source.resources, "KMNIST"  # type: ignore[attr-defined]
    monkeypatch.setattr(Kmnist, "source", staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        Kmnist(str(alone)).prepare()
    assert not list(alone.rglob("*"))


def test_a_download_completes_a_folder_that_lacks_a_file(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(folder: str, download: bool) -> None:
        write_idx_set(Path(folder) / "KMNIST" / "raw", zipped=False)

    download.resources, download.__name__ = Kmnist.source.resources, "KMNIST"  # type: ignore[attr-defined]
    monkeypatch.setattr(Kmnist, "source", staticmethod(download))
    write_idx_set(alone / "KMNIST" / "raw", zipped=False)
    (alone / "KMNIST" / "raw" / "train-images-idx3-ubyte").unlink()
    Kmnist(str(alone)).prepare()
    assert len(Kmnist(str(alone)).load(train=True)) == 12
    assert len(list(alone.rglob("*ubyte"))) == len(list(alone.rglob("*.*"))) + 4


# Sizes


def test_images_are_resized_once_to_what_the_shape_promised() -> None:
    small = Mnist(image_size=7)
    arrays, original = small.load(train=False), Mnist().load(train=False)
    assert small.shape == arrays.x.shape[1:] == (1, 7, 7)
    assert arrays.x.dtype == np.uint8
    np.testing.assert_allclose(arrays.x[:50].mean((2, 3)), original.x[:50].mean((2, 3)), atol=12)


@pytest.mark.parametrize("bad", [{"image_size": 0}, {"memory_limit_gb": -1.0}])
def test_bad_values_are_named(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Mnist(**bad)  # type: ignore[arg-type]


def test_no_published_family_is_forgotten_here() -> None:
    published = {cls for cls in vars(torchvision_sets).values() if isinstance(cls, type) and "name" in vars(cls)}
    assert published == {FashionMnist, Kmnist, Cifar10, Svhn}


def test_a_set_that_is_not_under_the_root_says_where_it_was_found(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_LAB_DATA", str(alone / "shared"))
    write_idx_set(alone / "shared" / "FashionMNIST" / "raw", zipped=False)

    def said(images: type[ImageSet], root: Path) -> str:
        return summary(ImageDataModule(images, str(root), val_size=1)).splitlines()[0]

    found = f"fashion_mnist in {alone / 'shared' / 'FashionMNIST' / 'raw'}"
    assert f"{found}: 1 x 28" in said(FashionMnist, alone / "shared")
    assert f"{found} (nothing is read from {alone / 'typed'}): 1 x 28" in said(FashionMnist, alone / "typed")
    assert f"mnist (nothing is read from {alone / 'typed'}): 1 x 28" in said(Mnist, alone / "typed")
    assert "mnist: 1 x 28" in said(Mnist, Path("data"))
