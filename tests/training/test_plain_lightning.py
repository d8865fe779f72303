"""The module with Lightning's own Trainer and any loader: batches in all forms, predictions, callbacks, profilers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer, callbacks, profilers
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from vae_lab import compose
from vae_lab.core.codes import posterior_codes
from vae_lab.data.loader import as_batch
from vae_lab.distributions import Bernoulli
from vae_lab.errors import RunError
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import Elbo
from vae_lab.training import Optimization, VariationalModule
from vae_lab.training.callbacks import Pictures, Projector
from vae_lab.types import Batch, DataSpec, Shard

SHAPE = (1, 2, 4)
X, Y = torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(0)).round(), torch.arange(40) % 3
PAGE = Path(__file__).parents[2] / "docs" / "howto_lightning.md"

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*have no `val_dataloader`")


def module_of(conditional: bool = False) -> VariationalModule:
    torch.manual_seed(0)
    spec = DataSpec(SHAPE, 3, "binary")
    model = VAE(spec, 2, MlpArchitecture([8]), Bernoulli, conditional=conditional)
    return VariationalModule(model, Elbo(), Optimization(partial(torch.optim.Adam, lr=1e-2)), spec)


def trainer_of(folder: Path, *used: Callback, epochs: int = 3, **options: Any) -> Trainer:
    usual = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "logger": False}
    checkpoints = {"enable_checkpointing": any(isinstance(callback, callbacks.Checkpoint) for callback in used)}
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(used),
        default_root_dir=folder,
        **{**usual, **checkpoints, **options},
    )


def loader_of(*tensors: Tensor, wrap: Callable[..., Any] | None = None) -> Any:
    if wrap is None:
        return DataLoader(TensorDataset(*tensors), batch_size=8)
    collate = lambda rows: wrap(*map(torch.stack, zip(*rows, strict=True)))  # noqa: E731
    return DataLoader(list(zip(*tensors, strict=True)), 8, collate_fn=collate)


FORMS = {
    "x": loader_of(X, wrap=lambda x: x),
    "(x,)": loader_of(X, wrap=lambda x: (x,)),
    "[x]": loader_of(X),
    "(x, y)": loader_of(X, Y, wrap=lambda x, y: (x, y)),
    "[x, y]": loader_of(X, Y),
    "Batch": loader_of(X, Y, wrap=Batch),
}


def trained(folder: Path, loader: Any, conditional: bool = False) -> VariationalModule:
    module = module_of(conditional)
    trainer_of(folder).fit(module, loader, loader)
    return module


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(X)


@pytest.mark.parametrize(("options", "steps"), [({}, 10), ({"max_steps": 7}, 7), ({"limit_train_batches": 3}, 6)])
def test_a_stream_without_a_length_is_trained_on_as_its_examples(
    tmp_path: Path, options: dict[str, int], steps: int
) -> None:
    modules = []
    for loader in (DataLoader(Stream(), batch_size=8), loader_of(X)):
        trainer = trainer_of(tmp_path, epochs=2, **options)
        module = module_of()
        module.optimization = module.optimization._replace(compile=False)  # which pays in a run without an end
        trainer.fit(module, loader)
        assert trainer.global_step == steps
        modules.append(module)
    assert all(map(torch.equal, *(module.parameters() for module in modules)))


def test_a_schedule_of_a_stream_asks_for_the_number_of_steps(tmp_path: Path) -> None:
    module = module_of()
    module.optimization = module.optimization._replace(scheduler=partial(StepLR, step_size=4))
    with pytest.raises(ValueError, match=r"needs an end: set trainer\.max_steps"):
        trainer_of(tmp_path, epochs=2).fit(module, DataLoader(Stream(), batch_size=8))


def test_weights_are_loaded_by_lightnings_own_method(tmp_path: Path) -> None:
    module, other = trained(tmp_path, loader_of(X)), module_of()
    module.trainer.save_checkpoint(path := tmp_path / "own.ckpt")
    parts = {"model": other.model, "objective": Elbo(), "optimization": other.optimization, "spec": other.spec}
    loaded = VariationalModule.load_from_checkpoint(path, weights_only=False, **parts)
    assert all(map(torch.equal, loaded.parameters(), module.parameters()))


@pytest.mark.parametrize("form", list(FORMS)[1:])
def test_batches_of_all_forms_train_the_same_weights(tmp_path: Path, form: str) -> None:
    expected, found = (trained(tmp_path, FORMS[name]).state_dict() for name in ("x", form))
    assert all(torch.equal(expected[name], weight) for name, weight in found.items())


def test_labels_of_a_loader_reach_a_conditional_model(tmp_path: Path) -> None:
    expected, found = (trained(tmp_path, FORMS[name], True).state_dict() for name in ("Batch", "[x, y]"))
    assert all(torch.equal(expected[name], weight) for name, weight in found.items())
    other = trained(tmp_path, loader_of(X, Y.roll(1)), True).state_dict()
    assert not all(torch.equal(expected[name], weight) for name, weight in other.items())


@pytest.mark.parametrize("conditional", [False, True])
def test_predict_returns_codes_and_validate_and_test_the_same_bound(tmp_path: Path, conditional: bool) -> None:
    module, trainer, loader = module_of(conditional), trainer_of(tmp_path), FORMS["[x, y]"]
    predicted = trainer.predict(module, loader)
    module.eval()
    with torch.no_grad():
        (code,) = posterior_codes(module.model, X, Y if conditional else None)
    assert torch.allclose(torch.cat([levels[0].mean for levels in predicted]), code.mean, atol=1e-6)
    assert torch.allclose(torch.cat([levels[0].scale for levels in predicted]), code.scale, atol=1e-6)
    (validated,), (tested,) = (run(module, loader, verbose=False) for run in (trainer.validate, trainer.test))
    assert validated["val/elbo"] == tested["test/elbo"] < 0


@pytest.mark.parametrize(
    ("loader", "conditional", "message"),
    [
        (loader_of(X, Y, wrap=lambda x, y: {"image": x, "label": y}), False, "batch: a loader gave dict, must give x"),
        (loader_of(X, Y, Y), False, r"batch: a loader gave \(Tensor, Tensor, Tensor\), must give x, \(x,\), \(x, y\)"),
        (loader_of((255 * X).to(torch.uint8)), False, r"x: dtype uint8, .*x.float\(\) / 255"),
        (loader_of(X.double()), False, r"x: dtype float64, but the model computes in float32"),
        (loader_of(X.squeeze(1)), False, r"x: shape \(8, 2, 4\), must be \(B, 1, 2, 4\)"),
        (loader_of(X * 255), False, r"x: values from 0 to 255, must lie in \[0, 1\]"),
        (loader_of(X), True, "y: this model is conditional, it needs labels y"),
        (loader_of(X, Y + 1), True, "y: class 3 does not exist"),
        (loader_of(X * 255, Y, wrap=Batch), False, r"x: values from 0 to 255, must lie in \[0, 1\]"),
        (loader_of(torch.cat([X, X * 255])), False, r"x: values from 0 to 255, must lie in \[0, 1\]"),
        (loader_of(torch.cat([X, X * torch.nan])), False, "x: has values that are not finite"),
        (loader_of(X, Y + (torch.arange(40) == 38)), True, "y: class 3 does not exist"),
        (loader_of(X, Y + (torch.arange(40) == 38), wrap=Batch), True, "y: class 3 does not exist"),
    ],
)
@pytest.mark.parametrize("run", ["fit", "validate", "predict"])
def test_what_a_model_cannot_read_is_refused_in_one_line(
    tmp_path: Path, loader: Any, conditional: bool, message: str, run: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        getattr(trainer_of(tmp_path), run)(module_of(conditional), loader)
    assert "\n" not in str(raised.value)


def test_processes_that_share_a_plain_loader_draw_noise_of_their_own() -> None:
    assert as_batch((X[:5], Y[:5]), rank=1, world=2).shard == Shard(1, 2, 10)
    assert as_batch(X[:5]).shard is None


def test_a_plain_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole, first, second = module_of(), module_of(), module_of()
    trainer_of(tmp_path, epochs=4).fit(whole, FORMS["[x]"])
    trainer = trainer_of(tmp_path, epochs=2)
    trainer.fit(first, FORMS["[x]"])
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    trainer_of(tmp_path, epochs=4).fit(second, FORMS["[x]"], ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert all(torch.equal(weight, second.state_dict()[name]) for name, weight in whole.state_dict().items())


# Callbacks and profilers: the table of docs/howto_lightning.md.


def rows() -> dict[str, str]:
    """The names in the table, with the result beside them."""
    found = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: what for names, what in found for name in re.findall(r"\w+", names)}


ARGUMENTS: dict[str, dict[str, Any]] = {
    "EarlyStopping": {"monitor": "val/elbo", "mode": "max", "min_delta": 1e9, "patience": 1},
    "EMAWeightAveraging": {"decay": 0.5},
    "StochasticWeightAveraging": {"swa_lrs": 1e-2},
    "GradientAccumulationScheduler": {"scheduling": {0: 2}},
    "Timer": {"duration": "00:01:00:00"},
    "ThroughputMonitor": {"batch_size_fn": lambda batch: len(batch[0]), "window_size": 3},
    "ModelPruning": {"pruning_fn": "l1_unstructured", "amount": 0.5},
    "LambdaCallback": {"on_train_batch_end": lambda trainer, *_: trainer.seen.append(trainer.global_step)},
}


def built(name: str, folder: Path) -> Any:
    arguments = dict(ARGUMENTS.get(name, {}))
    if name in ("ModelCheckpoint", "OnExceptionCheckpoint"):
        arguments["dirpath"] = folder / "kept"
    if name == "ModelCheckpoint":
        arguments |= {"monitor": "val/elbo", "mode": "max"}
    return getattr(callbacks if hasattr(callbacks, name) else profilers, name)(**arguments)


def last_weight(module: VariationalModule) -> Tensor:
    return list(module.model.parameters())[-1].detach()


EFFECTS: dict[str, Callable[[Trainer, Any, VariationalModule, Path], Any]] = {
    "ModelCheckpoint": lambda trainer, used, module, folder: Path(used.best_model_path).is_file(),
    "EarlyStopping": lambda trainer, used, module, folder: trainer.current_epoch == 2,
    "LearningRateMonitor": lambda trainer, used, module, folder: "lr-Adam" in used.lrs,
    "WeightAveraging": lambda trainer, used, module, folder: not same_as_without(module, folder),
    "EMAWeightAveraging": lambda trainer, used, module, folder: not same_as_without(module, folder),
    "LambdaCallback": lambda trainer, used, module, folder: trainer.seen == list(range(1, 16)),
    "Timer": lambda trainer, used, module, folder: used.time_elapsed() > 0,
    "DeviceStatsMonitor": lambda trainer, used, module, folder: "cpu_percent" in metrics_of(folder),
    "ThroughputMonitor": lambda trainer, used, module, folder: "batches_per_sec" in metrics_of(folder),
    "ModelPruning": lambda trainer, used, module, folder: zeros_of(module) > 0.4,
    "SimpleProfiler": lambda trainer, used, module, folder: "run_training_epoch" in used.summary(),
    "AdvancedProfiler": lambda trainer, used, module, folder: "FIT Profiler Report" in used.summary(),
    "PyTorchProfiler": lambda trainer, used, module, folder: used is trainer.profiler,
}


def same_as_without(module: VariationalModule, folder: Path) -> bool:
    other = module_of()
    trainer_of(folder).fit(other, FORMS["[x]"], FORMS["[x]"])
    return torch.equal(last_weight(module), last_weight(other))


def metrics_of(folder: Path) -> str:
    (path,) = folder.rglob("metrics.csv")
    return path.read_text()


def zeros_of(module: VariationalModule) -> float:
    weights = [value for name, value in module.model.state_dict().items() if name.endswith(("weight", "weight_mask"))]
    return float(torch.cat([(weight == 0).flatten() for weight in weights]).float().mean())


@pytest.mark.filterwarnings("ignore:.*overrides the configure_model", "ignore:.*flops_per_batch", "ignore:The profiler")
@pytest.mark.filterwarnings("ignore:.*Profiler", "ignore:.*profiler", r"ignore:.*fit\(ckpt_path")
@pytest.mark.parametrize("name", rows())
def test_the_table_of_callbacks_and_profilers_is_true(name: str, tmp_path: Path) -> None:
    if name == "DeviceStatsMonitor":
        pytest.importorskip("psutil")
    used, module = built(name, tmp_path), module_of()
    options: dict[str, Any] = {"logger": CSVLogger(tmp_path), "enable_progress_bar": name.endswith("Bar")}
    if not isinstance(used, Callback):
        options["profiler"] = used
    trainer = trainer_of(tmp_path, *([used] if isinstance(used, Callback) else []), **options)
    trainer.seen = []
    if rows()[name].startswith("refused"):
        with pytest.raises(RunError, match=r"callbacks: \w+ is not supported; ") as raised:
            trainer.fit(module, FORMS["[x]"], FORMS["[x]"])
        assert "\n" not in str(raised.value)
        return
    if name == "OnExceptionCheckpoint":
        with pytest.raises(TypeError, match="batch: a loader gave dict"):
            trainer.fit(module, loader_of(X, wrap=lambda x: {"x": x}))
        assert Path(used.ckpt_path).is_file()
        return
    trainer.fit(module, FORMS["[x]"], FORMS["[x]"])
    assert EFFECTS.get(name, lambda *_: True)(trainer, used, module, tmp_path)


def test_the_labs_own_callbacks_need_a_data_module(tmp_path: Path) -> None:
    for callback in (Pictures(), Projector()):
        with pytest.raises(
            RunError, match=rf"callbacks: {type(callback).__name__} draws the examples of a data module"
        ):
            trainer_of(tmp_path, callback, logger=TensorBoardLogger(tmp_path)).fit(module_of(), FORMS["[x]"])


class TheirData(LightningDataModule):
    def train_dataloader(self) -> Any:
        return FORMS["[x, y]"]

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader


def test_a_data_module_of_ones_own_trains_the_same_weights(tmp_path: Path) -> None:
    expected, module, data = trained(tmp_path, FORMS["[x, y]"], True), module_of(True), TheirData()
    trainer = trainer_of(tmp_path)
    trainer.fit(module, datamodule=data)
    assert all(torch.equal(expected.state_dict()[name], weight) for name, weight in module.state_dict().items())
    assert len(trainer.predict(module, datamodule=data)) == 5
    assert trainer.test(module, datamodule=data, verbose=False)[0]["test/elbo"] < 0


def test_values_of_a_data_module_that_keeps_the_labs_contract_are_checked(tmp_path: Path) -> None:
    class Scaled(TheirData):
        def train_dataloader(self) -> Any:
            return loader_of(X * 255)

        def train_sizes(self, world: int) -> list[int]:
            return [8] * 5

    with pytest.raises(ValueError, match=r"x: values from 0 to 255, must lie in \[0, 1\]"):
        trainer_of(tmp_path).fit(module_of(), datamodule=Scaled())


def test_predict_takes_the_data_module_of_the_lab(tmp_path: Path) -> None:
    run = compose(
        "trainer=cpu", "callbacks=none", "logger=none", "network.widths=[4]", "trainer.limit_predict_batches=1"
    )
    (levels,) = run.trainer.predict(run.module, datamodule=run.data)
    assert levels[0].mean.shape == (128, 10)


def test_the_module_says_nothing_of_lightnings_insides(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        trained(tmp_path, FORMS["[x]"])
    assert not [str(warning.message) for warning in caught if "dataloader_iter" in str(warning.message)]


@pytest.mark.parametrize("option", ["gradient_clip_val", "accumulate_grad_batches"])
def test_options_that_the_module_takes_itself_are_refused(tmp_path: Path, option: str) -> None:
    trainer = trainer_of(tmp_path, **{option: 2})
    with pytest.raises(Exception, match=option):
        trainer.fit(module_of(), FORMS["[x]"])
