"""Missing values of arrays, of files and in memory: refused by column, or left out of the likelihood."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import vae_lab
from tests.conftest import FAST
from vae_lab.data import ArrayFiles, ImageDataModule, Table
from vae_lab.data.missing_values import suspected
from vae_lab.data.summary import summary
from vae_lab.errors import RunError
from vae_lab.plain_values import as_array

RNG = np.random.default_rng(0)
WORDS = [word for word in FAST if not word.startswith("data.")]


def holes(x: np.ndarray) -> np.ndarray:
    """The array with a tenth of its values missing."""
    return np.where(RNG.random(x.shape) < 0.1, np.nan, x)


def masked(root: Path, **options: Any) -> ImageDataModule:
    return ImageDataModule(partial(ArrayFiles, **options), root=str(root), val_size=10, batch_size=8, missing="mask")


def test_numbers_that_stand_for_missing_values_are_named_at_the_start(tmp_path: Path) -> None:
    x = RNG.normal(size=(200, 3))
    x[:60, 1] = -999
    x[3, 1], x[4, 2] = -99, np.nan
    np.save(tmp_path / "train.npy", x)
    lines = [line for line in summary(masked(tmp_path)).splitlines() if line.startswith("outliers")]
    assert len(lines) == 1
    assert re.match(
        r"outliers     1: -999 in \d\d\.\d%, others -\d\.\d+ to \d\.\d+; if that stands for missing", lines[0]
    )
    assert suspected(x[:, [0, 1]], ["age", "height"]).startswith("height: -999 in 29.5%")
    assert suspected(np.repeat(x[..., None], 2, 2), []).startswith("1: -999 in 29.5%, others -")  # signals


@pytest.mark.parametrize(
    "column",
    [np.arange(-1000, -900), np.r_[-99, np.linspace(-50, 50, 99)], np.full(99, -999), np.r_[999, np.arange(9)]],
)
def test_numbers_that_may_be_meant_are_not_named(column: np.ndarray) -> None:
    assert suspected(np.float32(column)[:, None], ["a"]) == ""


def test_missing_values_are_refused_by_column_and_row(tmp_path: Path) -> None:
    x = RNG.normal(size=(9000, 3))
    x[8990, 1] = x[8991, 1] = x[5, 2] = np.nan
    np.save(tmp_path / "train.npy", x)
    counted = r"train\.npy: 3 missing values, the first in row 5, column 2 \(1 2, 2 1\); fill them in, leave the col"
    with pytest.raises(ValueError, match=counted):
        _ = ArrayFiles(str(tmp_path)).support
    (tmp_path / "column_names.txt").write_text("alcohol\nhue\ncolour\n")
    with pytest.raises(ValueError, match=r"row 5, column colour \(hue 2, colour 1\); .* set data.missing=mask"):
        _ = ArrayFiles(str(tmp_path)).support
    np.save(tmp_path / "train.npy", holes(RNG.normal(size=(20, 2, 30))))
    (tmp_path / "column_names.txt").unlink()
    with pytest.raises(ValueError, match=r"the first in row 0, place \d, \d+; fill them in, or set data.missing=mask"):
        _ = ArrayFiles(str(tmp_path)).support


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_array_is_masked_as_a_table_is(tmp_path: Path, suffix: str) -> None:
    x = holes(RNG.normal(3, 2, (80, 3)))
    np.save(tmp_path / "train.npy", x) if suffix == "npy" else np.savez(tmp_path / "all.npz", x_train=x)
    (tmp_path / "table").mkdir()
    pd.DataFrame(x, columns=["a", "b", "c"]).to_csv(tmp_path / "table" / "train.csv", index=False)
    own, table = masked(tmp_path), ImageDataModule(Table, str(tmp_path / "table"), 8, val_size=10, missing="mask")
    assert own.spec.missing
    assert own.spec.scaling == table.spec.scaling
    for split in ("train", "val", "test"):
        assert np.array_equal(own.split(split).arrays.x, table.split(split).arrays.x, equal_nan=True)
    share = f"{np.isnan(x).sum()} missing values in {'train.npy' if suffix == 'npy' else 'x_train'}"
    assert own.images.passed_over() == [f"{share} ({np.isnan(x).mean():.1%}): the likelihood leaves them out"]


KINDS = [
    (RNG.integers(0, 2, (80, 5)).astype(float), "binary", {}),
    (RNG.random((80, 5)), "unit", {}),
    (RNG.integers(0, 256, (80, 1, 6, 6)).astype(float), "unit", {}),
    (RNG.normal(size=(80, 2, 30)), "real", {}),
    (RNG.normal(size=(80, 2, 8, 8, 8)), "real", {}),
]


@pytest.mark.parametrize(("x", "support", "options"), KINDS)
def test_values_of_each_support_keep_their_holes(tmp_path: Path, x: np.ndarray, support: str, options: Any) -> None:
    white = 255 if x.max() > 100 else 1
    x = holes(x)
    np.save(tmp_path / "train.npy", x)
    np.save(tmp_path / "test.npy", x[:10])
    data = masked(tmp_path, **options)
    assert data.spec.support == support
    found = data.examples(10, "test").x.numpy()
    assert np.isnan(found).any()
    np.testing.assert_allclose(found, x[:10] / white, rtol=1e-6)


def test_a_run_on_a_data_frame_with_holes_bounds_what_was_observed(tmp_path: Path) -> None:
    frame = pd.DataFrame(holes(RNG.normal(3, 2, (60, 3))), columns=["a", "b", "c"])
    frame["whole"] = pd.array([1, None, *range(58)], dtype="Int64")
    with pytest.raises(ValueError, match=r"x: \d+ missing values, the first in row .* whole 1\)"):
        vae_lab.fit(frame, model="vae", latent_dim=2, overrides=WORDS, folder=tmp_path / "refused")
    words = [*WORDS, "data.missing=mask"]
    run = vae_lab.fit(frame, model="vae", latent_dim=2, overrides=words, folder=tmp_path / "run")
    assert run.spec.columns == ("a", "b", "c", "whole")
    given = frame.to_numpy(float, na_value=np.nan)
    (code,), (other,) = run.encode(given), run.encode(np.nan_to_num(given))
    known = ~np.isnan(given).any(1)
    assert np.isfinite(code.mean).all()
    assert np.allclose(code.mean[known], other.mean[known], atol=1e-6)
    assert not np.allclose(code.mean[~known], other.mean[~known], atol=1e-3)
    assert np.allclose(vae_lab.load_run(tmp_path / "run").encode(given)[0].mean, code.mean)
    nothing = np.full((1, 4), np.nan)
    assert abs(float(run.log_prob(nothing, num_samples=4000)[0])) < 0.2, "log p of nothing is 0"


def test_what_a_masked_array_hides_is_missing(tmp_path: Path) -> None:
    x = holes(RNG.normal(3, 2, (60, 3)))
    hidden = np.ma.masked_array(np.nan_to_num(x, nan=5.0), np.isnan(x))
    with pytest.raises(ValueError, match=rf"x: {hidden.mask.sum()} missing values, .* set data.missing=mask"):
        vae_lab.fit(hidden, model="vae", latent_dim=2, overrides=WORDS, folder=tmp_path / "refused")
    words = [*WORDS, "data.missing=mask"]
    run = vae_lab.fit(hidden, model="vae", latent_dim=2, overrides=words, folder=tmp_path / "run")
    assert np.array_equal(run.encode(hidden)[0].mean, run.encode(x)[0].mean)
    assert not np.allclose(run.encode(hidden)[0].mean, run.encode(hidden.data)[0].mean, atol=1e-3)
    for labels, said in (([0, 1, 2] * 20, "-1 or NaN"), (["a", "b", "c"] * 20, "empty")):
        y = np.ma.masked_array(labels, np.arange(60) == 4)
        with pytest.raises(RunError, match=rf"1 of 60 in y are missing \({said}, first in row 4\)"):
            vae_lab.fit((hidden.data, y), model="cvae", latent_dim=2, overrides=WORDS, folder=tmp_path / "refused")


@pytest.mark.parametrize(
    "values", [[1, 2], [1.0, 2.0], [True, False], ["a", "b"], [b"a", b"b"], np.array(["a", 1], "O")]
)
def test_nothing_hidden_survives(values: Any) -> None:
    one = np.ma.masked_array(values, [False, True])
    kept, hidden = as_array(one)
    if one.dtype.kind in "iufb":
        assert np.array_equal(as_array([one, one]), [[kept, hidden]] * 2, equal_nan=True)
    assert kept == np.asarray(values)[0]
    assert not hidden or pd.isna(hidden)
    assert np.array_equal(as_array(np.ma.masked_array(values)), np.asarray(values)), "nothing is hidden"


def test_one_missing_value_is_one(tmp_path: Path) -> None:
    x = RNG.normal(size=(30, 2))
    x[3, 1] = np.nan
    np.save(tmp_path / "train.npy", x)
    with pytest.raises(ValueError, match=r"train\.npy: 1 missing value, the first in row 3, column 1"):
        _ = ArrayFiles(str(tmp_path)).support
    data = masked(tmp_path)
    assert data.spec.missing
    assert data.images.passed_over() == ["1 missing value in train.npy (1.7%): the likelihood leaves it out"]


def test_bits_per_dimension_are_undefined_where_values_are_missing(tmp_path: Path) -> None:
    bits = RNG.integers(0, 2, (60, 4)).astype("float32")
    for name, x, words in (("whole", bits, []), ("holes", holes(bits), ["data.missing=mask"])):
        run = vae_lab.fit(x, model="vae", latent_dim=2, overrides=[*WORDS, *words], folder=tmp_path / name)
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())["metrics"]
        assert ("test/bits_per_dim" in metrics) is (name == "whole")
        assert run.spec.missing is (name == "holes")


def test_an_anndata_is_taken_with_its_names(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    table = anndata.AnnData(holes(RNG.normal(size=(60, 3))), var=pd.DataFrame(index=["g1", "g2", "g3"]))
    words = [*WORDS, "data.missing=mask"]
    run = vae_lab.fit(table, model="vae", latent_dim=2, overrides=words, folder=tmp_path / "run")
    assert run.spec.columns == ("g1", "g2", "g3")
    assert np.isfinite(run.metrics["elbo"])


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (np.array([[1.0, np.nan]] * 30), {}, "column 1 has no value at all; leave it out"),
        (RNG.integers(0, 200, (30, 1, 6, 6)).astype(np.uint8), {}, "uint8 has no missing values"),
        (holes(RNG.random((30, 1, 6, 6))), {"image_size": 4}, "data.image_size would change missing values"),
        (holes(RNG.random((30, 1, 6, 6))), {"binarization": "dynamic"}, "data.binarization would change missing"),
    ],
)
def test_what_cannot_be_masked_is_said(tmp_path: Path, x: np.ndarray, options: Any, said: str) -> None:
    np.save(tmp_path / "train.npy", x)
    with pytest.raises(ValueError, match=said):
        _ = ImageDataModule(ArrayFiles, root=str(tmp_path), missing="mask", val_size=5, **options).spec
