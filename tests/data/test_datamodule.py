"""Batches: each example once, the same whatever the number of processes, binarized as published."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from tests.data.small_sets import image_set
from vae_lab import noise
from vae_lab.data import BatchLoader, EpochSampler, ImageDataModule, Mnist
from vae_lab.data.arrays import evenly_spread
from vae_lab.data.split_rows import binarized
from vae_lab.types import Batch, DataSpec, Shard


def loaders(world: int, num: int = 100, batch_size: int = 12, even: bool = True, **options: Any) -> list[BatchLoader]:
    arrays = image_set(num)().load(train=True)
    return [
        BatchLoader(arrays, EpochSampler(np.arange(num), seed=3), batch_size, rank, world, even, **options)
        for rank in range(world)
    ]


def numbers(loader: BatchLoader) -> list[int]:
    """The numbers of the images that a loader gives, in order."""
    return [int(i) for batch in loader for i in batch.x[:, 0, 0, 0]]


def values(x: Tensor) -> set[float]:
    return set(x.flatten().tolist())


def whole_batches(ranks: list[BatchLoader]) -> list[list[int]]:
    """Returns the batches of all ranks, put together by their shards."""
    whole = []
    for parts in zip(*ranks, strict=True):
        shards = [part.shard for part in parts]
        batch = np.full(shards[0].size, -1)
        for part, shard in zip(parts, shards, strict=True):
            batch[shard.rows] = part.x[:, 0, 0, 0]
        whole.append(batch.tolist())
    return whole


# The loader


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_each_example_once_over_any_number_of_processes(world: int) -> None:
    for num, batch_size in ((100, 12), (25, 12), (24, 12), (5, 12), (7, 2)):
        seen = [n for loader in loaders(world, num, batch_size, even=False) for n in numbers(loader)]
        assert sorted(seen) == list(range(num))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_batch_of_several_processes_is_the_batch_of_one(world: int) -> None:
    shared, alone = whole_batches(loaders(world)), whole_batches(loaders(1))
    assert shared[:-1] == alone[:-1]
    assert shared[-1] == alone[-1][: len(shared[-1])]
    assert len(alone[-1]) - len(shared[-1]) < world


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("num", [96, 97, 98, 100, 107])
def test_training_ranks_have_equally_many_rows_of_equally_many_batches(world: int, num: int) -> None:
    sizes = [[len(batch.x) for batch in loader] for loader in loaders(world, num)]
    assert all(size == sizes[0] for size in sizes)
    assert min(sizes[0]) > 0
    assert 0 <= num - world * sum(sizes[0]) < world


def test_length_is_the_number_of_batches() -> None:
    for world in (1, 2, 3):
        for even in (True, False):
            for num in (1, 5, 24, 25, 26, 100):
                for loader in loaders(world, num, even=even):
                    assert len(loader) == len(list(loader))


def test_drop_last_leaves_only_full_batches() -> None:
    (loader,) = loaders(1, 100, drop_last=True)
    assert [len(batch.x) for batch in loader] == [12] * 8


def test_epochs_differ_repeat_by_seed_and_cover_everything() -> None:
    (loader,) = loaders(1)
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        orders.append(numbers(loader))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == sorted(orders[0]) == list(range(100))
    assert orders[0] != list(range(100))


def test_labels_stay_with_their_images() -> None:
    for batch in loaders(1)[0]:
        assert batch.y is not None
        assert batch.y.dtype == torch.int64
        assert batch.x.dtype == torch.uint8
        assert torch.equal(batch.x[:, 0, 0, 0] % 10, batch.y)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=12: must be a multiple of the 5 processes"):
        loaders(5)


class CountedArray(np.ndarray):
    """An array that counts how often it is indexed."""

    count = 0

    def __getitem__(self, key: Any) -> Any:
        CountedArray.count += 1
        return np.asarray(self)[key]


def test_a_batch_is_one_index_operation() -> None:
    (loader,) = loaders(1)
    object.__setattr__(loader.arrays, "x", loader.arrays.x.view(CountedArray))
    CountedArray.count = 0
    assert len(list(loader)) == CountedArray.count == 9


def test_memory_mapped_data_give_the_same_batches(tmp_path: Path) -> None:
    for world in (1, 2):
        mapped = ImageDataModule(image_set(map_to=tmp_path), val_size=20, batch_size=16)
        usual = ImageDataModule(image_set(), val_size=20, batch_size=16)
        assert isinstance(mapped.split("train").arrays.x, np.memmap)
        for data in (mapped, usual):
            data.trainer = type("Trainer", (), {"global_rank": world - 1, "world_size": world})  # type: ignore[assignment]
        for a, b in zip(mapped.train_dataloader(), usual.train_dataloader(), strict=True):
            assert torch.equal(a.x, b.x)
            assert a.y is not None
            assert b.y is not None
            assert torch.equal(a.y, b.y)


# Splits


def test_validation_is_a_part_of_the_training_set_that_the_seed_chooses() -> None:
    def rows(seed: int, name: Any) -> list[int]:
        return list(ImageDataModule(image_set(), val_size=30, seed=seed).split(name).rows)

    assert len(rows(0, "val")) == 30
    assert sorted(rows(0, "train") + rows(0, "val")) == list(range(100))
    assert rows(0, "val") == rows(0, "val") != rows(1, "val")


def test_without_a_validation_part_the_test_set_is_validated_on() -> None:
    data = ImageDataModule(image_set(), val_size=0)
    assert len(data.split("train").rows) == 100
    assert numbers(data.val_dataloader()) == numbers(data.test_dataloader()) == list(range(40))


@pytest.mark.parametrize("binarization", ["none", "static", "dynamic", "threshold"])
def test_a_set_with_its_own_validation_split_holds_out_nothing(binarization: Any) -> None:
    made = image_set()
    made.has_val = True  # type: ignore[attr-defined]
    made.read_val = lambda self: image_set(num_train=7)().read(train=True)  # type: ignore[attr-defined]
    data = ImageDataModule(made, binarization=binarization, val_size=30)
    assert [len(data.split(name).rows) for name in ("train", "val", "test")] == [100, 7, 40]  # type: ignore[arg-type]
    own = data.split("val").arrays.y
    assert own is not None
    assert own.tolist() == list(range(7))
    assert len(torch.cat([batch.x for batch in data.val_dataloader()])) == 7


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch_size", 0), ("val_size", -1), ("seed", -1), ("binarization", "sometimes"), ("image_size", 0)],
)
def test_bad_values_are_named(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{key}={value}"):
        ImageDataModule(image_set(), **{key: value})


def test_a_validation_part_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="val_size=100: must be less than the 100"):
        ImageDataModule(image_set(), val_size=100).setup("fit")


def test_a_batch_size_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=128: no batch"):
        ImageDataModule(image_set(), val_size=10, drop_last=True).train_dataloader()


def test_a_label_outside_the_classes_is_named() -> None:
    made = image_set(num_classes=3)
    made.num_classes = 2  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"numbered: label 2 is outside the classes 0\.\.1"):
        ImageDataModule(made).setup()


@pytest.mark.parametrize(
    ("binarization", "support"), [("none", "uint8"), ("dynamic", "binary"), ("threshold", "binary")]
)
def test_the_spec_is_known_before_anything_is_read(binarization: Any, support: Any) -> None:
    made = image_set()
    made.read = None  # type: ignore[attr-defined]
    spec = ImageDataModule(made, binarization=binarization, image_size=6).spec
    assert spec == DataSpec((1, 6, 6), 10, support)


# Floats and binarization


def test_grey_values_become_floats_in_the_unit_interval() -> None:
    data = ImageDataModule(image_set(), val_size=10)
    batch = next(iter(data.test_dataloader()))
    x = data.transform(batch, training=True).x
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, batch.x.double().div(255).float(), rtol=0, atol=1e-7)


def test_threshold_is_one_above_a_half() -> None:
    data = ImageDataModule(image_set(), binarization="threshold")
    for grey, expected in ((0, 0), (127, 0), (128, 1), (255, 1)):
        batch = Batch(torch.full((2, 1, 4, 4), grey, dtype=torch.uint8))
        assert values(data.transform(batch, training=False).x) == {expected}
        module = ImageDataModule(image_set(grey=grey), binarization="threshold", val_size=10)
        assert values(module.mean_example()) == {expected}


def mean_and_error(ones: Tensor, grey: int) -> float:
    """Returns the distance of the mean of ``ones`` from the grey value, in standard errors."""
    p = grey / 255
    return abs(float(ones.double().mean()) - p) / math.sqrt(p * (1 - p) / ones.numel())


@pytest.mark.parametrize("grey", [3, 90, 254])
def test_the_mean_of_a_binarized_pixel_is_its_grey_value(grey: int) -> None:
    torch.manual_seed(0)
    data = ImageDataModule(image_set(2000, grey=grey), binarization="dynamic", val_size=1000, batch_size=1000)
    (train,) = data.train_dataloader()
    first, second = (data.transform(train, training=True).x for _ in range(2))
    validation = torch.from_numpy(data.split("val").arrays.x) / 255
    for sample in (first, second, validation):
        assert values(sample) == {0, 1}
        assert mean_and_error(sample, grey) < 4
    assert not torch.equal(first, second)


@pytest.mark.parametrize("binarization", ["dynamic", "static"])
def test_black_and_white_stay_black_and_white(binarization: Any) -> None:
    for grey in (0, 255):
        data = ImageDataModule(image_set(grey=grey), binarization=binarization, val_size=10)
        for batch in (*data.train_dataloader(), *data.val_dataloader()):
            assert values(data.transform(batch, training=True).x) == {grey / 255}


@pytest.mark.parametrize(
    ("binarization", "splits"), [("dynamic", ["val", "test"]), ("static", ["train", "val", "test"])]
)
def test_fixed_binarization_is_the_same_in_every_construction_and_for_every_seed(
    binarization: Any, splits: list[Any]
) -> None:
    torch.manual_seed(1)
    first, again, other = (
        ImageDataModule(image_set(), binarization=binarization, val_size=30, seed=seed) for seed in (0, 0, 1)
    )
    for name in splits:
        a, b, c = (data.split(name) for data in (first, again, other))
        np.testing.assert_array_equal(a.arrays.x[a.rows], b.arrays.x[b.rows])
        assert set(np.unique(a.arrays.x)) == {0, 255}
        if name == "test":
            np.testing.assert_array_equal(a.arrays.x[a.rows], c.arrays.x[c.rows])


def test_evaluation_draws_no_random_numbers() -> None:
    data = ImageDataModule(image_set(), binarization="dynamic", horizontal_flip=True, val_size=30)
    before = torch.get_rng_state()
    for batch in data.val_dataloader():
        torch.testing.assert_close(data.transform(batch, training=False).x, batch.x / 255)
    assert torch.equal(before, torch.get_rng_state())


def test_labels_follow_binarized_images() -> None:
    data = ImageDataModule(image_set(), binarization="dynamic", val_size=30)
    original = image_set()().load(train=True)
    rows = ImageDataModule(image_set(), val_size=30).split("val").rows
    assert original.y is not None
    np.testing.assert_array_equal(data.split("val").arrays.y, original.y[rows])


def test_a_sample_does_not_depend_on_where_it_is_kept() -> None:
    images = np.full((300, 1, 2, 2), 128, np.uint8)
    on_disk = binarized(images, np.arange(300), 0, memory_limit_gb=0)
    assert isinstance(on_disk, np.memmap)
    np.testing.assert_array_equal(on_disk, binarized(images, np.arange(300), 0, memory_limit_gb=1))


def test_a_sample_is_of_the_rows_asked_for_in_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_lab.data.arrays.CHUNK", 7)
    images = (np.arange(300) % 3 == 0).astype(np.uint8)[:, None, None, None].repeat(4, 3) * np.uint8(255)
    rows = np.random.default_rng(0).permutation(300)[:100]
    np.testing.assert_array_equal(binarized(images, rows, 0, memory_limit_gb=1), images[rows])


@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_draw_what_one_draws(world: int) -> None:
    data = ImageDataModule(image_set(), binarization="dynamic", horizontal_flip=True)
    x = torch.randint(0, 256, (12, 1, 4, 4), dtype=torch.uint8)

    def seen(shard: Shard) -> Tensor:
        with noise.fixed_seed(5, torch.device("cpu")):
            return data.transform(Batch(x[shard.rows], None, shard), training=True).x

    whole = seen(Shard(0, 1, 12))
    for rank in range(world):
        shard = Shard(rank, world, 12)
        assert torch.equal(seen(shard), whole[shard.rows])


def test_about_half_of_the_training_images_are_mirrored() -> None:
    torch.manual_seed(0)
    data = ImageDataModule(image_set(1000), horizontal_flip=True, val_size=0, batch_size=1000)
    (batch,) = data.train_dataloader()
    x, grey = data.transform(batch, training=True).x, batch.x / 255
    mirrored = (x == grey.flip(-1)).flatten(1).all(1)
    kept = (x == grey).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert abs(float(mirrored.double().mean()) - 0.5) < 4 * (0.25 / 1000) ** 0.5


def test_examples_are_the_same_at_every_call_and_those_of_the_evaluation() -> None:
    data = ImageDataModule(image_set(), binarization="dynamic", val_size=30)
    for split in ("train", "val", "test"):
        first, again = data.examples(8, split), data.examples(8, split)
        assert first.x.shape == (8, 1, 4, 4)
        assert torch.equal(first.x, again.x)
        assert values(first.x) == {0, 1}
        assert first.shard is None
    test = data.split("test").arrays.x / np.float32(255)
    assert all((test == x.numpy()).all((1, 2, 3)).any() for x in data.examples(8).x)
    assert len(data.examples(1000).x) == 40
    assert evenly_spread(np.arange(40), 3).tolist() == [0, 20, 39]


def test_a_fingerprint_is_of_images_and_labels() -> None:
    sets = [image_set(), image_set(), image_set(grey=3), image_set(num_classes=9), image_set(num_test=39)]
    first, again, *others = (ImageDataModule(images, val_size=10).fingerprint("test") for images in sets)
    assert first == again
    assert len({first, *others}) == 4


# In Lightning


class Recorder(LightningModule):
    """Remembers the batches it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[Batch]] = {"train": [], "val": []}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        self.seen["train"].append(batch)
        return self.weight * batch.x.mean()

    def validation_step(self, batch: Batch, index: int) -> None:
        self.seen["val"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lightning_gets_floats_a_new_order_each_epoch_and_fixed_validation(tmp_path: Path) -> None:
    model = Recorder()
    data = ImageDataModule(image_set(grey=128), binarization="dynamic", val_size=36, batch_size=32)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, data)
    train, val = model.seen["train"], model.seen["val"]
    assert all(batch.x.dtype == torch.float32 for batch in train + val)
    first, second = (torch.cat([batch.y for batch in train[i : i + 2] if batch.y is not None]) for i in (0, 2))
    assert first.dtype == torch.int64
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, second.sort().values)
    assert torch.equal(torch.cat([b.x for b in val[:2]]), torch.cat([b.x for b in val[2:]]))
    assert values(torch.cat([b.x for b in train])) == {0, 1}


def test_mnist_is_ready_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = ImageDataModule(Mnist, binarization="dynamic")
    data.prepare_data()
    data.setup("fit")
    batch = data.transform(next(iter(data.train_dataloader())), training=True)
    assert batch.x.shape == (128, *data.spec.shape)
    assert not list(tmp_path.iterdir())
