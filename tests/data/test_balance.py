"""Classes sampled evenly, and labels that are partly missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import BARE, FAST, Outcome
from vae_lab.data import ArrayFiles, Arrays, BatchLoader, ImageDataModule
from vae_lab.data.loader import BalancedSampler
from vae_lab.data.summary import summary

COUNTS = (70, 25, 5)
LABELS = np.repeat(np.arange(3), COUNTS)


@pytest.mark.parametrize("rows", [np.arange(100), np.arange(100)[::-1], np.arange(0, 100, 2)])
def test_each_epoch_has_every_class_equally_often_and_keeps_its_length(rows: np.ndarray) -> None:
    sampler = BalancedSampler(rows, LABELS[rows], seed=3)
    orders = []
    for epoch in range(20):
        sampler.set_epoch(epoch)
        order = sampler.order()
        assert len(order) == len(rows)
        assert set(order) <= set(rows)
        per_class = np.bincount(LABELS[order], minlength=3)
        assert per_class.max() - per_class.min() <= 1
        for label in range(3):  # the members of a class differ by one time at most
            times = np.bincount(order[LABELS[order] == label], minlength=100)[rows[LABELS[rows] == label]]
            assert times.max() - times.min() <= 1
        orders.append(order.tolist())
    assert len({tuple(order) for order in orders}) == 20
    everything = np.bincount(np.concatenate(orders), minlength=100)
    assert (everything[rows] > 0).all()  # a frequent class shows another part in each epoch


def test_classes_without_a_training_example_are_named(tmp_path: Path) -> None:
    labels = np.array([0] * 10 + [2] * 9 + [1])
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}.npy", np.random.default_rng(0).normal(size=(20, 3)))
        np.save(tmp_path / f"{split}_labels.npy", labels)
    (tmp_path / "class_names.txt").write_text("ant\nbee\ncat")
    lines = []
    for seed in range(20):  # until the seed holds out the one bee
        data = ImageDataModule(ArrayFiles, root=str(tmp_path), val_size=9, seed=seed)
        train = data.split("train")
        line = "classes      1 without a training example (bee)"
        assert (line in summary(data).splitlines()) == (1 not in train.arrays.y[train.rows])
        lines.append(line in summary(data).splitlines())
    assert {*lines} == {True, False}


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = BalancedSampler(np.arange(100), LABELS, seed)
        sampler.set_epoch(epoch)
        return sampler.order().tolist()

    assert order(1, 4) == order(1, 4)
    assert order(1, 4) != order(2, 4) != order(1, 5)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_what_one_would_see(world: int) -> None:
    arrays = Arrays(np.arange(100, dtype=np.uint8)[:, None], LABELS)
    for epoch in (0, 1):
        seen = []
        for rank, of in ((0, 1), *((rank, world) for rank in range(world))):
            sampler = BalancedSampler(np.arange(100), LABELS, seed=0)
            sampler.set_epoch(epoch)
            loader = BatchLoader(arrays, sampler, 12, rank, of, even=True)
            seen.append([batch.x[:, 0].tolist() for batch in loader])
        for number, whole in enumerate(seen[0][:-1]):
            assert sorted(whole) == sorted(x for part in seen[1:] for x in part[number])


def folder(root: Path, labels: Any, **others: Any) -> str:
    root.mkdir(exist_ok=True)
    x = np.random.default_rng(0).normal(size=(len(labels), 3))
    np.save(root / "train.npy", x)
    np.save(root / "train_labels.npy", labels)
    for name, array in others.items():
        np.save(root / f"{name}.npy", array)
    return str(root)


def test_the_data_module_balances_the_training_split_alone(tmp_path: Path) -> None:
    data = ImageDataModule(ArrayFiles, root=folder(tmp_path, LABELS), val_size=10, balance=True)
    ys = np.concatenate([batch.y.numpy() for batch in data.train_dataloader()])
    assert len(ys) == data.size("train") == 80
    assert np.ptp(np.bincount(ys)) <= 1
    split = data.split("val")
    assert split.arrays.y is not None
    assert np.concatenate([batch.y for batch in data.val_dataloader()]).tolist() == split.arrays.y[split.rows].tolist()
    assert "each of 3 classes about 27 times in an epoch; the rarest has" in data.balance_note()


def test_a_balanced_run_says_so_and_needs_classes(train: Callable[..., Outcome], tmp_path: Path) -> None:
    folder(tmp_path / "own", LABELS)
    words = ("data=array", "data.root=own", "data.balance=true", "logger=none")
    outcome = train(*words, *FAST, "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert "balance      each of 3 classes about 27 times in an epoch" in outcome.out
    assert train("resume=run", "trainer.max_epochs=2").code == 0
    (tmp_path / "own" / "train_labels.npy").unlink()
    outcome = train(*words, *BARE)
    assert outcome.error_lines == [
        "error: data.balance=true: samples classes evenly, and these data have none; leave it out"
    ]


MISSING = [
    (np.where(np.arange(100) % 10 == 3, -1, LABELS), "-1 or NaN"),
    (np.where(np.arange(100) % 10 == 3, np.nan, LABELS), "-1 or NaN"),
    (np.where(np.arange(100) % 10 == 3, "", np.array(["a", "b", "c"])[LABELS]), "empty"),
    (np.where(np.arange(100) % 10 == 3, " ", np.array(["a", "b", "c"])[LABELS])[:, None], "empty"),
]


@pytest.mark.parametrize(("labels", "shown"), MISSING)
def test_labels_that_are_partly_missing_are_not_used(tmp_path: Path, labels: np.ndarray, shown: str) -> None:
    own = ArrayFiles(folder(tmp_path, labels))
    assert own.num_classes == 0
    assert own.load(train=True).y is None
    path = tmp_path / "train_labels.npy"
    assert own.missing_labels == f"10 of 100 in {path} are missing ({shown}, first in row 3)"


def test_missing_labels_of_another_split_count_as_well(tmp_path: Path) -> None:
    others = {"test": np.ones((4, 3)), "test_labels": np.array([0, 1, -1, 2])}
    own = ArrayFiles(folder(tmp_path, LABELS, **others))
    assert own.missing_labels.startswith("1 of 4 in ")
    assert own.load(train=True).y is own.load(train=False).y is None


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_labels_of_minus_one_and_one_are_refused(tmp_path: Path, dtype: type) -> None:
    own = ArrayFiles(folder(tmp_path, np.where(LABELS == 0, -1, 1).astype(dtype)))
    with pytest.raises(ValueError, match=r"labels of -1 and 1: two classes, or is -1 missing\? Save 0 and 1"):
        own.load(train=True)


def test_a_conditional_model_refuses_missing_labels_with_their_number(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder(tmp_path / "own", MISSING[0][0])
    words = ("data=array", "data.root=own", "logger=none", *BARE)
    outcome = train(*words)
    assert outcome.code == 0, outcome.err
    assert "labels       not used, because 10 of 100 in " in outcome.out
    outcome = train(*words, "model=cvae")
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert "model.conditional=true: needs the label of every example, and 10 of 100 in " in line
