"""Tests which examples choose best.ckpt: by default a validation set of the data, and the truth if there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import vae_lab.evaluate
from tests.conftest import FAST, Outcome
from tests.data.small_sets import image_set
from vae_lab.data import ArrayFiles, ImageDataModule

WORDS = (*FAST, "data=array", "latent_dim=2", "logger=none")


def arrays(root: Path, num: int) -> Path:
    root.mkdir()
    rng = np.random.default_rng(0)
    np.save(root / "train_images.npy", rng.integers(0, 256, (num, 4, 4), np.uint8))
    np.save(root / "train_labels.npy", np.arange(num) % 2)
    return root


def record(run: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((run / "metrics.json").read_text())
    return content


@pytest.mark.parametrize(
    ("size", "val_size", "expected"),
    [(100, 0.1, 10), (100, 0.25, 25), (3, 0.1, 1), (2, 0.1, 1), (2, 0.5, 1), (100, 7, 7), (100, 0, 0), (100, 0.0, 0)],
)
def test_a_fraction_or_a_number_is_held_out(size: int, val_size: float, expected: int) -> None:
    data = ImageDataModule(image_set(size), val_size=val_size)
    train, val = (list(data.split(name).rows) for name in ("train", "val"))
    assert len(train) == size - expected
    assert data.selection == ("validation set" if expected else "test set")
    if expected:
        assert sorted(train + val) == list(range(size))
    else:
        assert data.split("val") is data.split("test")


@pytest.mark.parametrize(("size", "val_size"), [(1, 0.1), (1, 1), (5, 0.95), (5, 5)])
def test_nothing_left_to_train_on_is_refused(size: int, val_size: float) -> None:
    with pytest.raises(ValueError, match=rf"val_size={val_size}: must be less than the {size} training examples"):
        ImageDataModule(image_set(size), val_size=val_size).setup("fit")


@pytest.mark.parametrize("val_size", [-0.1, -1, 1.0, 1.5, float("nan")])
def test_other_sizes_are_refused(val_size: float) -> None:
    with pytest.raises(ValueError, match="val_size="):
        ImageDataModule(image_set(), val_size=val_size)


def test_ones_own_data_do_not_choose_by_the_test_set(train: Callable[..., Outcome], tmp_path: Path) -> None:
    root = arrays(tmp_path / "data", 60)
    outcome = train(*WORDS, f"data.root={root}", f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    assert "by the test set" not in outcome.out
    assert record(tmp_path / "run")["selection"] == "validation set"
    data = ImageDataModule(ArrayFiles, str(root), val_size=0.1)
    rows = [set(data.split(name).rows.tolist()) for name in ("train", "val")]
    assert [len(each) for each in rows] == [49, 5]
    assert not rows[0] & rows[1]


@pytest.mark.parametrize("num", [2, 3])
def test_a_handful_of_examples_trains_or_is_refused_in_a_line(
    train: Callable[..., Outcome], tmp_path: Path, num: int
) -> None:
    outcome = train(*WORDS, f"data.root={arrays(tmp_path / 'data', num)}", f"hydra.run.dir={tmp_path / 'run'}")
    if num == 2:
        assert outcome.code == 1
        assert len(outcome.error_lines) == 1, outcome.err
        assert "val_size=0.1: must be less than the 1 training examples; with 0 the test set" in outcome.error_lines[0]
        assert not (tmp_path / "run").exists()
    else:
        assert outcome.code == 0, outcome.err
        assert "few examples train, val, test: fewer than 10, so that their figures mean little" in outcome.out


def test_a_run_that_chooses_by_the_test_set_says_so(train: Callable[..., Outcome], tmp_path: Path) -> None:
    words = (*WORDS, f"data.root={arrays(tmp_path / 'data', 30)}", "data.val_size=0", "callbacks=early_stopping")
    outcome = train(*words, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("selection ")]
    assert "by the test set, as data.val_size=0: best.ckpt, early stopping and searches see it" in line
    assert record(tmp_path / "run")["selection"] == "test set"


@pytest.mark.parametrize("word", ["test_checkpoint=last", "callbacks.checkpoint=null"])
def test_a_run_that_chooses_nothing_says_nothing_of_it(
    train: Callable[..., Outcome], tmp_path: Path, word: str
) -> None:
    words = (*WORDS, f"data.root={arrays(tmp_path / 'data', 30)}", "data.val_size=0", word)
    outcome = train(*words, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    assert "selection " not in outcome.out
    assert record(tmp_path / "run")["selection"] == "none"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("how", ["folder", "auto"])
def test_an_older_run_goes_on_and_is_evaluated_without_a_validation_set(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path, how: str
) -> None:
    run = tmp_path / "run"
    words = (*WORDS, f"data.root={arrays(tmp_path / 'data', 30)}", f"hydra.run.dir={run}")
    assert train(*words, "data.val_size=0").code == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["overrides"].remove("data.val_size=0")  # it was the default
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    quick = ("trainer=cpu", "num_samples=2", "elbo_samples=1", "trainer.enable_progress_bar=false")
    assert command(vae_lab.evaluate.main, f"run={run}", *quick).code == 0

    more = "trainer.max_epochs=2"
    outcome = train(f"resume={run}", more) if how == "folder" else train(*words, "resume=auto", more)
    assert outcome.code == 0, outcome.err
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["val_size"] == 0
    assert record(run)["selection"] == "test set"
    given = train(f"resume={run}", "data.val_size=0.1", "trainer.max_epochs=3")
    assert "data.val_size=0.1: " in given.error_lines[0]
    assert "keeps 0" in given.error_lines[0]


@pytest.mark.parametrize("size", ["500", "0.3", "0"])
def test_a_size_beside_a_validation_set_of_ones_own_is_refused(
    train: Callable[..., Outcome], tmp_path: Path, size: str
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "own").mkdir()
    for split in ("train", "val"):
        np.save(tmp_path / "own" / f"{split}_images.npy", rng.integers(0, 256, (40, 4, 4), np.uint8))
    outcome = train("data=array", "data.root=own", *FAST, f"data.val_size={size}", "hydra.run.dir=run")
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert f"data.val_size={size}: not used, because val_images.npy is the validation set" in line
    assert not (tmp_path / "run").exists()
