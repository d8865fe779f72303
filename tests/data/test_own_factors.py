"""Generative factors of a user's own arrays, and of dSprites and 3D Shapes in the layouts of their published files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.conftest import FAST, Outcome, trained_run
from vae_lab.data import ArrayFiles, ImageDataModule
from vae_lab.evaluate import main as evaluate
from vae_lab.runs.untrusted import read_json

GRID = np.array(list(product(range(3), range(2), range(5), range(8))))
RNG = np.random.default_rng(0)


def pictures(side: int = 8) -> np.ndarray:
    """A bar whose place is the last factor."""
    x = np.zeros((len(GRID), side, side), np.uint8)
    x[np.arange(len(GRID)), :, GRID[:, 3]] = 1
    return x


def dsprites(path: Path) -> Path:
    """The arrays of dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz, of fewer and smaller pictures."""
    classes = np.concatenate([np.zeros((len(GRID), 1), np.int64), GRID, GRID[:, 3:] % 2], axis=1)
    np.savez(
        path,
        metadata=np.array({"title": "dSprites dataset"}, dtype=object),
        imgs=pictures(),
        latents_classes=classes,
        latents_values=classes * 0.5,
    )
    return path


def shapes3d(path: Path) -> Path:
    """The arrays of 3dshapes.h5: images (N, 64, 64, 3) of uint8 and labels (N, 6) of float64, the factors' values."""
    values = np.concatenate([GRID * 0.1, GRID[:, :2] - 30.0], axis=1)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=RNG.integers(0, 256, (len(GRID), 8, 8, 3), np.uint8), chunks=(32, 8, 8, 3))
        file.create_dataset("labels", data=values)
    return path


def check_grid(own: ArrayFiles, columns: slice) -> None:
    parts = [own.load(train) for train in (True, False)]
    factors = np.concatenate([part.factors for part in parts])
    assert factors.dtype == np.int64
    assert factors.shape == (len(GRID), len(own.factor_names))
    assert sorted(factors[:, columns].tolist()) == sorted(GRID.tolist())


@pytest.mark.parametrize("limit", [4.0, 0.0])
def test_dsprites_is_read_as_it_is_published(tmp_path: Path, limit: float) -> None:
    own = ArrayFiles(str(dsprites(tmp_path / "d.npz")), memory_limit_gb=limit)
    assert own.factor_names == ("color", "shape", "scale", "orientation", "posX", "posY")
    assert (own.support, own.shape, own.num_classes) == ("binary", (1, 8, 8), 0)
    check_grid(own, slice(1, 5))
    for part in (own.load(train=True), own.load(train=False)):
        assert part.factors is not None
        assert (part.x[:, 0].argmax(2)[:, 0] == part.factors[:, 4]).all()


@pytest.mark.parametrize("limit", [4.0, 0.0])
def test_3d_shapes_is_read_as_it_is_published(tmp_path: Path, limit: float) -> None:
    own = ArrayFiles(str(shapes3d(tmp_path / "3dshapes.h5")), memory_limit_gb=limit)
    assert own.factor_names == ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
    assert (own.support, own.shape, own.num_classes) == ("uint8", (3, 8, 8), 0)
    check_grid(own, slice(0, 4))


def test_own_factors_are_scored_as_those_of_sprites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Outcome]
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    np.save(folder / "train.npy", pictures().repeat(4, 0))
    np.save(folder / "train_factors.npy", GRID.repeat(4, 0))
    (folder / "factor_names.txt").write_text("a\nb\nc\nplace\n")
    run = trained_run(tmp_path / "run", "data=array", f"data.root={folder}", "model=vae", *FAST)
    outcome = command(evaluate, f"run={run}", "num_samples=2", "trainer=cpu")
    assert outcome.code == 0, outcome.err
    result = read_json(run / "evaluation.json")
    assert set(result["mig_by_factor"]) == {"a", "b", "c", "place"}
    for score in ("mig", "sap", "dci_disentanglement", "factor_vae_score"):
        assert 0 <= result[score] <= 1
    assert "mig of place" in outcome.out


def written(root: Path, factors: Any, split: str = "train", **arrays: np.ndarray) -> ArrayFiles:
    np.save(root / "train.npy", pictures())
    np.save(root / f"{split}_factors.npy", factors)
    for name, array in arrays.items():
        np.save(root / f"{name}.npy", array)
    return ArrayFiles(str(root))


def test_factors_without_names_are_numbered(tmp_path: Path) -> None:
    own = written(tmp_path, GRID)
    assert own.factor_names == ("factor_0", "factor_1", "factor_2", "factor_3")
    check_grid(own, slice(None))
    assert ImageDataModule(lambda **_: own, val_size=5).factors(7) is not None


BAD = [
    (GRID[1:], {}, r"train_factors\.npy: \(239, 4\), must be \(240, 4\): a row for each example"),
    (np.where(GRID == 7, np.nan, GRID), {}, "values that are not finite numbers"),
    (GRID, {"test": pictures()}, r"test\.npy: no test_factors beside it, but the training examples have factors"),
    (GRID, {"test": pictures(), "test_factors": GRID[:, :3]}, r"test_factors\.npy: \(240, 3\), must be \(240, 4\)"),
]


@pytest.mark.parametrize(("factors", "others", "message"), BAD)
def test_wrong_factors_are_named(tmp_path: Path, factors: np.ndarray, others: dict, message: str) -> None:
    own = written(tmp_path, factors, **others)
    with pytest.raises(ValueError, match=message):
        own.load(train=not others)


def test_continuous_factors_and_other_names_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", RNG.normal(size=(2000, 3)))
    np.save(tmp_path / "train_factors.npy", RNG.normal(size=(2000, 1)))
    with pytest.raises(ValueError, match=r"factor factor_0 has 2000 values, .* at most 1000; save np\.dig"):
        ArrayFiles(str(tmp_path)).load(train=True)
    (tmp_path / "factor_names.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"factor_names\.txt: 2 names, but .*train_factors\.npy has 1"):
        ArrayFiles(str(tmp_path)).load(train=True)


def test_a_corrupt_file_or_no_h5py_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"a\.h5: corrupt, truncated or not HDF5") as refused:
        _ = ArrayFiles(str(path)).shape
    assert "\n" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"a\.h5: reading it needs h5py; pip install 'vae-lab\[h5\]'"):
        _ = ArrayFiles(str(path)).shape
