"""When pictures are drawn and where they land."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from vae_lab.distributions import Bernoulli, Gaussian
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.pictures import Album
from vae_lab.training.callbacks.log_pictures import Pictures
from vae_lab.training.callbacks.projector import Projector, _thumbnails
from vae_lab.types import Batch, DataSpec

SPEC = DataSpec((1, 4, 4), 2, "binary")
NET = MlpArchitecture([8])


class Data(LightningDataModule):
    spec = SPEC

    def examples(self, num: int, split: str) -> Batch:
        assert split == "test"
        noise = torch.Generator().manual_seed(0)
        return Batch(torch.rand(num, *SPEC.shape, generator=noise).round(), torch.arange(num) % 2)

    def train_dataloader(self) -> DataLoader:
        batch = self.examples(4, "test")
        return DataLoader([batch] * 11, batch_size=None)

    val_dataloader = train_dataloader


class Module(LightningModule):
    """Trains with ``optimizers`` steps a batch."""

    def __init__(self, model: torch.nn.Module, optimizers: int = 1) -> None:
        super().__init__()
        self.model = model
        self.count = optimizers
        self.automatic_optimization = False

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(self.parameters(), 1e-3) for _ in range(self.count)]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        for optimizer in self.optimizers() if self.count > 1 else [self.optimizers()]:
            optimizer.zero_grad()
            self.manual_backward(-self.model(batch.x).elbo.mean())
            optimizer.step()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.model(batch.x)


def model() -> VAE:
    torch.manual_seed(0)
    return VAE(SPEC, 2, NET, Bernoulli)


def fit(
    tmp_path: Path, callbacks: list, epochs: int = 1, optimizers: int = 1, net=None, data=None, **options
) -> Trainer:
    options = {"logger": TensorBoardLogger(tmp_path, name="", version="")} | options
    with warnings.catch_warnings():
        # Lightning's advice on workers and logging intervals is not what is tested.
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = Trainer(
            default_root_dir=tmp_path,
            callbacks=callbacks,
            max_epochs=epochs,
            accelerator="cpu",
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        trainer.fit(Module(net or model(), optimizers), datamodule=data or Data())
    return trainer


def steps(folder: Path) -> dict[str, list[int]]:
    """The steps of each picture in TensorBoard."""
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {tag: [image.step for image in events.Images(tag)] for tag in events.Tags()["images"]}


def pictures(**options) -> Pictures:
    return Pictures(num_examples=12, num_reconstructions=8, **options)


def test_drawn_at_powers_of_two_then_each_few_epochs_and_at_the_end(tmp_path: Path) -> None:
    fit(tmp_path, [pictures(every_n_epochs=2)], epochs=5)
    drawn = steps(tmp_path)
    for tag in ("samples", "reconstructions"):
        assert drawn.pop(tag) == [1, 2, 4, 8, 22, 44, 55]
    assert set(drawn) == {"traversals", "interpolations", "manifold", "codes"}
    assert all(at == [22, 44, 55] for at in drawn.values())


def test_an_epoch_end_that_is_the_end_is_drawn_once(tmp_path: Path) -> None:
    fit(tmp_path, [pictures(every_n_epochs=1, early_steps=False)], epochs=2)
    assert set(map(tuple, steps(tmp_path).values())) == {(11, 22)}


def test_only_at_the_end_where_no_epochs_are_asked_for(tmp_path: Path) -> None:
    fit(tmp_path, [pictures(every_n_epochs=0, early_steps=False)], epochs=2)
    assert set(map(tuple, steps(tmp_path).values())) == {(22,)}


def test_steps_that_skip_a_power_of_two_are_drawn_at_the_next(tmp_path: Path) -> None:
    fit(tmp_path, [pictures()], optimizers=3)
    assert steps(tmp_path)["samples"] == [3, 6, 9, 18, 33]


def test_an_early_step_that_ends_the_epoch_is_drawn_once(tmp_path: Path) -> None:
    fit(tmp_path, [pictures(every_n_epochs=1)], limit_train_batches=4)
    drawn = steps(tmp_path)
    assert drawn["samples"] == [1, 2, 4]
    assert drawn["traversals"] == [4]


def test_files_hold_the_last_of_each_picture(tmp_path: Path) -> None:
    net = MHVAE(SPEC, [3, 2], NET, NET, Bernoulli)
    fit(tmp_path, [pictures(seed=7, temperature=0.5)], net=net)
    album = Album(Data().examples(12, "test"), 2, num_reconstructions=8, seed=7, temperature=0.5)
    expected = dict(album.full(net))
    files = {path.stem: path for path in (tmp_path / "figures").iterdir()}
    assert set(files) == {tag.replace("/", "_") for tag in expected}
    for tag, picture in expected.items():
        written = torch.from_numpy(np.array(Image.open(files[tag.replace("/", "_")]))).permute(2, 0, 1)
        torch.testing.assert_close(written / 255, picture, atol=0.5 / 255 + 1e-6, rtol=0)


def test_training_is_the_same_with_pictures_as_without(tmp_path: Path) -> None:
    trained = []
    for callbacks in ([], [pictures(every_n_epochs=1), Projector(6)]):
        net = model()
        torch.manual_seed(3)
        fit(tmp_path, callbacks, epochs=2, net=net)
        trained.append(net.state_dict())
    for name, value in trained[0].items():
        assert torch.equal(value, trained[1][name]), name


@pytest.mark.parametrize("options", [{"fast_dev_run": True, "logger": None}, {"logger": False}])
def test_files_need_no_logger(tmp_path: Path, options: dict) -> None:
    fit(tmp_path, [pictures(), Projector(5)], **options)
    assert (tmp_path / "figures" / "manifold.png").exists()


def test_nothing_is_drawn_while_checking_sanity_or_on_other_ranks(tmp_path: Path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(Pictures, "_publish", lambda self, trainer, pictures: drawn.append(trainer.global_step))
    fit(tmp_path, [pictures(every_n_epochs=1)])
    assert drawn == [1, 2, 4, 8, 11, 11]
    drawn.clear()
    monkeypatch.setattr(Trainer, "is_global_zero", False)
    fit(tmp_path, [pictures(every_n_epochs=1), Projector(5)])
    assert drawn == []
    assert not list(tmp_path.glob("**/projector_config.pbtxt"))


def test_a_full_disk_stops_no_training_and_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("in the way")
    with pytest.warns(UserWarning, match=r"samples cannot be written in .*figures") as told:
        trainer = fit(tmp_path, [pictures(every_n_epochs=1)], epochs=2)
    assert trainer.global_step == 22
    assert len([warning for warning in told if "cannot be written" in str(warning.message)]) == 1


def test_no_more_classes_than_asked_for(tmp_path: Path) -> None:
    net = VAE(SPEC, 3, NET, Bernoulli, conditional=True)
    net.forward = lambda x: VAE.forward(net, x, torch.zeros(len(x), dtype=torch.long))  # type: ignore[method-assign]
    fit(tmp_path, [pictures(max_classes=1)], net=net)
    assert {path.name for path in (tmp_path / "figures").glob("traversals*")} == {"traversals_class_0.png"}


@pytest.mark.parametrize(
    ("option", "value"),
    [("every_n_epochs", -1), ("temperature", -0.5), ("num_samples", 0), ("num_examples", 0), ("max_classes", 0)],
)
def test_numbers_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option}={value}: must be"):
        Pictures(**{option: value})


def test_projector_has_codes_labels_and_thumbnails_of_every_level(tmp_path: Path) -> None:
    net = MHVAE(SPEC, [3, 2], NET, NET, Bernoulli)
    fit(tmp_path, [Projector(5)], net=net)
    for level, dims in ((1, 3), (2, 2)):
        (tensors,) = tmp_path.glob(f"**/codes_level_{level}/tensors.tsv")
        assert np.loadtxt(tensors).shape == (5, dims)
        assert (tensors.parent / "metadata.tsv").read_text().split() == ["0", "1", "0", "1", "0"]
        with Image.open(tensors.parent / "sprite.png") as sprite:
            assert sprite.size == (3 * 32, 3 * 32)
    assert (
        json.dumps(str(tensors.parent.relative_to(tmp_path) / "tensors.tsv"))
        in (tmp_path / "projector_config.pbtxt").read_text()
    )
    for num in (0, 70_000):
        with pytest.raises(ValueError, match=f"num_codes={num}"):
            Projector(num)


def test_thumbnails_are_square_and_not_stretched() -> None:
    wide = _thumbnails(torch.ones(2, 1, 8, 16))
    assert wide.shape == (2, 1, 32, 32)
    filled = wide[0, 0] > 0.5
    assert filled.any(1).sum() == 16
    assert filled.any(0).sum() == 32


def test_of_data_that_cannot_be_drawn_the_codes_are_and_one_line_says_so(tmp_path: Path) -> None:
    shape = (2, 2, 2, 2, 2)

    class Odd(Data):
        spec = DataSpec(shape, 0, "real")

        def examples(self, num: int, split: str) -> Batch:
            return Batch(torch.rand(num, *shape, generator=torch.Generator().manual_seed(0)))

    with pytest.warns(UserWarning, match=r"data of shape \(2, 2, 2, 2, 2\) cannot be drawn") as said:
        fit(tmp_path, [pictures(), Projector(num_codes=5)], net=VAE(Odd.spec, 2, NET, Gaussian), data=Odd())
    assert len([line for line in said if "cannot be drawn" in str(line.message)]) == 1
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["codes.png"]
    assert (tmp_path / "projector_config.pbtxt").exists()


def test_a_scatter_of_a_column_that_does_not_exist_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"columns=\['hue'\]: only tables have them"):
        fit(tmp_path, [pictures(columns=["hue"])])
    assert not (tmp_path / "figures").exists()
