"""Arrays of any type and shape: kind, layout and values are found, or refused with the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import FAST, Outcome
from vae_lab.data import ArrayFiles, ImageDataModule
from vae_lab.evaluate import main as evaluate
from vae_lab.runs.loading import find_run

RNG = np.random.default_rng(0)


def own(root: Path, train: np.ndarray, **options: Any) -> ArrayFiles:
    np.save(root / "train.npy", train)
    return ArrayFiles(str(root), **options)


def real(*shape: int) -> np.ndarray:
    return 3 + 10 * RNG.normal(size=shape)


def unit(*shape: int) -> np.ndarray:
    return RNG.random(shape)


def whole(top: int, *shape: int, low: int = 0) -> np.ndarray:
    x = RNG.integers(low, top + 1, shape)
    x.flat[0] = top
    return x


FOUND = [
    # saved, options, shape, support, value of x[0] at its first place as stored
    (real(20, 7), {}, (7,), "real", None),
    (unit(20, 7), {}, (7,), "unit", None),
    (whole(17, 20, 7), {}, (7,), "real", None),
    (whole(1, 20, 7), {}, (7,), "binary", 255),
    (whole(1, 20, 7).astype(bool), {}, (7,), "binary", 255),
    (whole(1, 20, 7).astype(np.float32), {}, (7,), "binary", 255),
    (whole(255, 20, 7).astype(np.uint8), {}, (7,), "uint8", 255),
    (real(20, 3, 50), {}, (3, 50), "real", None),
    (real(20, 50, 1), {}, (1, 50), "real", None),
    (real(20, 50, 3), {"layout": "channels_last"}, (3, 50), "real", None),
    (real(20, 50), {"kind": "signals"}, (1, 50), "real", None),
    (unit(20, 3, 50), {"kind": "signals"}, (3, 50), "unit", None),
    (whole(900, 20, 3, 50, low=-900).astype(np.int16), {}, (3, 50), "real", None),
    (unit(20, 6, 6), {}, (1, 6, 6), "unit", None),
    (real(20, 6, 6), {"kind": "pictures"}, (1, 6, 6), "real", None),
    (whole(255, 20, 6, 6).astype(np.float32), {}, (1, 6, 6), "uint8", 255),
    (whole(255, 20, 6, 6), {}, (1, 6, 6), "uint8", 255),
    (whole(4095, 20, 6, 6).astype(np.uint16), {}, (1, 6, 6), "unit", 1.0),
    (whole(3000, 20, 6, 6).astype(np.uint16), {}, (1, 6, 6), "unit", 3000 / 4095),
    (whole(60000, 20, 6, 6, 3).astype(">u2"), {}, (3, 6, 6), "unit", 60000 / 65535),
    (whole(1000, 20, 6, 6).astype(np.uint16), {"max_value": 1000}, (1, 6, 6), "unit", 1.0),
    (whole(16, 20, 6, 6).astype(np.float64), {"max_value": 16}, (1, 6, 6), "uint8", 255),
    (unit(20, 6, 9, 3), {}, (3, 6, 9), "unit", None),
    (unit(20, 6, 9, 8), {"layout": "channels_last"}, (8, 6, 9), "unit", None),
    (real(20, 1, 4, 5, 6), {}, (1, 4, 5, 6), "real", None),
    (real(20, 6, 5, 8, 2), {}, (2, 6, 5, 8), "real", None),
    (unit(20, 6, 6, 6), {"kind": "volumes"}, (1, 6, 6, 6), "unit", None),
    (whole(1, 20, 6, 6, 6).astype(bool), {"kind": "volumes"}, (1, 6, 6, 6), "binary", 255),
    (whole(1500, 20, 6, 6, 6, low=-1000), {"kind": "volumes"}, (1, 6, 6, 6), "real", None),
]


@pytest.mark.parametrize("limit", [4.0, 0.0])
@pytest.mark.parametrize(
    ("train", "options", "shape", "support", "first"), FOUND, ids=lambda v: str(getattr(v, "shape", v))
)
def test_what_people_have_is_recognised(
    tmp_path: Path, train: np.ndarray, options: dict, shape: tuple, support: str, first: Any, limit: float
) -> None:
    source = own(tmp_path, train, memory_limit_gb=limit, test_fraction=0.5, **options)
    assert (source.shape, source.support) == (shape, support)
    parts = [source.load(train=flag).x for flag in (True, False)]
    assert parts[0].dtype == (np.uint8 if support in ("binary", "uint8") else np.float32)
    assert sum(len(part) for part in parts) == 20
    if first is None:  # as saved, channels moved to the front
        whole_set = np.sort(np.concatenate([part.reshape(len(part), -1).sum(1) for part in parts]))
        expected = train.reshape(20, -1).sum(1)
        np.testing.assert_allclose(whole_set, np.sort(expected), rtol=1e-5)
    else:
        assert max(part.max() for part in parts) == pytest.approx(first)


def test_channels_that_are_last_come_first(tmp_path: Path) -> None:
    train = real(20, 50, 3)
    np.save(tmp_path / "test.npy", train[:4])
    source = own(tmp_path, train, layout="channels_last")
    np.testing.assert_allclose(source.load(train=False).x, train[:4].transpose(0, 2, 1), rtol=1e-6)


def test_large_float_arrays_stay_on_disk(tmp_path: Path) -> None:
    train = real(20, 7).astype(np.float32)
    np.save(tmp_path / "test.npy", train[:5])
    source = own(tmp_path, train, memory_limit_gb=0)
    x = source.load(train=True).x
    assert isinstance(x, np.memmap)
    assert Path(str(x.filename)) == tmp_path / "train.npy"
    np.testing.assert_array_equal(x, train)


BAD = [
    (real(20, 6, 6), {}, r"of real numbers: pictures \(N, H, W\), or signals \(N, C, T\)\? Set data\.images\.kind="),
    (unit(20, 6, 9), {}, r"of values in \[0, 1\]: pictures .*data\.images\.kind=pictures or signals"),
    (real(20, 50, 3), {}, r"data\.images\.layout=channels_first for \(N, C, T\), or channels_last for \(N, T, C\)"),
    (unit(20, 6, 6, 6), {}, r"data\.images\.layout=.*data\.images\.kind=volumes for \(N, D, H, W\)"),
    (real(20, 6, 6, 6, 6), {}, r"channels_first for \(N, C, D, H, W\), or channels_last"),
    (real(20), {}, r"float64 \(20,\), expected \(N, D\).*x\.reshape\(-1, 1\)"),
    (real(2, 2, 2, 2, 2, 2), {}, "expected "),
    (real(20, 3, 3) + 1j, {}, "complex numbers; save real and imaginary parts as two channels"),
    (np.array([["a", "b"]] * 4), {}, "must be numbers"),
    (real(20, 3, 3), {"kind": "table"}, r"kind=table is \(N, D\); x\.reshape\(len\(x\), -1\)"),
    (real(20, 3), {"kind": "volumes"}, "kind=volumes has 4 or 5 axes"),
    (
        whole(20, 20, 6, 6),
        {},
        r"no value is above 20; set data\.images\.max_value .*31, say.*, or data\.support=real",
    ),
]


@pytest.mark.parametrize(("train", "options", "message"), BAD)
def test_what_can_be_read_in_two_ways_is_refused(
    tmp_path: Path, train: np.ndarray, options: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"train\.npy: .*{message}") as refused:
        _ = own(tmp_path, train, **options).support
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("value", "shown"), [(np.inf, "inf"), (-np.inf, "-inf"), (1e300, "1e+300")])
@pytest.mark.parametrize("shape", [(9000, 4), (50, 2, 30)])
def test_values_that_are_not_finite_are_named(tmp_path: Path, value: float, shown: str, shape: tuple) -> None:
    train = real(*shape)
    train[(len(train) - 3, 1, 7)[: len(shape)]] = value
    where = "row 8997, column 1" if len(shape) == 2 else "row 47, place 1, 7"
    with pytest.raises(ValueError, match=rf"train\.npy: {where}: {shown.replace('+', '[+]')}, must be a finite number"):
        _ = own(tmp_path, train).support
    np.save(tmp_path / "test.npy", train)
    with pytest.raises(ValueError, match=rf"test\.npy: {where}: "):
        own(tmp_path, real(*shape)).load(train=False)


@pytest.mark.parametrize("limit", [4.0, 0.0])
def test_a_split_outside_the_training_values_is_named(tmp_path: Path, limit: float) -> None:
    test = unit(9, 4).astype(np.float32)
    test[5, 2] = 1.5
    np.save(tmp_path / "test.npy", test)
    source = own(tmp_path, unit(20, 4).astype(np.float32), memory_limit_gb=limit)
    with pytest.raises(ValueError, match=r"test\.npy: .*1\.5.*data\.support=real"):
        source.load(train=False)
    np.save(tmp_path / "test.npy", test[:, :, None, None, None])
    with pytest.raises(ValueError, match=r"test\.npy: .*the training array has 2 axes"):
        own(tmp_path, unit(20, 4)).load(train=False)
    np.save(tmp_path / "test.npy", test[:, :3])
    with pytest.raises(ValueError, match=r"test\.npy: examples of 3, but those of the training set are 4"):
        own(tmp_path, real(20, 4)).load(train=False)


@pytest.mark.parametrize("split_rows", [(3, 17), (11, 2)])
def test_a_binary_array_with_another_value_names_its_row(tmp_path: Path, split_rows: tuple[int, int]) -> None:
    x = whole(1, 20, 3).astype(np.float64)
    np.save(tmp_path / "test.npy", np.where(np.arange(20)[:, None] == split_rows[0], 0.5, x))
    with pytest.raises(ValueError, match=rf"test\.npy: row {split_rows[0]}, column 0: 0\.5, but the values are 0 or 1"):
        own(tmp_path, x).load(train=False)


ASKED = [
    (whole(255, 20, 6, 6).astype(np.uint8), "real", np.float32, 255.0),
    (whole(255, 20, 6, 6).astype(np.uint8), "unit", np.float32, 1.0),
    (unit(20, 6, 6), "uint8", np.uint8, None),
    (unit(20, 6, 6), "real", np.float32, None),
    (whole(1, 20, 6, 6).astype(bool), "real", np.float32, 1.0),
    (whole(1, 20, 6, 6).astype(bool), "uint8", np.uint8, 255),
]


@pytest.mark.parametrize(("train", "support", "dtype", "highest"), ASKED)
def test_the_support_can_be_given(tmp_path: Path, train: np.ndarray, support: Any, dtype: type, highest: Any) -> None:
    options = {"kind": "pictures"}
    own(tmp_path, train)
    data = ImageDataModule(lambda **_: ArrayFiles(str(tmp_path), **options), val_size=0, support=support)
    assert data.spec.support == support
    assert (data.spec.scaling is not None) == (support == "real")
    arrays = data.split("train").arrays
    assert arrays.x.dtype == dtype
    if highest is not None:
        assert max(data.split(name).arrays.x.max() for name in ("train", "test")) == highest


@pytest.mark.parametrize(("train", "support"), [(real(20, 4), "unit"), (real(20, 4), "uint8"), (real(9, 4), "binary")])
def test_a_support_that_the_values_do_not_have_is_refused(tmp_path: Path, train: np.ndarray, support: Any) -> None:
    own(tmp_path, train)
    data = ImageDataModule(ArrayFiles, root=str(tmp_path), val_size=0, support=support)
    with pytest.raises(ValueError, match=rf"data\.support={support}: .*train\.npy: values from -.*max_value"):
        _ = data.spec


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_values_beyond_the_white_that_was_asked_for_are_refused(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "train.npy", whole(5000, 20, 3, 6, 6).astype(dtype))
    with pytest.raises(ValueError, match=r"max_value=4095: .*train\.npy: values from \d+ to 5000, must be 0 to 4095"):
        ArrayFiles(str(tmp_path), max_value=4095).load(train=True)
    assert ArrayFiles(str(tmp_path), max_value=5000).load(train=True).x.max() == 1


def test_numbers_that_32_bits_do_not_tell_apart_are_refused(tmp_path: Path) -> None:
    x = 1.6e9 + real(20, 2)
    with pytest.raises(ValueError, match=r"column 0: values around 1\.6e\+09 .* subtract their mean before saving"):
        ArrayFiles(own(tmp_path, x).root).load(train=True)


def test_column_names_are_read(tmp_path: Path) -> None:
    (tmp_path / "column_names.txt").write_text("alcohol\nash\n")
    assert own(tmp_path, real(20, 2)).columns == ("alcohol", "ash")
    with pytest.raises(ValueError, match=r"column_names\.txt: 2 names for 3 columns"):
        _ = own(tmp_path, real(20, 3)).columns


def test_standardisation_can_be_left_out_and_is_for_real_numbers(tmp_path: Path) -> None:
    own(tmp_path, real(20, 2))
    make = {"images": ArrayFiles, "root": str(tmp_path), "val_size": 2}
    assert ImageDataModule(**make).spec.scaling is not None
    assert ImageDataModule(**make, standardize=False).spec.scaling is None
    own(tmp_path, unit(20, 2))
    assert ImageDataModule(**make).spec.scaling is None
    with pytest.raises(ValueError, match="standardize=true: only real numbers"):
        _ = ImageDataModule(**make, standardize=True).spec


WORDS = ("data=array", "data.root=own", "network=mlp", "logger=none", *FAST)


def test_a_run_that_is_resumed_again_and_again_records_the_same_choices(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    """By ``resume=auto``, as a cluster and a resumed sweep start it, what was left to the data stays what it was."""
    own(tmp_path, unit(40, 2))
    words = (*WORDS, f"data.root={tmp_path}", "hydra.run.dir=run", "resume=auto")
    records = []
    for epochs in (1, 2, 3):
        outcome = train(*words, f"trainer.max_epochs={epochs}")
        assert outcome.code == 0, outcome.err
        records.append(find_run(tmp_path / "run").config)
    assert [record["choices"]["likelihood"] for record in records] == ["gaussian"] * 3
    assert records[1]["choices"] == records[0]["choices"]
    assert records[1]["likelihood"] == records[0]["likelihood"]


def test_a_table_trains_resumes_and_evaluates_in_its_own_units(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    x = np.array([13.0, 750.0]) + np.array([0.8, 300.0]) * RNG.normal(size=(80, 2))
    np.save(tmp_path / "own" / "train.npy", x)
    outcome = train(*WORDS, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert "likelihood   gaussian, because of the values (real); likelihood=NAME takes another" in lines
    assert "values       real numbers, saved as float64, standardised by the training split" in lines
    run = find_run(tmp_path / "run")
    assert run.config["data"]["images"]["kind"] == "table"
    assert run.config["choices"]["likelihood"] == "gaussian"
    assert run.config["likelihood"]["scale"] == "per_dimension"  # columns differ in what can be predicted of them
    scaling = run.spec().scaling
    assert scaling is not None
    assert scaling.mean[1] == pytest.approx(750, abs=200)
    assert train("resume=run", "trainer.max_epochs=2").code == 0
    assert train(*WORDS, "hydra.run.dir=run", "resume=auto", "trainer.max_epochs=3").code == 0
    assert find_run(tmp_path / "run").spec().scaling == scaling
    # Other data of the same columns, which all lie in [0, 1]: the run's own support and scaling count.
    (tmp_path / "other").mkdir()
    np.save(tmp_path / "other" / "train.npy", unit(40, 2))
    assert command(evaluate, "run=run", "data_root=other", "num_samples=2", "trainer=cpu").code == 0
    assert find_run(tmp_path / "run").data(root=str(tmp_path / "other")).spec.scaling == scaling
    outcome = train(*WORDS, "likelihood=bernoulli")
    assert outcome.code == 1
    assert outcome.error_lines == ["error: likelihood Bernoulli cannot model real data; choose likelihood=gaussian"]
