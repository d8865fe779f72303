"""Several optimizer steps in a pass of Lightning's loop: a run differs only in its time."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, TQDMProgressBar
from torch import Tensor

from tests.conftest import FAST, Outcome
from tests.data.small_sets import image_set
from tests.training.same_run import assert_same
from vae_lab.core import ElboTerms
from vae_lab.data import ImageDataModule
from vae_lab.distributions import Bernoulli
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import Elbo, Loss, Objective, Scheduled
from vae_lab.objectives.schedules import Linear
from vae_lab.training import Optimization, VariationalModule
from vae_lab.training.lightning_loop import steps_in_pass, total_steps
from vae_lab.training.schedulers import cosine
from vae_lab.training.stepping import MAX_STEPS

BATCH = 10
STEPS_AN_EPOCH = 9


def trainer_at(step: int, **settings: Any) -> Any:
    defaults: dict[str, Any] = {
        "global_step": step,
        "max_steps": -1,
        "log_every_n_steps": 50,
        "val_check_interval": 1.0,
        "callbacks": [],
        "progress_bar_callback": None,
    }
    return SimpleNamespace(**(defaults | settings))


@pytest.mark.parametrize(
    ("step", "batch_index", "settings", "expected"),
    [
        (0, 0, {}, 1),  # to step 1
        (1, 1, {}, 1),  # to step 2
        (4, 4, {}, 4),  # to step 8
        (50, 50, {}, 14),  # to step 64
        (1100, 0, {}, MAX_STEPS),
        (1130, 0, {}, 20),  # to step 1150, where it is logged
        (1100, 0, {"log_every_n_steps": 7}, 6),
        (1100, 0, {"max_steps": 1105}, 5),
        (1100, 0, {"callbacks": [ModelCheckpoint(every_n_train_steps=8)]}, 4),
        (1100, 0, {"val_check_interval": 0.5}, 1),
        (1100, 33, {"progress_bar_callback": TQDMProgressBar(refresh_rate=20)}, 7),
    ],
)
def test_a_pass_ends_where_somebody_looks(step: int, batch_index: int, settings: dict[str, Any], expected: int) -> None:
    assert steps_in_pass(trainer_at(step, **settings), batch_index, MAX_STEPS) == expected


class Watch(pl.Callback):
    """Records of a run at the end of every pass."""

    pass_safe = True

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.rates: list[float] = []
        self.batches: list[int] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append(trainer.global_step)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.batches.append(batch_idx)


def fitted(tmp_path: Path, steps_per_pass: int | Literal["auto"], **settings: Any) -> tuple[Any, Watch, Any]:
    """A run of two epochs."""
    watch = Watch()
    torch.manual_seed(0)
    data = ImageDataModule(image_set(STEPS_AN_EPOCH * BATCH + 8 + 5), batch_size=BATCH, val_size=5)
    of_trainer = {key: settings.pop(key) for key in ("max_steps", "limit_train_batches") if key in settings}
    model = VAE(data.spec, 2, MlpArchitecture([8]), Bernoulli)
    optimization = Optimization(
        lambda parameters: torch.optim.SGD(parameters, lr=1e-3),
        cosine,
        compile=False,
        steps_per_pass=steps_per_pass,
        **settings,
    )
    module = VariationalModule(model, Elbo(warmup=Linear(10)), optimization, data.spec)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=pl.loggers.CSVLogger(tmp_path / str(steps_per_pass)),
        default_root_dir=tmp_path,
        log_every_n_steps=4,
        callbacks=[watch],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **of_trainer,
    )
    trainer.fit(module, datamodule=data)
    return trainer, watch, module


def weights(module: VariationalModule) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.model.parameters()])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_clip_val": 1e-3},
        {"accumulate_grad_batches": 4},
        {"max_steps": 13},
        {"limit_train_batches": 0.5},
        {"limit_train_batches": 7},
    ],
)
def test_long_passes_train_as_short_ones_do(tmp_path: Path, settings: dict[str, Any]) -> None:
    one, each, alone = fitted(tmp_path, 1, **settings)
    many, watch, together = fitted(tmp_path, "auto", **settings)
    assert len(each.steps) == one.global_step
    assert torch.equal(weights(alone), weights(together))
    assert one.global_step == many.global_step
    assert one.callback_metrics == many.callback_metrics
    assert one.num_training_batches == many.num_training_batches
    assert watch.rates[-1] == pytest.approx(0.0, abs=1e-9), "the schedule ends with the run"
    curves = [(tmp_path / folder / "lightning_logs/version_0/metrics.csv").read_text() for folder in ("1", "auto")]
    assert curves[0] == curves[1], "the same values at the same steps"
    assert len(watch.steps) < many.global_step, "and fewer passes"


@pytest.mark.filterwarnings("ignore")
def test_a_number_of_steps_per_pass_is_the_largest(tmp_path: Path) -> None:
    trainer, watch, _ = fitted(tmp_path, 2)
    lengths = [after - before for before, after in zip([0, *watch.steps], watch.steps, strict=False)]
    assert max(lengths) == 2
    assert sum(lengths) == trainer.global_step


@pytest.mark.parametrize("model", ["cvae", "ladder"])
def test_a_run_of_one_step_per_pass_leaves_the_same_checkpoint_and_curves(
    train: Callable[..., Outcome], tmp_path: Path, model: str
) -> None:
    runs = [tmp_path / "1", tmp_path / "auto"]
    words = [*FAST, f"model={model}", "trainer.limit_train_batches=24", "trainer.log_every_n_steps=11"]
    for run in runs:
        assert train(*words, f"steps_per_pass={run.name}", f"hydra.run.dir={run}").code == 0
    assert_same(*runs)


@pytest.mark.filterwarnings("ignore")
def test_every_batch_of_an_epoch_is_used_once(tmp_path: Path) -> None:
    trainer, watch, _ = fitted(tmp_path, "auto")
    assert trainer.global_step == 2 * trainer.num_training_batches
    assert watch.batches.count(trainer.num_training_batches - 1) == 2, "passes end with the epoch"
    progress = trainer.fit_loop.epoch_loop.batch_progress
    for counts in (progress.current, progress.total):
        passed = trainer.num_training_batches * (1 if counts is progress.current else 2)
        assert (counts.ready, counts.started, counts.processed, counts.completed) == (passed,) * 4


@pytest.mark.filterwarnings("ignore")
def test_accumulated_batches_step_once_and_the_rest_of_an_epoch_steps_too(tmp_path: Path) -> None:
    trainer, _, _ = fitted(tmp_path, "auto", accumulate_grad_batches=4)
    assert trainer.global_step == 2 * -(-trainer.num_training_batches // 4)


@pytest.mark.filterwarnings("ignore")
def test_the_weight_of_the_kl_follows_the_step(tmp_path: Path) -> None:
    fitted(tmp_path, "auto")
    rows = list(csv.DictReader((tmp_path / "auto/lightning_logs/version_0/metrics.csv").open()))
    betas = {int(row["step"]): float(row["train/beta"]) for row in rows if row["train/beta"]}
    assert sorted(betas) == [3, 7, 11, 15, 19]
    assert betas == pytest.approx({step: min(1.0, step / 10) for step in betas})


class Slope(Objective):
    """A loss whose gradient is 1 in every weight."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = weights

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        return Loss(sum(tensor.sum() for tensor in self.weights))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_takes_the_mean_gradient_of_its_batches_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    built: list[Tensor] = []

    def objective(**options: Any) -> Objective:
        return Slope(built)

    monkeypatch.setattr(sys.modules[__name__], "Elbo", objective)
    monkeypatch.setattr(sys.modules[__name__], "cosine", None)
    torch.manual_seed(0)
    model = _parts()[0]
    before = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    original = VariationalModule.on_train_start

    def remember(module: VariationalModule) -> None:
        built.extend(module.model.parameters())
        original(module)

    monkeypatch.setattr(VariationalModule, "on_train_start", remember)
    trainer, _, module = fitted(tmp_path, "auto", accumulate_grad_batches=accumulate, limit_train_batches=8)
    assert trainer.global_step == 16 // accumulate
    moved = before - weights(module)
    assert torch.allclose(moved, torch.full_like(moved, 1e-3 * trainer.global_step), rtol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_clipping_bounds_each_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = weights(VariationalModule(*_parts()))
    _, _, module = fitted(tmp_path, "auto", gradient_clip_val=1e-3, max_steps=5)
    assert (weights(module) - before).norm() <= 5 * 1e-3 * 1e-3 * 1.0001


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("seed", "epoch", "same"), [(0, 1, True), (0, 2, False), (3, 1, False)])
def test_the_noise_of_an_epoch_depends_on_the_seed_and_the_epoch(
    monkeypatch: pytest.MonkeyPatch, seed: int, epoch: int, same: bool
) -> None:
    def noise_of(seed: int, epoch: int) -> Tensor:
        module = VariationalModule(*_parts(), seed=seed)
        monkeypatch.setattr(VariationalModule, "current_epoch", epoch)
        module.on_train_epoch_start()
        return torch.randn(5)

    assert torch.equal(noise_of(seed, epoch), noise_of(0, 1)) == same


def _parts() -> tuple[Any, ...]:
    data = ImageDataModule(image_set(STEPS_AN_EPOCH * BATCH + 8 + 5), batch_size=BATCH, val_size=5)
    model = VAE(data.spec, 2, MlpArchitecture([8]), Bernoulli)
    return model, Elbo(), Optimization(lambda parameters: torch.optim.SGD(parameters, lr=1e-3)), data.spec


@pytest.mark.parametrize(("accumulate", "max_steps", "steps"), [(1, -1, 21), (2, -1, 12), (8, -1, 3), (2, 5, 5)])
def test_a_schedule_counts_the_short_accumulation_at_the_end_of_an_epoch(
    accumulate: int, max_steps: int, steps: int
) -> None:
    loop = SimpleNamespace(setup_data=lambda: None)
    trainer = SimpleNamespace(max_epochs=3, max_steps=max_steps, num_training_batches=7, fit_loop=loop)
    assert total_steps(trainer, accumulate) == steps
