"""Classes have names: each data set tells its own, a run writes them down, and other names are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import vae_lab.encode
import vae_lab.evaluate
import vae_lab.sample
from tests.conftest import FAST, Outcome
from tests.data.small_sets import image_set
from tests.explorer.asking import Page
from vae_lab.data import ArrayFiles, Cifar10, FashionMnist, ImageDataModule, ImageFolder, Kmnist, Mnist, Sprites, Svhn
from vae_lab.types import DataSpec, listed

RUN = (*FAST, "model=cvae", "latent_dim=2", "network=mlp", "data.image_size=8", "data=image_folder")


def folder_of(root: Path, *classes: str, number: int = 6) -> Path:
    """Pictures in class folders, each class of its own grey."""
    for grey, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(number):
            Image.new("L", (8, 8), 40 * grey + i).save(root / name / f"{i}.png")
    return root


def arrays_of(root: Path, names: str | bytes | None, classes: int = 3) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "train_images.npy", np.zeros((12, 4, 4), np.uint8))
    np.save(root / "train_labels.npy", np.arange(12) % classes)
    if names is not None:
        (root / "class_names.txt").write_bytes(names.encode() if isinstance(names, str) else names)
    return root


# What data sets and specs say


@pytest.mark.parametrize(
    ("family", "some"),
    [
        (Mnist, {3: "3"}),
        (Svhn, {0: "0", 9: "9"}),
        (FashionMnist, {0: "T-shirt/top", 9: "Ankle boot"}),
        (Kmnist, {0: "o", 9: "wo"}),
        (Cifar10, {0: "airplane", 3: "cat", 9: "truck"}),
        (Sprites, {0: "square", 2: "heart"}),
    ],
)
def test_published_sets_have_the_official_names(family: type, some: dict[int, str]) -> None:
    spec = ImageDataModule(family).spec
    assert len(spec.class_names) == spec.num_classes
    assert {y: spec.name_of(y) for y in some} == some


def test_a_spec_becomes_plain_data_and_returns() -> None:
    spec = DataSpec((1, 4, 4), 3, "uint8", ("1", "yes", "ü/x"))
    assert DataSpec.from_plain(yaml.safe_load(yaml.safe_dump(spec.plain()))) == spec
    older = {"shape": [1, 4, 4], "num_classes": 3, "support": "uint8"}
    unnamed = DataSpec.from_plain(older)
    assert unnamed.class_names == ()
    assert unnamed.name_of(2) == "2"
    unnamed.check_data(spec)  # of an older run: only the number is known


@pytest.mark.parametrize(
    ("names", "message"), [(("a", "b"), "3 classes need as many names"), (("a", "b", "a"), "the name a occurs twice")]
)
def test_names_are_one_for_each_class(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSpec((1,), 3, class_names=names)


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (DataSpec((1, 4, 4), 2, "unit", ("b", "a")), ["a, b", "b, a"]),
        (DataSpec((1, 4, 4), 2, "unit", ("b", "zebra")), ["a, b", "b, zebra"]),
        (DataSpec((1, 4, 4), 2, "unit"), ["a, b", "have no names"]),
        (DataSpec((1, 4, 4), 3, "unit", ("a", "b", "c")), ["num_classes=2", "num_classes=3", "a, b, c"]),
        (DataSpec((3, 4, 4), 2, "unit", ("a", "b")), ["shape=(1, 4, 4)", "shape=(3, 4, 4)"]),
    ],
)
def test_other_data_are_refused_by_what_differs(other: DataSpec, parts: list[str]) -> None:
    spec = DataSpec((1, 4, 4), 2, "unit", ("a", "b"))
    spec.check_data(DataSpec((1, 4, 4), 2, "unit", ("a", "b")))
    with pytest.raises(ValueError, match=r"^data_root=x: the model was trained for") as refused:
        spec.check_data(other, "data_root=x: ")
    assert all(part in str(refused.value) for part in parts)


def test_of_a_thousand_names_the_one_that_differs_is_shown() -> None:
    names = [f"class {i}" for i in range(1000)]
    spec = DataSpec((1,), 1000, class_names=tuple(names))
    names[437] = "zebra"
    with pytest.raises(ValueError, match="class 437 was class 437, is zebra") as refused:
        spec.check_data(DataSpec((1,), 1000, class_names=tuple(names)))
    assert len(str(refused.value)) < 800
    assert listed(names).endswith("(1000 in all)")


# Files of one's own


def test_folders_are_the_names(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "10", "2", "Ärger", "a b", "line\nfeed")
    spec = ImageDataModule(partial(ImageFolder, channels=1), root=str(root)).spec
    assert spec.class_names == ("10", "2", "a b", r"line\nfeed", "Ärger")


def test_decomposed_names_of_another_file_system_are_the_same(tmp_path: Path) -> None:
    spelt = [
        ImageDataModule(ImageFolder, root=str(folder_of(tmp_path / str(i), name, "f", "z"))).spec
        for i, name in enumerate(("\u00e9", "e\u0301"))
    ]
    assert spelt[0] == spelt[1]
    assert spelt[0].class_names == ("f", "z", "\u00e9")


def test_arrays_take_names_from_a_file(tmp_path: Path) -> None:
    assert ImageDataModule(ArrayFiles, root=str(arrays_of(tmp_path / "none", None))).spec.class_names == ()
    named = ImageDataModule(
        ArrayFiles, root=str(arrays_of(tmp_path / "named", "\ufeffcat\r\nred dog \nwolf\nfox\n"))
    ).spec
    assert (named.num_classes, named.class_names) == (4, ("cat", "red dog", "wolf", "fox"))


@pytest.mark.parametrize("names", ["", "a\n\nb\n", "a\nb\na\n", b"\xff\xfe"])
def test_a_bad_file_of_names_is_refused(tmp_path: Path, names: str | bytes) -> None:
    data = ImageDataModule(ArrayFiles, root=str(arrays_of(tmp_path, names)))
    with pytest.raises(ValueError, match=r"class_names\.txt"):
        _ = data.spec


def test_names_without_labels_or_too_few_are_refused(tmp_path: Path) -> None:
    root = arrays_of(tmp_path, "a\nb\n")
    with pytest.raises(ValueError, match="label 2 is not one of the 2 classes"):
        ArrayFiles(str(root)).load(train=True)
    (root / "train_labels.npy").unlink()
    with pytest.raises(ValueError, match=r"class_names\.txt: names of classes, but .*train_labels\.npy is missing"):
        _ = ArrayFiles(str(root)).class_names


def test_a_set_without_names_has_numbers() -> None:
    spec = ImageDataModule(image_set()).spec
    assert (spec.class_names, spec.name_of(7)) == ((), "7")


# A run and other data


def test_a_run_refuses_other_classes_wherever_it_meets_them(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    data = folder_of(tmp_path / "ab", "a", "b")
    assert train(*RUN, "logger=none", f"data.root={data}", f"hydra.run.dir={run}").code == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["spec"]["class_names"] == ["a", "b"]

    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    other = folder_of(tmp_path / "other", "b", "zebra")
    words = (f"run={run}", f"data_root={other}")
    quick = ("trainer=cpu", "num_samples=2", "elbo_samples=1", "trainer.enable_progress_bar=false")
    outcomes = [
        command(vae_lab.evaluate.main, *words, *quick),
        command(vae_lab.sample.main, *words, "what=reconstructions"),
        train(f"resume={run}", f"data.root={other}", "resume_changed=true", "trainer.max_epochs=2"),
    ]
    (data / "a").rename(data / "c")  # the same folder, with other classes in it
    outcomes.append(train(f"resume={run}", "trainer.max_epochs=2"))
    for outcome in outcomes:
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1, outcome.err
        assert "trained for the classes a, b, but those of the data are b, " in outcome.error_lines[0]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_labels_with_other_numbers_than_those_of_the_run_are_refused(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Labels 1, 2, 3 are as many classes as 0, 1, 2, and class 1 was taken for 0."""
    run, quick = tmp_path / "run", ("trainer=cpu", "num_samples=2", "trainer.enable_progress_bar=false")
    for first in (0, 1):
        (tmp_path / str(first)).mkdir()
        np.save(tmp_path / str(first) / "train.npy", np.random.default_rng(0).normal(size=(60, 4)))
        np.save(tmp_path / str(first) / "train_labels.npy", np.arange(60) % 3 + first)
    own = ("data=array", f"data.root={tmp_path / '0'}", "model=cvae", f"hydra.run.dir={run}", "network.widths=[8]")
    assert train(*FAST, "logger=none", *own).code == 0
    outcomes = [
        command(vae_lab.evaluate.main, f"run={run}", f"data_root={tmp_path / '1'}", *quick),
        command(vae_lab.encode.main, f"run={run}", f"data_root={tmp_path / '1'}", "out=part.npz", *quick),
        train(f"resume={run}", f"data.root={tmp_path / '1'}", "resume_changed=true", "trainer.max_epochs=2"),
    ]
    for outcome in outcomes:
        (line,) = outcome.error_lines
        assert "trained for the labels 0, 1, 2, but those of the data are 1, 2, 3; number them alike" in line
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["spec"]["class_names"]  # as in runs of older versions, which did not record names
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert command(vae_lab.evaluate.main, f"run={run}", f"data_root={tmp_path / '1'}", *quick).code == 0


def test_a_folder_with_some_of_the_classes_has_the_labels_of_the_run(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    names = ("a", "b", "c")
    data = folder_of(tmp_path / "abc", *names)
    assert train(*RUN, "logger=none", f"data.root={data}", f"hydra.run.dir={run}").code == 0
    part = folder_of(tmp_path / "part", *names)
    shutil.rmtree(part / "b")
    quick = ("trainer=cpu", "trainer.enable_progress_bar=false")
    outcome = command(vae_lab.encode.main, f"run={run}", f"data_root={part}", "out=part.npz", *quick)
    assert outcome.code == 0, outcome.err
    assert command(vae_lab.encode.main, f"run={run}", f"data_root={data}", "split=all", "out=all.npz", *quick).code == 0
    with np.load("part.npz") as found, np.load("all.npz") as known:
        assert found["label"].tolist() == ["a"] * 6 + ["c"] * 6
        of_file = dict(zip(known["file"].tolist(), known["mean_1"], strict=True))
        expected = np.stack([of_file[name] for name in found["file"].tolist()])
        assert np.allclose(found["mean_1"], expected, atol=1e-6)  # under the label c of the run, not its second
    for outcome in (
        command(vae_lab.evaluate.main, f"run={run}", f"data_root={part}", "num_samples=2", *quick),
        command(vae_lab.sample.main, f"run={run}", f"data_root={part}", "what=reconstructions", "y=c"),
    ):
        assert outcome.code == 0, outcome.err
    (part / "c").rename(part / "zebra")
    outcome = command(vae_lab.evaluate.main, f"run={run}", f"data_root={part}", "num_samples=2", *quick)
    assert outcome.error_lines[0].endswith("; rename zebra to one of the model's, or take it away")


def test_names_in_another_order_have_the_labels_of_the_run(tmp_path: Path) -> None:
    recorded = ImageDataModule(ArrayFiles, root=str(arrays_of(tmp_path / "run", "cat\ndog\nfox\n"))).spec
    root = arrays_of(tmp_path / "other", "fox\ncat\n", 2)
    np.save(root / "train_images.npy", np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4))
    data = ImageDataModule(ArrayFiles, root=str(root), val_size=2)
    data.keep_scaling(recorded, classes=True)
    assert data.spec.class_names == ("cat", "dog", "fox")
    assert data.unseen_classes() == [1]
    train = data.split("train").arrays
    of_file = np.load(root / "train_labels.npy")[train.x[:, 0, 0, 0] // 16]
    assert train.y is not None
    assert train.y.tolist() == np.array([2, 0])[of_file].tolist()


def test_an_older_run_without_names_still_opens(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    root = folder_of(tmp_path / "ab", "a", "b")
    assert train(*RUN, "logger=none", f"data.root={root}", f"hydra.run.dir={run}").code == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["spec"]["class_names"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert command(vae_lab.sample.main, f"run={run}", "what=reconstructions").code == 0
    assert train(f"resume={run}", "trainer.max_epochs=2").code == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["spec"]["class_names"] == ["a", "b"]


def test_sizes_of_another_kind_are_named_by_their_own_key() -> None:
    with pytest.raises(TypeError, match=r"^categories=3: a int, must be integers, such as \(3, 2\)$"):
        DataSpec((5,), support="real", categories=3)
    with pytest.raises(TypeError, match=r"^shape=5: a int, must be integers, such as \(1, 28, 28\)$"):
        DataSpec(5)


def test_an_unconditional_run_shows_other_data_by_their_own_classes(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Class 0 of other data was shown under the name of the run's class 0."""
    run, roots = tmp_path / "run", {name: tmp_path / name for name in ("own", "other")}
    for root, classes in zip(roots.values(), (["a", "b"], ["x", "y", "z"]), strict=True):
        root.mkdir()
        x = np.random.default_rng(0).normal(size=(60, 3))
        np.save(root / "train.npy", x), np.save(root / "train_labels.npy", np.resize(classes, 60))
    own = ("data=array", f"data.root={roots['own']}", "model=vae", f"hydra.run.dir={run}", "network.widths=[8]")
    assert train(*FAST, "logger=none", *own).code == 0
    outcome = command(vae_lab.sample.main, f"run={run}", f"data_root={roots['other']}", "what=reconstructions", "out=s")
    assert outcome.code == 0, outcome.err
    (table,) = Path("s").glob("*.csv")
    assert {line.rpartition(",")[2] for line in table.read_text().splitlines()} == {"class", "x", "y", "z"}
    page = Page(run, data_root=str(roots["other"]))
    assert page.ask("map", level=0, view="pca")["names"] == ["x", "y", "z"]
    assert {page.ask("example", example=i)["label"] for i in range(9)} == {"x", "y", "z"}
