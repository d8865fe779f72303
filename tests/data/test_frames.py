"""Columns of data frames are matched by name: in the other splits of a training, and in a trained run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from vae_lab.data import ArrayFiles
from vae_lab.data.array.memory import ArraysInMemory, numbers_of_frame
from vae_lab.distributions import Gaussian
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.runs.run import Run
from vae_lab.types import DataSpec, Scaling

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"big": 1000 + RNG.normal(size=40), "small": RNG.normal(size=40)})
SWAPPED = FRAME[["small", "big"]]
LABELS = pd.Series(["cat", "dog", "eel", "dog"] * 10)
DUMMIES = pd.get_dummies(pd.Series(["cat", "dog", "eel", "dog"] * 10))


def source(*splits: Any) -> ArrayFiles:
    found = ArrayFiles()
    found.hold(ArraysInMemory(*splits))
    return found


def test_the_splits_have_the_columns_of_training() -> None:
    numbers = {"numbers": FRAME}
    found = source((FRAME, numbers), (SWAPPED, {"numbers": SWAPPED}), (FRAME.assign(other="a"), numbers))
    train, val, test = found.load(train=True), found.load_val(), found.load(train=False)
    for arrays in (val, test):
        assert np.array_equal(arrays.x, train.x)
        assert np.array_equal(arrays.y, train.y)
    unnamed = source((FRAME, None), (FRAME.to_numpy(), None), (pd.DataFrame(FRAME.to_numpy()), None))
    assert np.array_equal(unnamed.load_val().x, unnamed.load(train=False).x)
    renamed = SWAPPED.rename(columns={"big": "tall"})
    with pytest.raises(ValueError, match="val x: no column big; the model was trained on big, small"):
        source((FRAME, None), (renamed, None))
    with pytest.raises(ValueError, match=r"test y\[numbers\]: no column big"):
        source((FRAME, numbers), None, (FRAME, {"numbers": renamed}))
    with pytest.raises(ValueError, match="x: the column a occurs twice"):
        source((FRAME.set_axis(["a", "a"], axis=1), None))


def test_genes_and_one_hot_labels_are_matched_by_name_too() -> None:
    anndata = pytest.importorskip("anndata")
    cells = anndata.AnnData(FRAME.to_numpy(), var=pd.DataFrame(index=["g1", "g2"]))
    labels = DUMMIES[["eel", "cat", "dog"]]
    found = source((cells, DUMMIES), (cells[:, ["g2", "g1"]].copy(), labels))
    assert found.class_names == ("cat", "dog", "eel")
    train, val = found.load(train=True), found.load_val()
    order = np.argsort(val.x[:, 1])[:5]
    assert np.array_equal(val.x[order], np.float32(FRAME.to_numpy())[order])
    assert np.array_equal(val.y, [0, 1, 2, 1] * 10)
    assert set(train.y) <= {0, 1, 2}
    with pytest.raises(ValueError, match="val y: no column eel"):
        source((FRAME, DUMMIES), (FRAME, DUMMIES[["cat", "dog"]]))


@pytest.mark.parametrize("codes", [pd.Series(["01", "2"] * 20), pd.Series(pd.Categorical(["1", "2"] * 20))])
def test_strings_of_digits_are_no_numbers(codes: pd.Series) -> None:
    with pytest.raises(
        ValueError, match="x: column code holds object and not numbers; save the table and use data=table"
    ):
        source((FRAME.assign(code=codes), None))
    holes = pd.Series([1, None] * 20, dtype=object)
    assert np.isnan(numbers_of_frame("x", FRAME.assign(code=holes))[:, 2]).sum() == 20


def test_tables_of_arrow_are_frames() -> None:
    table = pa.table(SWAPPED)
    found = source((FRAME, pa.array(LABELS)), (table, LABELS), (table.to_batches()[0], LABELS))
    for arrays in (found.load_val(), found.load(train=False)):
        assert np.array_equal(arrays.x, found.load(train=True).x)
    assert source((table, None)).columns == ("small", "big")
    assert np.array_equal(run(False).encode(table)[0].mean, run(False).encode(FRAME)[0].mean)
    holes = pa.table({"small": pa.array([1, None] * 20), "big": FRAME["big"]})
    with pytest.raises(ValueError, match=r"x: 20 missing values, the first in row 1, column small"):
        source((holes, None)).load(train=True)
    with pytest.raises(ValueError, match="val x: no column big"):
        source((FRAME, None), (table.select(["small"]), None))


def run(conditional: bool = True, **spec: Any) -> Run:
    torch.manual_seed(0)
    data = DataSpec(**{"shape": (2,), "support": "real", "columns": ("big", "small"), **spec})
    network = MlpArchitecture([8])
    return Run(VAE(data, 2, network, Gaussian, conditional=conditional).eval(), {})


def test_a_run_takes_frames_in_any_order_of_their_columns() -> None:
    numbers = pd.DataFrame({"age": RNG.normal(50, 10, 40), "dose": RNG.random(40)})
    of_numbers = run(numbers=("age", "dose"))
    expected = of_numbers.encode(FRAME, numbers.to_numpy())[0].mean
    for x, y in ((FRAME, numbers), (SWAPPED, numbers[["dose", "age"]]), (FRAME, pd.DataFrame(numbers.to_numpy()))):
        assert np.array_equal(of_numbers.encode(x, y)[0].mean, expected)
    assert np.array_equal(of_numbers.sample(y=numbers[["dose", "age"]], seed=0), of_numbers.sample(y=numbers, seed=0))
    with pytest.raises(ValueError, match="y: no column dose; the model was trained on age, dose"):
        of_numbers.encode(FRAME, numbers.rename(columns={"dose": "mg"}))

    of_classes = run(num_classes=3, class_names=("cat", "dog", "eel"))
    expected = of_classes.encode(FRAME, [0, 1, 2, 1] * 10)[0].mean
    assert np.array_equal(of_classes.encode(FRAME, DUMMIES[["eel", "cat", "dog"]])[0].mean, expected)


def test_a_run_warns_of_numbers_in_another_unit() -> None:
    scaling = Scaling((1000.0, 0.0), (1.0, 1.0))
    scaled = run(False, scaling=scaling)
    scaled.encode(FRAME)
    scaled.encode(FRAME.assign(big=FRAME["big"] + 30))  # as of anomalies
    for call in (scaled.encode, scaled.reconstruct, scaled.log_prob):
        with pytest.warns(UserWarning, match=r"^x: on average \d\d\d standard deviations from the training data; give"):
            call(FRAME / 1000)


def test_a_run_takes_the_frames_that_it_was_trained_on() -> None:
    flags = FRAME.assign(small=FRAME.small > 0)
    arrays = ArraysInMemory((flags, None))
    expected = run(conditional=False).encode(np.float64(arrays.open(("train", "images"))))[0].mean
    assert np.array_equal(run(conditional=False).encode(flags)[0].mean, expected)

    holes = pd.DataFrame({"big": pd.array([1, None] * 20, dtype="Int64"), "small": FRAME.small})
    masked = run(conditional=False, missing=True)
    expected = masked.encode(ArraysInMemory((holes, None)).open(("train", "images")))[0].mean
    assert np.array_equal(masked.encode(holes)[0].mean, expected)

    unnamed = run(conditional=False, columns=("0", "1"))
    assert np.array_equal(
        unnamed.encode(FRAME.set_axis([0, 1], axis=1))[0].mean, unnamed.encode(FRAME.to_numpy())[0].mean
    )

    kinds = pd.DataFrame({"kind": ["u", "v", "v", None] * 10, "x": FRAME.small})
    names = ("x", "kind=u", "kind=v")
    table = run(conditional=False, shape=(3,), columns=names, categories=(2,), missing=True)
    rows = np.column_stack([FRAME.small, np.array([[1, 0], [0, 1], [0, 1], [np.nan, np.nan]] * 10)])
    assert np.array_equal(table.encode(kinds)[0].mean, table.encode(rows)[0].mean)
    assert np.array_equal(table.encode(pd.DataFrame(rows, columns=names))[0].mean, table.encode(rows)[0].mean)
    with pytest.raises(ValueError, match="x: column kind, row 1: w is not one of the categories in training"):
        table.encode(kinds.assign(kind="w"))


SHUFFLED = FRAME.sample(frac=1, random_state=0)
OTHER_ORDER = "y: row 0 has the index 0, but in x it is 22; sort it with .loc"


@pytest.mark.parametrize("y", [LABELS, DUMMIES, LABELS.to_frame(), {"labels": LABELS}])
def test_labels_whose_index_has_the_rows_in_another_order_are_refused(y: Any) -> None:
    name = "y[labels]" if isinstance(y, dict) else "y"
    with pytest.raises(ValueError, match=re.escape(OTHER_ORDER.replace("y", name, 1))):
        source((SHUFFLED, y))
    with pytest.raises(ValueError, match=re.escape(f"test {name}: row 0 has the index 0, but in test x it is 22")):
        source((FRAME, y), None, (SHUFFLED, y))


def test_labels_of_the_same_rows_or_without_an_index_of_their_own_are_joined_as_they_stand() -> None:
    ordered = LABELS.loc[SHUFFLED.index]
    kept = FRAME.index % 4 != 2
    for x, y in (
        (SHUFFLED, ordered),
        (SHUFFLED, ordered.to_numpy()),
        (SHUFFLED.to_numpy(), ordered),
        (FRAME[kept], LABELS[kept].reset_index(drop=True)),  # 0, 1, 2, ... beside 0, 1, 3, ...
        (FRAME[kept].reset_index(drop=True), LABELS[kept]),
        (FRAME.set_index(pd.Index([f"s{row}" for row in FRAME.index])), LABELS),
    ):
        found = source((x, y))
        expected = source((np.asarray(x), np.asarray(y)))
        assert found.class_names == expected.class_names
        assert np.array_equal(found.load(train=True).y, expected.load(train=True).y)


def test_labels_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="y: row 0 has the index 20, but in x it is 0"):
        source((FRAME[:20].set_axis([*range(1, 20), 0][::-1]), LABELS[20:]))


def test_a_run_refuses_labels_whose_index_has_other_rows() -> None:
    labelled = run(num_classes=3, class_names=("cat", "dog", "eel"))
    expected = labelled.encode(FRAME, LABELS)[0].mean
    assert np.array_equal(labelled.encode(SHUFFLED, LABELS.loc[SHUFFLED.index])[0].mean, expected[SHUFFLED.index])
    for call in (labelled.encode, labelled.reconstruct, labelled.log_prob):
        with pytest.raises(ValueError, match=re.escape(OTHER_ORDER)):
            call(SHUFFLED, LABELS)
    assert labelled.encode(FRAME, pd.Series(["cat"]))[0].mean.shape == (40, 2)


SIZES = ["small", "medium", "large", "huge"]
ORDERED = pd.Series(pd.Categorical(["medium", "large", "small", "large"] * 10, SIZES, ordered=True))


@pytest.mark.parametrize("y", [ORDERED, ORDERED.array, ORDERED.to_frame(), {"labels": ORDERED}])
def test_classes_are_in_the_order_that_categories_declare(y: Any) -> None:
    found = source((FRAME, y), (FRAME, y), (FRAME, ORDERED.astype(str)))
    assert found.class_names == tuple(SIZES)
    for arrays in (found.load(train=True), found.load_val(), found.load(train=False)):
        assert arrays.y.tolist() == [1, 2, 0, 2] * 10


def test_ordered_numbers_and_intervals_are_classes_and_others_are_sorted() -> None:
    grades = pd.Series(pd.Categorical([3, 1, 2, 1] * 10, [3, 2, 1], ordered=True))
    assert source((FRAME, grades)).class_names == ("3", "2", "1")
    halves = source((FRAME, pd.cut(FRAME["big"], [0, 1000, 2000])))
    assert halves.class_names == ("(0, 1000]", "(1000, 2000]")
    digits = pd.Series(pd.Categorical([0, 1, 2, 1] * 10, ordered=True))
    assert source((FRAME, digits)).class_names == ()
    assert source((FRAME, ORDERED.cat.as_unordered())).class_names == ("large", "medium", "small")
    with pytest.raises(ValueError, match="y: 10 of 40 values are missing, the first in row 0"):
        source((FRAME, ORDERED.where(ORDERED != "medium")))


def test_an_enum_of_polars_declares_an_order() -> None:
    polars = pytest.importorskip("polars")
    enum = polars.Series(["medium", "large", "small", "large"] * 10, dtype=polars.Enum(SIZES))
    found = source((FRAME, enum))
    assert found.class_names == tuple(SIZES)
    assert set(found.load(train=True).y) <= {0, 1, 2}
