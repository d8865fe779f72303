"""Attributes and numbers of examples, from every source that has them, and what is wrong with them in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.data.small_sets import write_celeba
from vae_lab.data import ArrayFiles, CelebA, ImageDataModule, Sprites
from vae_lab.data.array.memory import ArraysInMemory
from vae_lab.data.summary import summary
from vae_lab.types import DataSpec

N = 40
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 6, 5), np.uint8)
FLAGS = RNG.integers(0, 2, (N, 2))
NUMBERS = RNG.normal([3.0, -100.0], [2.0, 50.0], (N, 2))
LABELS = np.array(["cat", "dog"] * (N // 2))


def save(folder: Path, **arrays: Any) -> None:
    for name, array in arrays.items():
        if name.endswith("_names"):
            (folder / f"{name}.txt").write_text("\n".join(array) + "\n")
        else:
            np.save(folder / f"{name}.npy", array)


def data(root: Path | str, **options: Any) -> ImageDataModule:
    return ImageDataModule(ArrayFiles, root=str(root), batch_size=10, val_size=4, **options)


def test_labels_attributes_and_numbers_stand_side_by_side(tmp_path: Path) -> None:
    save(tmp_path, train_images=IMAGES, train_labels=LABELS, train_attributes=FLAGS, train_numbers=NUMBERS)
    save(tmp_path, attribute_names=["smiling", "glasses"], number_names=["size", "depth"])
    module = data(tmp_path)
    spec = module.spec
    assert spec.context_names == ("cat", "dog", "smiling", "glasses", "size", "depth")
    arrays, rows = module.split("train")
    values = arrays.y[rows]
    assert values.dtype == np.float32
    assert spec.numbers_scaling.mean == pytest.approx(values[:, 4:].mean(0, dtype=np.float64).tolist())
    assert spec.numbers_scaling.scale == pytest.approx(values[:, 4:].std(0, dtype=np.float64).tolist())
    assert spec.numbers_range == tuple(zip(values[:, 4:].min(0), values[:, 4:].max(0), strict=True))
    everything = {tuple(row) for split in ("train", "val", "test") for row in y_of(module, split)}
    one_hot = np.eye(2)[(LABELS == "dog").astype(int)]
    assert everything == {tuple(row) for row in np.concatenate([one_hot, FLAGS, NUMBERS], 1).astype(np.float32)}


def y_of(module: ImageDataModule, split: Any) -> list[list[float]]:
    arrays, rows = module.split(split)
    return arrays.y[rows].tolist()


def test_attributes_or_numbers_alone_need_no_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=IMAGES, train_attrs=FLAGS.astype(bool), x_test=IMAGES, test_attrs=FLAGS == 1)
    assert data(tmp_path / "a.npz").spec.context_names == ("attribute_0", "attribute_1")
    np.savez(tmp_path / "b.npz", images=IMAGES, conditions=NUMBERS[:, 0])
    spec = data(tmp_path / "b.npz").spec
    assert (spec.numbers, spec.num_classes, spec.context_features) == (("number_0",), 0, 1)
    batch = data(tmp_path / "b.npz").examples(3)
    assert (batch.y.dtype, batch.y.shape) == (torch.float32, (3, 1))


def wrong(array: Any, row: int, column: int, value: float) -> Any:
    changed = array.astype(np.float64)
    changed[row, column] = value
    return changed


BAD: list[tuple[dict[str, Any], str]] = [
    ({"train_attributes": wrong(FLAGS, 3, 1, 2)}, "train_attributes.npy: 2.0 in row 3, column glasses: an attribute"),
    ({"train_attributes": wrong(FLAGS, 3, 1, np.nan)}, "train_attributes.npy: nan in row 3, column glasses: an attri"),
    ({"train_numbers": wrong(NUMBERS, 7, 0, np.nan)}, "train_numbers.npy: nan in row 7, column size: must be a finite"),
    ({"train_numbers": wrong(NUMBERS, 7, 1, 1e300)}, "train_numbers.npy: 1e+300 in row 7, column depth: must be a fi"),
    ({"train_numbers": NUMBERS[:-1]}, "train_numbers.npy: 39 numbers for 40 examples"),
    ({"train_attributes": LABELS}, "attribute_names.txt: 2 names, but"),
    ({"train_numbers": NUMBERS.astype(str)}, "train_numbers.npy: <U32 (40, 2), expected numbers, (N, 2)"),
    ({"number_names": ["size"]}, "number_names.txt: 1 names, but"),
    ({"number_names": ["size", "size"]}, "number_names.txt: must have one name per line"),
    ({"number_names": ["size", "smiling"]}, "the name smiling occurs twice"),
    ({"test_images": IMAGES, "test_attributes": FLAGS}, "test_images.npy: no test_numbers beside it, but the training"),
    ({"train_numbers": wrong(NUMBERS, 0, 1, 0) * 0 + 1e9 + 0.01 * NUMBERS}, "column size: values around 1e+09"),
]  # fmt: skip


def checked(folder: Path) -> DataSpec:
    module = data(folder)
    module.setup()
    return module.spec


@pytest.mark.parametrize(("arrays", "message"), BAD, ids=range(len(BAD)))
def test_bad_conditions_are_refused_before_training_by_file_row_and_column(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save(tmp_path, train_images=IMAGES, train_attributes=FLAGS, train_numbers=NUMBERS)
    save(tmp_path, attribute_names=["smiling", "glasses"], number_names=["size", "depth"])
    save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        checked(tmp_path)
    assert "\n" not in str(caught.value)


def test_names_without_their_array_are_refused(tmp_path: Path) -> None:
    save(tmp_path, train_images=IMAGES, number_names=["size"])
    with pytest.raises(ValueError, match=r"names of numbers, but .*train_numbers.npy is missing"):
        data(tmp_path).spec  # noqa: B018


def test_a_number_that_is_constant_is_warned_of_and_kept(tmp_path: Path) -> None:
    save(tmp_path, train_images=IMAGES, train_numbers=np.full(N, 0.1))
    with pytest.warns(UserWarning, match="constant in the training split: number_0"):
        assert data(tmp_path).spec.numbers_scaling == ((pytest.approx(0.1),), (1.0,))


def test_data_of_a_run_keep_the_scaling_that_it_recorded(tmp_path: Path) -> None:
    save(tmp_path, train_images=IMAGES, train_numbers=NUMBERS)
    recorded = data(tmp_path).spec
    save(tmp_path, train_numbers=2 * NUMBERS)
    module = data(tmp_path)
    module.keep_scaling(recorded)
    assert module.spec == recorded
    save(tmp_path, train_numbers=NUMBERS[:, :1])
    module = data(tmp_path)
    module.keep_scaling(recorded)
    with pytest.raises(ValueError, match="numbers number_0, number_1, but those of the data are number_0"):
        recorded.check_data(module.spec)


def test_examples_are_chosen_by_their_attributes(tmp_path: Path) -> None:
    save(tmp_path, train_images=IMAGES, train_labels=LABELS, train_attributes=FLAGS)
    module = data(tmp_path)
    found = module.examples(100, "train", [{1: 1.0, 2: 0.0}])
    assert len(found.y)
    assert (found.y[:, 1] == 1).all()
    assert (found.y[:, 2] == 0).all()
    assert len(module.examples(100, "train", [0]).y) + len(module.examples(100, "train", [1]).y) == 32


def test_arrays_in_memory_have_conditions_too() -> None:
    frame = pd.DataFrame(NUMBERS, columns=["size", "depth"])
    conditions = {"labels": LABELS, "attributes": FLAGS, "numbers": frame}
    source = ArrayFiles()
    source.hold(ArraysInMemory((IMAGES, conditions)))
    assert source.numbers == ("size", "depth")
    assert source.load(train=True).y.shape == (36, 6)
    with pytest.raises(ValueError, match="y: 'number' is not a kind of condition; give labels, attributes, numbers"):
        ArraysInMemory((IMAGES, {"number": NUMBERS}))
    with pytest.raises(ValueError, match=r"y\[numbers\]: 3 numbers for 40 examples"):
        ArraysInMemory((IMAGES, {"numbers": NUMBERS[:3]}))
    one, other = (ArraysInMemory((IMAGES, {"numbers": n})).description()["fingerprint"] for n in (NUMBERS, NUMBERS + 1))
    assert one != other


SMALL = partial(Sprites, num_scales=3, num_orientations=2, num_positions=4)


def sprites(*condition: str) -> tuple[DataSpec, Any, Any]:
    module = ImageDataModule(partial(SMALL, condition=list(condition)), val_size=20)
    arrays, rows = module.split("train")
    return module.spec, None if arrays.y is None else arrays.y[rows], arrays.factors[rows]


def test_sprites_have_conditions_of_their_factors() -> None:
    spec, y, factors = sprites("scale", "y", "shape", "large", "low")
    assert spec.context_names == ("square", "ellipse", "heart", "large", "low", "scale", "y")
    scale, y_position = np.linspace(0.5, 1, 3)[factors[:, 1]], np.linspace(0, 1, 4)[factors[:, 4]]
    assert np.array_equal(y[:, :3].argmax(1), factors[:, 0])
    assert np.array_equal(y[:, 3], scale > 0.75)
    assert np.array_equal(y[:, 4], y_position > 0.5)
    assert np.allclose(y[:, 5:], np.stack([scale, y_position], 1))
    spec, y, factors = sprites("heart", "right")
    assert (spec.num_classes, spec.attributes) == (0, ("heart", "right"))
    assert np.array_equal(y[:, 0], factors[:, 0] == 2)
    spec, y, factors = sprites("shape")
    assert not spec.vector_condition
    assert np.array_equal(y, factors[:, 0])
    assert sprites()[1] is None


def test_a_low_sprite_is_low_and_a_right_one_right() -> None:
    module = ImageDataModule(partial(SMALL, condition=["right", "low"]), val_size=20)
    batch = module.examples(100)
    places = torch.linspace(-1, 1, 64)
    x, y = ((batch.x[:, 0].sum(axis) * places).sum(1) for axis in (1, 2))
    assert torch.equal(x > 0, batch.y[:, 0] == 1)
    assert torch.equal(y > 0, batch.y[:, 1] == 1)


@pytest.mark.parametrize(
    ("condition", "message"),
    [(["colour"], "colour is unknown; choose from shape, scale"), (["shape", "heart"], "name one of both")],
)
def test_sprites_refuse_other_conditions(condition: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sprites(condition=condition)


def test_celeba_gives_its_attributes_as_a_condition(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    make: Callable[..., CelebA] = partial(CelebA, str(tmp_path), image_size=4)
    both = make(attributes=["Smiling", "Male"])
    y = both.load(train=True).y
    assert both.attributes == ("Smiling", "Male")
    assert (y.dtype, y.ndim) == (np.float32, 2)
    for column, name in enumerate(both.attributes):
        assert np.array_equal(y[:, column], make(attribute=name).load(train=True).y)
    assert len(make(attributes="all").attributes) == 40
    with pytest.raises(ValueError, match="Smile is unknown; choose from 5_o_Clock_Shadow"):
        make(attributes=["Smile"])
    with pytest.raises(ValueError, match="attribute=Male: attributes=all are the condition; name one of both"):
        make(attribute="Male", attributes="all")


def test_attributes_that_all_training_examples_share_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "train.npy", rng.normal(size=(40, 3)))
    np.save(tmp_path / "train_attributes.npy", np.stack([np.ones(40), np.arange(40) % 2, np.zeros(40)], axis=1))
    lines = summary(ImageDataModule(ArrayFiles, root=str(tmp_path), val_size=5)).splitlines()
    found = [line for line in lines if line.startswith("attributes")]
    names = "attribute_0, attribute_2"
    assert found == [f"attributes   the same in all training examples ({names}), so that nothing is learned of it"]
