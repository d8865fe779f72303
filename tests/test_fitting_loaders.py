"""`vae_lab.fit` with a Dataset, DataLoaders and LightningDataModules."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Subset, TensorDataset

import vae_lab
from tests.conftest import Outcome
from tests.test_fitting import TINY, same_weights
from vae_lab import train
from vae_lab.core import LatentVariableModel
from vae_lab.data import DataModule, ImageDataModule, LoaderDataModule, Mnist
from vae_lab.data.own_loader.seeded import SeededLoader
from vae_lab.data.splits import held_out
from vae_lab.data.summary import summary
from vae_lab.errors import RunError
from vae_lab.evaluate import main as evaluate
from vae_lab.runs.loading import SavedRun
from vae_lab.sample import main as sample
from vae_lab.types import DataSpec, SplitName

X = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)).round()
Y = torch.arange(60) % 3

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Pictures(Dataset[Any]):
    """Pictures with an augmentation that draws from all three sources of random numbers."""

    classes = ("cat", "dog", "eel")

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        flips = (torch.rand(()) < 0.5) ^ (np.random.rand() < 0.5) ^ (random.random() < 0.5)
        return X[index].flip(-1) if flips else X[index], int(Y[index])


class Module(LightningDataModule):
    def prepare_data(self) -> None:
        self.prepared = True

    def setup(self, stage: str) -> None:
        assert self.prepared
        self.data = TensorDataset(X, Y)

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, 20, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.data, 30)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.seen = bool(self.trainer)
        return batch


class WithSpec(Module):
    spec = DataSpec((1, 4, 4), 5, "binary", ("a", "b", "c", "d", "e"))


class Several(Module):
    def val_dataloader(self) -> Any:
        return [DataLoader(self.data, 30)] * 2


class WithoutVal(LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(X), 20)


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(X)


def loader(x: Tensor = X, y: Tensor | None = Y, size: int = 20, **options: Any) -> Any:
    return DataLoader(TensorDataset(*([x] if y is None else [x, y])), size, **options)


def fitted(data: Any, folder: str | None = None, epochs: int = 1, **options: Any) -> vae_lab.Run:
    words = [f"trainer.max_epochs={epochs}", *options.pop("words", [])]
    words = words if "resume" in options else [*TINY, *words]
    return vae_lab.fit(data, overrides=words, folder=folder, verbose=False, **options)


def test_a_data_set_is_split_and_its_classes_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    run = vae_lab.fit(Pictures(), "cvae", 2, words, folder="run")
    assert run.spec == DataSpec((1, 4, 4), 3, "binary", ("cat", "dog", "eel"))
    assert "train 49, val 5, test 6" in capsys.readouterr().out
    assert run.sample(2, y="eel").shape == (2, 1, 4, 4)
    assert "elbo" in run.metrics


SLOW_KINDS = (pytest.param(kind, marks=pytest.mark.slow) for kind in ("shuffled loader", "module"))


@pytest.mark.parametrize("kind", ["data set", "loader with a generator", *SLOW_KINDS])
def test_a_resumed_run_is_the_same_as_one_that_was_never_interrupted(kind: str) -> None:
    def data() -> dict[str, Any]:
        if kind == "data set":
            return {"data": Pictures(), "words": ["data.batch_size=20"]}
        if kind == "module":
            return {"data": Module()}
        generator = torch.Generator().manual_seed(3) if "generator" in kind else None
        return {"data": DataLoader(Pictures(), 20, shuffle=True, generator=generator), "val": loader()}

    fitted(**data(), folder="whole", epochs=3)
    fitted(**data(), folder="parts", epochs=1)
    options = {key: value for key, value in data().items() if key != "words"}
    fitted(**options, resume="parts", epochs=3)
    assert same_weights("whole", "parts")


def test_the_order_of_an_epoch_differs_from_that_of_others() -> None:
    module = LoaderDataModule()
    module.hold({"train": loader(X, Y, 60, shuffle=True)})
    batches = module.train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        batches.sampler.set_epoch(epoch)
        orders.append(next(iter(batches))[1].tolist())
    assert orders[0] == orders[2] != orders[1]


def test_loaders_of_three_splits_and_of_two(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "trainer.max_epochs=1", "trainer.enable_progress_bar=false"]
    run = vae_lab.fit(loader(), overrides=words, val=loader(X[:20], Y[:20]), test=loader(X[:10], Y[:10]), folder="3")
    assert "train 60, val 20, test 10" in capsys.readouterr().out
    assert run.spec.num_classes == 3
    vae_lab.fit(loader(), overrides=words, val=loader(X[:20], Y[:20]), folder="2")
    assert "test 20 (the validation set)" in capsys.readouterr().out


def test_a_data_module_brings_its_spec_and_its_hooks_are_called() -> None:
    module = WithSpec()
    assert fitted(module, "run", model="cvae").spec == WithSpec.spec
    assert module.seen


@pytest.mark.parametrize(("first", "line"), [(0, ""), (1, "classes      1 without a training example (0)")])
def test_classes_without_a_training_example_are_named(first: int, line: str) -> None:
    module = LoaderDataModule()
    module.hold({"train": loader(X, Y + first), "val": loader(X, Y + first)})
    assert [each for each in summary(module).splitlines() if each.startswith("classes")] == ([line] if line else [])


def test_the_kind_of_the_values_is_found() -> None:
    levels = (255 * torch.rand(60, 3, 4, 4)).round()
    kinds = {
        "binary": X,
        "uint8": levels.to(torch.uint8),
        "unit": torch.rand(60, 3, 4, 4),
        "real": 5 + 3 * torch.randn(60, 3),
    }
    for support, x in [*kinds.items(), ("uint8", levels / 255)]:
        module = LoaderDataModule()
        module.hold({"train": loader(x, None)})
        assert module.spec.support == support
        assert module.spec.shape == tuple(x.shape[1:])
    assert "values" not in summary(module, ("train",))
    fifths = (5 * torch.rand(60, 3, 4, 4)).round()
    for x in (fifths / 5, (51 * fifths).to(torch.uint8)):
        module = LoaderDataModule()
        module.hold({"train": loader(x, None)})
        line = "values       grey values of 8 bits, of which only the multiples of 1/5 occur, at most 6 levels\n"
        assert line in summary(module, ("train",))
    assert module.spec.scaling is None
    module.hold({"train": loader(kinds["real"], None)})
    module.__dict__.pop("spec"), module.__dict__.pop("scans")
    assert module.spec.scaling is not None
    assert np.allclose(module.spec.scaling.mean, kinds["real"].mean(0), atol=1e-5)
    assert np.allclose(module.spec.scaling.scale, kinds["real"].std(0, correction=0), atol=1e-5)


GREY = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(1))
BYTES = (255 * GREY).to(torch.uint8)


@pytest.mark.parametrize(
    ("train", "other", "message"),
    [
        ((X, Y), (X[:9, :, :3], Y[:9]), r"shape \(1, 3, 4\), but those of training are \(1, 4, 4\)"),
        ((X, Y), (X[:9], None), "no labels, but the training examples have labels"),
        ((X, None), (X[:9], Y[:9]), "labels, but the training examples have none"),
        ((X, Y), (X[:9], Y[:9] + 3), "class 5, but the training data have the classes 0 to 2; leave such examples out"),
        ((X, Y), (GREY, Y[:20]), r"values from 0.* that are numbers in \[0, 1\], but those of training are 0 and 1"),
        ((GREY, None), (50 * GREY - 3, None), r"are real numbers, but those of training are numbers in \[0, 1\]"),
        ((GREY, None), (BYTES, None), r"from 2 to 254 that are grey values of 8 bits, but .* are numbers in \[0, 1\]"),
        ((BYTES, None), (BYTES.float(), None), "are real numbers, but those of training are grey values of 8 bits"),
        ((BYTES, None), (GREY, None), r"are numbers in \[0, 1\], but those of training are grey values of 8 bits"),
    ],
)
def test_splits_of_other_examples_than_those_of_training_are_refused(train: Any, other: Any, message: str) -> None:
    names: tuple[SplitName, ...] = ("val", "test")
    for name in names:
        module = LoaderDataModule()
        module.hold({"train": loader(*train), "val": loader(*train), name: loader(*other)})
        with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
            module.description()


def test_splits_that_fit_training_are_served() -> None:
    for x, other in ((GREY, X), (GREY, BYTES / 255), (BYTES, BYTES / 255), (BYTES / 255, BYTES), (5 * GREY, BYTES)):
        module = LoaderDataModule()
        module.hold({"train": loader(x, None), "val": loader(other, None)})
        assert module.size("val") == len(other)


NAN = X.clone()
NAN[25] = torch.nan


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": loader()}, "val=None: a DataLoader is read as it is; give val=LOADER"),
        ({"data": loader(), "val": (X, Y)}, "val: a tuple, must be a DataLoader"),
        ({"data": loader(NAN), "val": loader()}, "train: batch 1: x: example 5 has values that are not finite"),
        ({"data": loader(), "val": loader(NAN)}, "val: batch 1: x: example 5"),
        ({"data": loader(X, Y.float()), "val": loader()}, r"train: batch 0: y: torch.float32 \(20,\), must be class"),
        (
            {"data": [{"x": X}] and DataLoader([{"x": X[0]}]), "val": loader()},
            "train: batch 0: batch: a loader gave dict",
        ),
        ({"data": Endless()}, "an IterableDataset has no length"),
        ({"data": Several()}, "Several.val_dataloader: gives 2 loaders, must give one"),
        ({"data": WithoutVal()}, "WithoutVal: has no val_dataloader, which training needs"),
        ({"data": Module(), "val": loader()}, "val, test: a LightningDataModule has its own"),
        ({"data": Pictures(), "words": ["data.val_size=60"]}, "data.val_size=60: leaves nothing of 54 examples"),
        ({"data": Pictures(), "words": ["data.val_size=0"]}, "data.val_size=0: must be a number of examples above 0"),
    ],
)
def test_wrong_loaders_are_named_in_one_line_before_training(options: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        fitted(**options, folder="run")
    assert "\n" not in str(raised.value)
    assert not Path("run").exists()


def test_other_data_than_the_run_began_with_are_refused() -> None:
    fitted(Pictures(), "run")
    with pytest.raises(RunError, match=r"other data than the run began with: examples was train 49, .* is train 24"):
        fitted(TensorDatasetLike(), resume="run", epochs=2)


class TensorDatasetLike(Pictures):
    def __len__(self) -> int:
        return 30


def test_a_data_module_of_the_lab_is_used_as_it_is() -> None:
    words = ["trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    run = fitted(ImageDataModule(Mnist, binarization="dynamic", batch_size=20), "module", words=words)
    fitted("mnist", "word", words=[*words, "data.batch_size=20"])
    assert same_weights("module", "word")
    assert run.spec.class_names == tuple("0123456789")
    assert run.config["in_memory"] == {"x": "binary (1, 28, 28)", "examples": "train 55000, val 5000"}


def test_both_data_modules_fulfil_the_contract() -> None:
    module = LoaderDataModule()
    module.hold({"train": loader(), "val": loader()})
    assert isinstance(module, DataModule)
    assert isinstance(ImageDataModule(Mnist), DataModule)
    assert not isinstance(Module(), DataModule)


def test_the_commands_say_what_they_need(command: Callable[..., Outcome], tmp_path: Path) -> None:
    fitted(Pictures(), "run")
    assert command(sample, "run=run", "num=3").code == 0
    few = ("run=run", "trainer=cpu", "num_samples=2", "trainer.enable_progress_bar=false", "disentanglement=false")
    outcome = command(evaluate, *few)
    assert outcome.code == 1
    assert "was trained on a loader of a Python program" in outcome.err
    assert "data_root=FOLDER names arrays" in outcome.err
    (tmp_path / "saved").mkdir()
    np.savez(tmp_path / "saved" / "all.npz", x_train=X.numpy(), y_train=np.array(["cat", "dog", "eel"])[Y])
    assert command(evaluate, *few, "data_root=saved").code == 0


def test_the_option_is_not_for_the_command_line() -> None:
    with pytest.raises(ValueError, match="data=loader: the run was trained on a loader of a Python program"):
        vae_lab.compose("data=loader", "trainer=cpu")


class Noisy(Dataset[Any]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return index + torch.rand(1)


def epoch_of(batches: SeededLoader, epoch: int) -> list[float]:
    batches.sampler.set_epoch(epoch)
    return torch.cat(list(batches)).flatten().tolist()


def test_generators_of_samplers_and_persistent_workers_follow_the_epoch() -> None:
    def loaders() -> list[SeededLoader]:
        sampler = RandomSampler(Noisy(), generator=torch.Generator().manual_seed(len(made)))
        batches = BatchSampler(RandomSampler(Noisy(), generator=torch.Generator().manual_seed(len(made))), 2, False)
        made.append(sampler.generator)
        kinds = (
            DataLoader(Noisy(), 2, sampler=sampler),
            DataLoader(Noisy(), batch_sampler=batches),
            DataLoader(Noisy(), 2, shuffle=True, num_workers=1, persistent_workers=True),
        )
        return [SeededLoader(kind, 3, 0) for kind in kinds]

    made: list[Any] = []
    for whole, resumed in zip(loaders(), loaders(), strict=True):
        first, second = epoch_of(whole, 0), epoch_of(whole, 1)
        assert epoch_of(resumed, 1) == second != first
    assert [generator.initial_seed() for generator in made] == [0, 1]
    assert torch.equal(made[0].get_state(), torch.Generator().manual_seed(0).get_state())


def test_a_stream_that_is_read_once_is_named() -> None:
    class Once(IterableDataset[Any]):
        rows = iter(X)

        def __iter__(self) -> Any:
            yield from self.rows

    module = LoaderDataModule()
    module.hold({"train": DataLoader(Once(), 20), "val": loader(X, None)})
    assert module.size("train") == 60
    with pytest.raises(
        ValueError, match="data: the loader is empty at its second reading; give one that can be read again"
    ):
        next(iter(module.train_dataloader()))


def test_other_values_than_those_of_the_run_are_refused() -> None:
    def described(x: Tensor, size: int = 20, aug: bool = False) -> dict[str, str]:
        module = LoaderDataModule(size)
        module.hold_dataset(Pictures() if aug else TensorDataset(x, Y))
        return module.description()

    before = described(X)
    assert before == described(X.double(), 7)
    assert before != described(1 - X)
    assert "fingerprint" not in described(X, aug=True)
    recorded = {"in_memory": before}
    with pytest.raises(RunError, match="other data than the run began with: other values"):
        train._check_same_arrays(recorded, {"in_memory": described(1 - X)}, Path("run"))
    older = {key: text for key, text in before.items() if key != "fingerprint"}
    train._check_same_arrays(recorded, {"in_memory": older}, Path("run"))


class Stream(IterableDataset[Any]):
    def __init__(self, x: Tensor, shuffled: bool = False) -> None:
        self.x, self.shuffled = x, shuffled

    def __iter__(self) -> Any:
        return iter(self.x[torch.randperm(len(self.x))] if self.shuffled else self.x)


def test_other_values_of_a_stream_are_noticed_or_said_not_to_be() -> None:
    def described(x: Tensor, **options: Any) -> tuple[str | None, str]:
        module = LoaderDataModule()
        module.hold({"train": DataLoader(Stream(x, **options), 20), "val": [X[:30], X[30:]]})
        return module.description().get("fingerprint"), summary(module, ("train", "val"))

    known, said = described(X)
    assert known is not None
    assert known == described(X)[0] != described(1 - X)[0]
    assert "on resume" not in said
    unknown, said = described(X, shuffled=True)
    assert unknown is None
    assert "on resume    other values go unnoticed, because each reading of these differs" in said


@pytest.mark.parametrize("sizes", [{}, {"test_size": 7, "val_size": 5}])
@pytest.mark.parametrize("split_seed", [0, 3, None])
def test_saved_arrays_are_split_as_the_data_set_was(sizes: Any, split_seed: int | None, tmp_path: Path) -> None:
    x = torch.arange(60.0)[:, None] + 0.5
    options = {"batch_size": 60, "test_size": 0.1, "val_size": 0.1, "seed": 4, "split_seed": split_seed, **sizes}
    module = LoaderDataModule(**options)
    module.hold_dataset(TensorDataset(x))
    (tmp_path / "saved").mkdir()
    np.save(tmp_path / "saved" / "train.npy", x.numpy())
    node = {key: value for key, value in options.items() if value is not None}  # an older run has no split_seed
    config = {"data": node, "model": {}, "choices": {"data": "loader"}, "in_memory": module.description()}
    run = SavedRun(tmp_path, tmp_path / "last.ckpt", config)
    data = run.data(root=str(tmp_path / "saved"))
    names: tuple[SplitName, ...] = ("train", "val", "test")
    for name in names:
        (batch,) = module._loaders[name]
        arrays, rows = data.split(name)
        assert sorted(batch[0].flatten().tolist()) == sorted(arrays.x[rows].flatten().tolist())
    np.save(tmp_path / "saved" / "train.npy", x.numpy()[1:])
    with pytest.raises(RunError, match=r"59 examples and no test examples, but the run had train .*test\.npy"):
        run.data(root=str(tmp_path / "saved"))


def test_the_test_set_does_not_depend_on_the_seed() -> None:
    tested = []
    for seed in (0, 1):
        module = LoaderDataModule(seed=seed)
        module.hold_dataset(TensorDataset(X))
        tested.append(module._loaders["test"].dataset.indices)
        older = LoaderDataModule(seed=seed, split_seed=None)
        older.hold_dataset(TensorDataset(X))
        assert older._loaders["test"].dataset.indices == held_out(60, 6, seed)[1].tolist()
    assert tested[0] == tested[1]


def test_an_older_run_keeps_its_own_test_set() -> None:
    older = {"words": ["data.split_seed=null", "seed=1"]}
    fitted(TensorDatasetLike(), "whole", 2, **older)
    fitted(TensorDatasetLike(), "parts", 1, **older)
    config = yaml.safe_load(Path("parts/config.yaml").read_text())
    del config["data"]["split_seed"]
    config["overrides"].remove("data.split_seed=null")
    Path("parts/config.yaml").write_text(yaml.safe_dump(config))
    fitted(TensorDatasetLike(), resume="parts", epochs=2)
    assert same_weights("whole", "parts")


def test_pictures_with_the_channels_last_are_refused() -> None:
    for shape in ((12, 12, 3), (9, 12, 1), (4, 4, 3)):
        module = LoaderDataModule()
        module.hold({"train": loader(torch.rand(60, *shape), None)})
        with pytest.raises(ValueError, match=r"train: x: examples of shape \(.*channels last; give x.movedim\(-1, 0\)"):
            _ = module.spec
    for shape in ((3, 12, 12), (1, 9, 12), (3, 3, 3), (12, 9, 9), (5,), (12, 3)):
        module = LoaderDataModule()
        module.hold({"train": loader(torch.rand(60, *shape), None)})
        assert module.spec.shape == shape


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ("arrays", "debug=overfit"),
        ("balanced", "trainer.overfit_batches=2"),
        ("Dataset", "trainer.overfit_batches=2"),
        ("loader", "debug=overfit"),
    ],
)
def test_overfitting_takes_the_same_batches_in_every_epoch(
    form: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    forward = LatentVariableModel.forward

    def recorded(self: Any, x: Tensor, *args: Any, **options: Any) -> Any:
        seen.extend([float((x * torch.arange(x.numel()).view_as(x)).sum())] * self.training)
        return forward(self, x, *args, **options)

    monkeypatch.setattr(LatentVariableModel, "forward", recorded)
    loader = DataLoader(TensorDataset(X, Y), batch_size=20, shuffle=True)
    dataset = Subset(TensorDataset(X, Y), range(len(X)))
    data = {"arrays": (X, Y), "balanced": (X, Y), "Dataset": dataset, "loader": loader}[form]
    words = [*TINY, word, "trainer.max_epochs=3", "compile=false"]
    words += ["data.batch_size=20"] * (form != "loader")
    words += ["data.balance=true"] * (form == "balanced")
    vae_lab.fit(data, overrides=words, val=loader if form == "loader" else None, verbose=False)
    number = len(seen) // 3
    assert number == (1 if word.startswith("debug") else 2)
    assert seen == seen[:number] * 3
    assert len({*seen}) == number


HALF = Subset(TensorDataset(X, Y), range(len(X)))
OTHER = DataLoader(HALF, batch_size=20)


@pytest.mark.parametrize("word", ["data.val_size=0.5", "data.test_size=0.5"])
def test_a_size_of_a_dataset_makes_its_part(word: str) -> None:
    run = vae_lab.fit(HALF, overrides=[*TINY, word, "trainer.max_epochs=1"], verbose=False)
    sizes = {"data.val_size=0.5": "train 27, val 27, test 6", "data.test_size=0.5": "train 27, val 3, test 30"}
    assert run.config["in_memory"]["examples"] == sizes[word]


@pytest.mark.parametrize(
    ("data", "others", "word", "message"),
    [
        (HALF, {"val": HALF}, "data.val_size=0.5", "because the loader of val is the validation set; leave val_size"),
        (HALF, {"test": HALF}, "data.test_size=0.5", "because the loader of test is the test set"),
        (HALF, {"test": HALF}, "data.split_seed=1", "because the loader of test is the test set"),
        (OTHER, {"val": OTHER}, "data.batch_size=30", "because the loader of train is the training set"),
        (OTHER, {"val": OTHER}, "data.test_size=0.5", "because the loader of val is the test set"),
        ((X, Y), {"test": (X, Y)}, "data.images.test_fraction=0.5", "because test x is the test set"),
        ((X, Y), {"test": (X, Y)}, "data.images.split_seed=1", "because test x is the test set"),
    ],
)
def test_a_size_that_makes_no_part_is_refused(data: Any, others: dict[str, Any], word: str, message: str) -> None:
    with pytest.raises(RunError, match=f"{word}: not used, {message}"):
        vae_lab.fit(data, overrides=[*TINY, word], verbose=False, **others)
