"""Tables: columns by name, categories, labels, missing values, and each mistake in one line."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import feather, parquet

from vae_lab.data import ImageDataModule, Mnist, Table
from vae_lab.data.summary import summary
from vae_lab.distributions import Gaussian
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture

NUM = 40
_USED = (("label", "kind"), ("categorical", ("color",)))
COUNTED = [_USED, (*_USED, ("leave_out", ("id",))), (*_USED, ("columns", ("id", "alcohol", "color")))]
"""Options of a table with row numbers: modelled unasked, left out, and asked for."""


def columns(num: int = NUM, seed: int = 0) -> dict[str, list]:
    rng = np.random.default_rng(seed)
    return {
        "alcohol": (13 + rng.normal(size=num)).round(3).tolist(),
        "proline": (700 + 300 * rng.normal(size=num)).round(1).tolist(),
        "count": rng.integers(0, 9, num).tolist(),
        "color": np.array(["red", "white", "rose"])[np.arange(num) % 3].tolist(),
        "kind": np.array(["a", "b"])[np.arange(num) % 2].tolist(),
    }


def write(path: Path, table: dict[str, list]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(table), path)
    elif path.suffix == ".feather":
        feather.write_feather(pa.table(table), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        rows = [table, *zip(*table.values(), strict=True)]
        shown = [["" if value is None else str(value) for value in row] for row in rows]
        path.write_text("".join(f"{separator.join(row)}\n" for row in shown))
    return path


def module(root: Path, **options) -> ImageDataModule:
    return ImageDataModule(lambda **shared: Table(**shared, **options), root=str(root), val_size=5, batch_size=8)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "feather"])
def test_every_format_gives_the_same_examples(tmp_path: Path, suffix: str) -> None:
    table = columns()
    source = Table(str(write(tmp_path / f"wine.{suffix}", table)), label="kind", categorical=["color"])
    assert source.columns == ("alcohol", "proline", "count", "color=red", "color=rose", "color=white")
    assert source.class_names == ("a", "b")
    train, test = source.load(train=True), source.load(train=False)
    assert (len(train), len(test)) == (36, 4)
    both = np.concatenate((train.x, test.x))
    order = np.lexsort(both.T)
    numbers = np.array([table["alcohol"], table["proline"], table["count"]], np.float32).T
    one_hot = np.array([[value == other for other in ("red", "rose", "white")] for value in table["color"]], np.float32)
    whole = np.concatenate((numbers, one_hot), 1)
    whole_order = np.lexsort(whole.T)
    assert np.array_equal(both[order], whole[whole_order])
    labels = np.concatenate((train.y, test.y))[order]
    assert np.array_equal(labels, np.array([kind == "b" for kind in table["kind"]], int)[whole_order])


def test_files_named_after_splits(tmp_path: Path) -> None:
    for split, num in (("train", 30), ("val", 12), ("test", 6)):
        write(tmp_path / f"{split}.csv", columns(num))
    data = module(tmp_path, label="kind", columns=["proline", "alcohol"])
    assert [len(data.split(split).rows) for split in ("train", "val", "test")] == [30, 12, 6]
    assert data.spec.columns == ("proline", "alcohol")
    assert data.images.passed_over() == ["2 other columns (count, color)"]
    train = columns(30)
    np.testing.assert_allclose(
        data.spec.scaling.mean, [np.mean(train["proline"]), np.mean(train["alcohol"])], rtol=1e-6
    )
    np.testing.assert_allclose(data.spec.scaling.scale, [np.std(train["proline"]), np.std(train["alcohol"])], rtol=1e-5)
    assert data.images.found() == {}
    assert module(tmp_path, label="kind", categorical=["color"]).images.found() == {
        "columns": ["alcohol", "proline", "count", "color"]
    }


def test_categories_keep_mean_0_and_scale_1(tmp_path: Path) -> None:
    data = module(write(tmp_path / "t.csv", columns()), label="kind", categorical=["color"])
    assert data.spec.categories == (3,)
    assert data.spec.scaling.mean[3:] == (0.0, 0.0, 0.0)
    assert data.spec.scaling.scale[3:] == (1.0, 1.0, 1.0)
    assert data.spec.support == "real"
    model = VAE(data.spec, 2, MlpArchitecture([4]), Gaussian)
    x = data.examples(4).x
    torch.testing.assert_close(model.reconstruct(x).mean[:, 3:].sum(1), torch.ones(4))


def with_holes(table: dict[str, list]) -> dict[str, list]:
    table["proline"][3] = table["alcohol"][5] = table["alcohol"][6] = table["color"][6] = None
    return table


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_missing_values_are_refused_with_their_count_or_masked(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t.{suffix}", with_holes(columns()))
    options = {"columns": ["alcohol", "proline", "color"], "categorical": ["color"]}
    expected = (
        f"{path}: 4 missing values, the first in column proline, row 4 (alcohol 2, proline 1, color 1);"
        " fill them in, leave the columns out, or set data.missing=mask"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        Table(str(path), **options).load(train=True)
    source = partial(Table, **options)
    data = ImageDataModule(source, root=str(path), val_size=5, batch_size=8, missing="mask")
    assert data.spec.missing
    assert data.spec.seen_shape == (10,)
    both = np.concatenate([data.images.load(train).x for train in (True, False)])
    assert np.isnan(both).sum() == 3 + 3, "a missing category is missing in each of its columns"
    train_rows = data.split("train").arrays.x[data.split("train").rows, 1]
    np.testing.assert_allclose(data.spec.scaling.mean[1], np.nanmean(train_rows), rtol=1e-6)
    np.testing.assert_allclose(data.spec.scaling.scale[1], np.nanstd(train_rows), rtol=1e-5)
    model = VAE(data.spec, 2, MlpArchitecture([4]), Gaussian)
    assert model(data.examples(40, "train").x).elbo.isfinite().all()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_missing_categories_are_counted_once_and_booleans_are_known_in_either_form(tmp_path: Path, suffix: str) -> None:
    flags = [i % 3 == 0 for i in range(NUM)]
    letters = list("abcdefgh" * 5)
    with_gap, complete = {"a": [1.0] * NUM, "letter": letters, "flag": flags}, {"a": [1.0, 2.0], "letter": ["a", "b"]}
    with_gap = {
        key: [None if key != "a" and i in (2, 9) else each for i, each in enumerate(with_gap[key])] for key in with_gap
    }
    path = write(tmp_path / f"train.{suffix}", with_gap)
    write(tmp_path / f"val.{suffix}", complete | {"flag": [False, True]})
    source = Table(str(tmp_path), categorical=["letter", "flag"])
    expected = f"{path}: 4 missing values, the first in column letter, row 3 (letter 2, flag 2); fill them in"
    with pytest.raises(ValueError, match=re.escape(expected)):
        source.load(train=True)
    masked = Table(str(tmp_path), categorical=["letter", "flag"], missing="mask")
    masked.load(train=True)
    assert masked.passed_over() == ["4 missing values in train." + suffix + " (3.3%): the likelihood leaves them out"]
    assert masked.load_val().x[:, -2:].tolist() == [[1, 0], [0, 1]]
    write(tmp_path / f"train.{suffix}", with_gap | {"flag": [None] * NUM})
    with pytest.raises(ValueError, match="column flag has no value at all"):
        Table(str(tmp_path), categorical=["letter", "flag"], missing="mask").load(train=True)


def test_columns_can_be_the_condition(tmp_path: Path) -> None:
    table = columns() | {"sparkling": [i % 4 == 0 for i in range(NUM)]}
    path = write(tmp_path / "t.parquet", table)
    data = module(path, columns=["alcohol"], label="kind", attributes=["sparkling"], numbers=["proline", "count"])
    assert data.spec.context_names == ("a", "b", "sparkling", "proline", "count")
    rows = np.concatenate([data.images.load(train).y for train in (True, False)])
    kinds = np.array([[kind == other for other in "ab"] for kind in table["kind"]], float)
    expected = np.column_stack([kinds, table["sparkling"], table["proline"], table["count"]]).astype(np.float32)
    assert np.array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
    model = VAE(data.spec, 2, MlpArchitecture([4]), Gaussian, conditional=True)
    batch = data.examples(6)
    assert model(batch.x, batch.y).elbo.isfinite().all()
    table["count"][4] = None
    table["sparkling"] = [2 * i for i in range(NUM)]
    write(path, table)
    with pytest.raises(ValueError, match=r"t.parquet: column count, row 5: no value; correct or leave out this row$"):
        Table(str(path), columns=["alcohol"], numbers=["count"]).load(train=True)
    with pytest.raises(ValueError, match=r"t.parquet: column sparkling, row 2: 2, and an attribute is 0 or 1"):
        Table(str(path), columns=["alcohol"], attributes=["sparkling"]).load(train=True)
    with pytest.raises(ValueError, match=r"t.parquet: has no column smell"):
        Table(str(path), columns=["alcohol"], attributes=["smell"]).load(train=True)


def test_missing_values_are_masked_of_own_numbers_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="missing=mask: only of data=array, table and huggingface"):
        ImageDataModule(Mnist, missing="mask")
    with pytest.raises(ValueError, match="missing=drop: choose one of refuse, mask"):
        ImageDataModule(Table, missing="drop")


def _csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(text)
    return path


GOOD = "a,b,kind\n1,2,x\n3,4,y\n5,6,x\n"


@pytest.mark.parametrize(
    ("text", "options", "wrong"),
    [
        (GOOD, {"columns": ["a", "hue"]}, "has no column hue; its columns are a, b, kind"),
        (GOOD, {"columns": ["a"], "label": "sort"}, "has no column sort; its columns are a, b, kind"),
        (
            GOOD,
            {},
            "column kind: 'x' in row 1 is not a number; name the column in data.images.categorical or",
        ),
        ("a,b\n1,2\n3,oops\n5,6\n7,8\n", {}, "column b: 'oops' in row 2 is not a number; correct it"),
        ("a,b\n1,2\n3\n5,6\n", {}, "not readable (CSV parse error: Row #3: Expected 2 columns, got 1: 3)"),
        ("a,b\n1,2\n3,4,5\n", {}, "not readable (CSV parse error: Row #3: Expected 2 columns, got 3: 3,4,5)"),
        ("a,b,a\n1,2,3\n", {}, "the column a occurs twice"),
        ("a,b\n", {}, "has no rows"),
        ("", {}, "not readable (Empty CSV file)"),
        ("a,b\n1,inf\n2,3\n", {}, "column b, row 1: inf is not a finite number"),
        ("a,kind\n1,x\n2,\n3,y\n", {"label": "kind"}, "column kind, row 2: no label; leave out this row, or the label"),
        ("a,b\n1,\n2,\n3,\n", {"missing": "mask"}, "column b has no value at all"),
        (
            "a,when\n1,2020-01-01\n2,2020-01-02\n",
            {},
            "type date32[day]; save numbers or strings, or leave it out: data.images.leave_out=[when]",
        ),
        (GOOD, {"columns": ["kind"], "label": "a", "categorical": []}, "'x' in row 1 is not a number"),
        (GOOD, {"label": "kind", "leave_out": ["when"]}, "has no column when"),
        ("a,kind\n1,x\n", {"label": "kind"}, "at least 2 are needed"),
        ("kind\nx\ny\n", {"label": "kind"}, "no column is left to be modelled"),
    ],
)
def test_a_mistake_in_a_table_is_one_line_that_names_file_column_and_row(
    tmp_path: Path, text: str, options: dict, wrong: str
) -> None:
    path = _csv(tmp_path, text)
    with pytest.raises(ValueError, match=re.escape(wrong)) as raised:
        Table(str(path), **options).load(train=True)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value) or "at least 2" in wrong


def test_columns_that_are_left_out_are_not_modelled_and_need_not_be_in_other_tables(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", {"name": [f"cell {row}" for row in range(NUM)]} | columns())
    write(tmp_path / "test.csv", columns(5))
    source = Table(str(tmp_path), label="kind", leave_out=["name", "color"])
    assert source.columns == ("alcohol", "proline", "count")
    assert source.load(train=True).x.shape == (NUM, 3)
    assert source.load(train=False).x.shape == (5, 3)
    assert source.passed_over() == ["2 other columns (name, color)"]
    with pytest.raises(ValueError, match=r"leave_out=\['color'\]: color is named twice"):
        Table(str(tmp_path), columns=["alcohol", "color"], leave_out=["color"])


def test_a_column_that_counts_the_rows_is_named_at_the_start(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", {"id": list(range(7, 7 + NUM)), "day": [*range(NUM - 1), 0]} | columns())
    lines = {options: summary(module(tmp_path, **dict(options))) for options in COUNTED}
    note = "row numbers  id, modelled like any other column; data.images.leave_out=[id] leaves it out"
    assert [note in text for text in lines.values()] == [True, False, False]
    assert sum(text.count("row numbers") for text in lines.values()) == 1


def test_a_test_table_with_other_values_names_the_row(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", columns())
    write(tmp_path / "test.csv", columns(5) | {"color": ["red", "red", "blue", "red", "red"]})
    source = Table(str(tmp_path), columns=["alcohol", "color"], categorical=["color"])
    source.load(train=True)
    with pytest.raises(
        ValueError, match=r"test.csv: column color, row 3: blue is not one of the categories in training"
    ):
        source.load(train=False)
    labelled = Table(str(tmp_path), columns=["alcohol"], label="color")
    with pytest.raises(ValueError, match=r"test.csv: column color: label blue is not one of the 3 classes"):
        labelled.load(train=False)
    write(tmp_path / "test.csv", {"alcohol": [1.0, 2.0]})
    with pytest.raises(ValueError, match=r"test.csv: has no column color; its columns are alcohol"):
        Table(str(tmp_path), columns=["alcohol", "color"], categorical=["color"]).load(train=False)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"columns": ["a", "a"]}, "the column a occurs twice"),
        ({"columns": ["a", "b"], "label": "a"}, "label=a: a is named twice"),
        ({"attributes": ["a"], "numbers": ["b", "a"]}, r"attributes=\['a'\]: a is named twice; a column has one use"),
        ({"columns": ["a"], "categorical": ["b"]}, "b is not one of the columns that are modelled"),
        ({"missing": "drop"}, "missing=drop: choose one of refuse, mask"),
        ({"test_fraction": 1.0}, "test_fraction=1.0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Table(**options)


def test_files_of_which_it_is_not_clear_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        _ = Table(str(tmp_path / "none")).shape
    with pytest.raises(FileNotFoundError, match=r"no table in it; expected train.csv"):
        _ = Table(str(tmp_path)).shape
    write(tmp_path / "one.csv", columns())
    assert Table(str(tmp_path), columns=["alcohol"]).shape == (1,)
    write(tmp_path / "two.csv", columns())
    with pytest.raises(ValueError, match="no table is the training split"):
        _ = Table(str(tmp_path)).shape
    write(tmp_path / "train.csv", columns())
    write(tmp_path / "train.parquet", columns())
    with pytest.raises(ValueError, match="several tables are the train split"):
        _ = Table(str(tmp_path)).shape
    (tmp_path / "t.xls").write_text("")
    with pytest.raises(ValueError, match=r"t.xls: not a table; expected one of .csv"):
        _ = Table(str(tmp_path / "t.xls")).shape
    (tmp_path / "cells.h5ad").write_text("")
    with pytest.raises(ValueError, match=r"not a table; vae_lab\.fit\(anndata\.read_h5ad\(FILE\)\) trains on it"):
        _ = Table(str(tmp_path / "cells.h5ad")).shape
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"bad.parquet: not readable") as raised:
        _ = Table(str(tmp_path / "bad.parquet")).shape
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("first", "names"),
    [
        ("5.1,3.5,1.4,0.2,Iris-setosa", False),
        ("5.1,3.5", False),
        ("5.1", False),
        ("7,1.5,2", False),
        ("0,1,2,3", False),
        ("1,2,3", False),
        (",0,1", False),
        ("2019,2020,2021,country", False),
        ("400.5,401,401.5", False),
        ("0", False),
        ("0,0,0", False),
        ("2020,a,b", False),
        ("x1,x2", True),
        (",x1,2x", True),
    ],
)
def test_numbers_are_names_of_columns_only_if_one_says_so(tmp_path: Path, first: str, names: bool) -> None:
    places = first.split(",")
    path = _csv(tmp_path, f"{first}\n" + f"{','.join('1' for _ in places)}\n" * 20)
    known = [name for name in places if name]
    if names:
        assert Table(str(path)).columns == tuple(known)
        assert Table(str(path)).values_note() == ""
        return
    numbers = [name for name in known if name.replace(".", "").isdigit()]
    with pytest.raises(ValueError, match=rf"t.csv: the first line has numbers \({', '.join(numbers)}\); set data"):
        _ = Table(str(path)).columns
    if len({*known}) == len(known):
        named = Table(str(path), header=True)
        assert (named.columns, named._size()) == (tuple(known), 20)
        assert named.values_note() == f"under the names {', '.join(known)} of the first line"
        assert Table(str(path), columns=numbers).columns == tuple(numbers)


def test_a_csv_without_names_numbers_its_columns(tmp_path: Path) -> None:
    for split, shift in (("train", 0), ("test", 10)):
        lines = [f"{shift + row},{row},0{row % 2}\n" for row in range(10)]
        (tmp_path / f"{split}.csv").write_text("".join(lines))
    source = Table(str(tmp_path), label="2", header=False)
    assert (source.columns, source.class_names) == (("0", "1"), ("00", "01"))
    train, test = source.load(train=True), source.load(train=False)
    np.testing.assert_array_equal(train.x[:, 0], range(10))
    np.testing.assert_array_equal(test.x[:, 0], range(10, 20))
    assert train.y.tolist() == [0, 1] * 5
    assert source.values_note() == "in the columns 0, 1 without names"
    assert source.found() == {"columns": ["0", "1"]}

    parquet = write(tmp_path / "t.parquet", columns())
    with pytest.raises(ValueError, match=r"data.images.header=false: .*t\.parquet has names of its own; leave it out"):
        _ = Table(str(parquet), header=False).columns
    assert Table(str(parquet), columns=["alcohol"]).columns == ("alcohol",)


def test_tables_that_are_not_read_are_named(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "notes.txt", "extra.parquet"):
        write(tmp_path / name, columns())
    source = partial(Table, columns=["alcohol"], label="kind")
    assert (
        source(str(tmp_path), categorical=["alcohol"]).passed_over()[-1] == "2 other tables (extra.parquet, notes.txt)"
    )
    one = tmp_path / "train.csv"
    expected = f"test.csv beside train.csv; data.root={tmp_path} reads both"
    assert source(str(one)).passed_over()[-1] == expected
    assert source(str(tmp_path / "extra.parquet")).passed_over() == ["3 other columns (proline, count, color)"]
    for name in ("validate.csv", "holdout.csv"):
        write(tmp_path / name, columns())
        with pytest.raises(ValueError, match=f"{name} may be a split under another name; rename it to val or test"):
            _ = source(str(tmp_path)).columns
        (tmp_path / name).unlink()


def test_a_support_that_the_values_do_not_have_is_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path, "a,b\n" + "".join(f"{i / 40},{max(i - 38, 0)}\n" for i in range(40)))
    source = partial(Table, columns=["a", "b"])
    for support in ("binary", "uint8"):
        with pytest.raises(ValueError, match=f"data.support={support}: the values are real numbers; leave it out"):
            _ = ImageDataModule(source, root=str(path), val_size=5, support=support).spec
    assert ImageDataModule(source, root=str(path), val_size=5, support="unit").split("train").arrays.x.max() <= 1
    write(tmp_path / "train.csv", {"a": [0.5] * 20, "b": [1.0] * 20})
    write(tmp_path / "test.csv", {"a": [0.5] * 2, "b": [1.0, 390.0]})
    path.unlink()
    data = ImageDataModule(source, root=str(tmp_path), val_size=5, support="unit")
    with pytest.raises(ValueError, match=r"data.support=unit: 390 \(row 2, column b\) is not in \[0, 1\]"):
        data.split("test")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "feather"])
@pytest.mark.parametrize("saved", ["index", "twice"])
def test_the_row_index_of_pandas_is_not_modelled(tmp_path: Path, suffix: str, saved: str) -> None:
    frame = pd.DataFrame(columns())[["alcohol", "proline"]][lambda frame: frame.alcohol > 12.5]
    path, text = tmp_path / f"t.{suffix}", suffix in ("csv", "tsv")
    index = "" if text else "__index_level_0__"
    if saved == "twice":
        index = "Unnamed: 0"
        frame = frame.reset_index(names=index)
    if text:
        frame.to_csv(path, sep="\t" if suffix == "tsv" else ",", index=saved == "index")
    elif suffix == "parquet":
        frame.to_parquet(path, index=saved == "index")
    else:
        feather.write_feather(pa.Table.from_pandas(frame), path)
    data = module(path)
    assert data.spec.columns == ("alcohol", "proline")
    assert f"row numbers that were saved as a column ({index!r})" in data.images.passed_over()
    assert Table(str(path), columns=[index, "alcohol"]).columns == (index, "alcohol"), "as an older run has recorded"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
def test_codes_keep_their_leading_zeros(tmp_path: Path, suffix: str) -> None:
    codes = {"train": "01|1|007|7|", "val": "007|01|1|7|7", "test": "1|7|7|1|1"}
    for split, joined in codes.items():
        values = joined.split("|")
        kinds = [value or "1" for value in values]
        rows = zip(map(str, range(5)), values, kinds, strict=True)
        lines = ["a\tcode\tkind", *map("\t".join, rows)]
        text = "\n".join(lines).replace("\t", "\t" if suffix == "tsv" else ",")
        (tmp_path / f"{split}.{suffix}").write_text(f"{text}\n")
    source = Table(str(tmp_path), label="kind", categorical=["code"], missing="mask")
    assert source.columns == ("a", "code=007", "code=01", "code=1", "code=7")
    assert source.class_names == ("007", "01", "1", "7")
    assert source.load(train=True).y.tolist() == [1, 2, 0, 3, 2]
    assert np.isnan(source.load(train=True).x[4, 1:]).all()
    assert source.load_val().x[:, 1:].argmax(1).tolist() == [0, 1, 2, 3, 3]
    assert source.load(train=False).y.tolist() == [2, 3, 3, 2, 2], "where no code has a leading zero, either"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ("0 2 10 1", ("0", "1", "2", "10")),
        ("1 2 3 10", ("1", "2", "3", "10")),
        ("1.0 2 0.0", ()),
        ("1.1 1.10 1.2", ("1.1", "1.10", "1.2")),
        ("2020-01-01 2020-01-02", ("2020-01-01", "2020-01-02")),
        ("12345678901234567890 12345678901234567891", ("12345678901234567890", "12345678901234567891")),
        ("true false", ("False", "True")),
    ],
)
def test_labels_that_are_numbers_stay_numbers(tmp_path: Path, values: str, names: tuple[str, ...]) -> None:
    kinds = values.split()
    path = _csv(tmp_path, "a,kind\n" + "".join(f"{i},{kind}\n" for i, kind in enumerate(kinds * 2)))
    source = Table(str(path), label="kind")
    assert (source.num_classes, source.class_names) == (len(kinds), names)


def test_without_pyarrow_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.csv", columns())
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"data=table needs pyarrow; pip install 'vae-lab\[table\]'"):
        _ = Table(str(path)).shape


def test_the_start_names_the_columns_so_that_a_saved_index_shows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame({"a": [0.5, 3.5, 1.5] * 10, "b": [1, 2, 4] * 10}).to_csv(path, index_label="id")
    assert ": 3 columns (id, a, b), no labels" in summary(module(path))


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        (
            "a;b\n1,5;2\n2;3\n",
            "utf-8",
            r"column a: '1,5' in row 1 is not a number; save it with decimal points; pan",
        ),
        ("a,b\n1,x\n2,y\n", "utf-8", "'x' in row 1 .*; if it is the class, set data.images.label to its name"),
        ("a,größe\n1,2\n", "latin-1", r"t\.csv: not in UTF-8; save it in UTF-8"),
        ("a,b\n1,2\n", "utf-16", r"t\.csv: in UTF-16; save it in UTF-8"),
    ],
)
def test_a_csv_of_another_habit_is_answered(tmp_path: Path, text: str, encoding: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding=encoding)
    with pytest.raises(ValueError, match=message):
        Table(str(tmp_path / "t.csv")).load(train=True)


def test_what_numpy_writes_as_text_is_read(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    np.savetxt(tmp_path / "t.txt", x)
    source = Table(str(tmp_path / "t.txt"), header=False)
    train = source.load(train=True)
    np.testing.assert_allclose(train.x, x[train.rows], rtol=1e-6)


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_ordered_categories_keep_their_order(tmp_path: Path, suffix: str) -> None:
    def frame(values: list, order: list) -> pd.DataFrame:
        return pd.DataFrame({"a": [0.0, 1, 2, 5] * 10, "b": pd.Categorical(values * 10, order, ordered=True)})

    def saved(name: str, table: pd.DataFrame) -> None:
        getattr(table, f"to_{suffix}")(tmp_path / f"{name}.{suffix}")

    sizes = ["small", "medium", "large", "huge"]
    saved("train", frame(["medium", "large", "small", "large"], sizes))
    saved("test", frame(["huge", "large", "small", "large"], [*sizes[::-1], "tiny"]))  # an order of its own
    labelled = module(tmp_path, label="b")
    assert labelled.spec.class_names == tuple(sizes)
    assert labelled.images.load(train=True).y.tolist() == [1, 2, 0, 2] * 10
    assert labelled.images.load(train=False).y.tolist() == [3, 2, 0, 2] * 10
    assert "1 without a training example (huge)" in summary(labelled)
    saved("test", frame(["small", "large", "small", "large"], [*sizes[::-1], "tiny"]))
    modelled = module(tmp_path, categorical=["b"])
    assert modelled.spec.columns == ("a", "b=small", "b=medium", "b=large")
    assert modelled.images.load(train=True).x[:4, 1:].argmax(1).tolist() == [1, 2, 0, 2]
    assert modelled.images.load(train=False).x[:4, 1:].argmax(1).tolist() == [0, 2, 0, 2]
    saved("train", frame([3, 1, 2, 1], [3, 2, 1]))
    saved("test", frame([3, 1, 2, 1], [1, 2, 3]))
    numbered = module(tmp_path, label="b")
    order = [3, 2, 1] if suffix == "feather" else [1, 2, 3]  # Parquet has categories of strings alone
    assert numbered.spec.class_names == tuple(map(str, order))
    assert numbered.images.load(train=False).y.tolist() == [order.index(value) for value in [3, 1, 2, 1]] * 10


def test_other_tables_have_the_categories_of_the_run_in_its_order(tmp_path: Path) -> None:
    """Reads ordered categories saved as CSV, which declares no order, and a table in which one does not occur."""
    sizes = ["small", "medium", "large"]
    own = pd.DataFrame({"a": np.arange(30.0), "b": pd.Categorical(sizes * 10, sizes, ordered=True)})
    own.to_parquet(tmp_path / "own.parquet")
    trained = module(tmp_path / "own.parquet", categorical=["b"])
    assert trained.spec.columns == ("a", "b=small", "b=medium", "b=large")
    for name, rows in (("same", own), ("some", own[own["b"] != "medium"])):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        other = module(tmp_path / f"{name}.csv", categorical=["b"])
        other.keep_scaling(trained.spec, classes=True)
        trained.spec.check_data(other.spec)
        assert np.array_equal(
            other.images.load(train=True).x[:, 1:].argmax(1),
            rows["b"].cat.codes.iloc[other.images.load(train=True).rows],
        )
    own.assign(b=own["b"].cat.rename_categories({"large": "huge"})).to_csv(tmp_path / "new.csv", index=False)
    new = module(tmp_path / "new.csv", categorical=["b"])
    new.keep_scaling(trained.spec, classes=True)
    with pytest.raises(ValueError, match="those of the data are a, b=huge, b=medium, b=small"):
        trained.spec.check_data(new.spec)
