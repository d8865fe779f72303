"""Whoever defines a hook for each batch is called at each batch, whatever it is and however it was defined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback, Timer
from pytorch_lightning.profilers import SimpleProfiler
from torch.optim.lr_scheduler import CosineAnnealingLR

from tests.data.small_sets import image_set
from vae_lab.data import ImageDataModule
from vae_lab.distributions import Bernoulli
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import Elbo
from vae_lab.training import Optimization, VariationalModule
from vae_lab.training.batch_hooks import BATCH_HOOKS, MODULE_HOOKS

BATCH, EPOCHS, BATCHES = 10, 2, 20
OF_STEPS = ("on_before_optimizer_step", "on_before_zero_grad")
TRAINER: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": EPOCHS,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}


def fitted(
    *callbacks: pl.Callback, kind: type[VariationalModule] = VariationalModule, **settings: Any
) -> VariationalModule:
    torch.manual_seed(0)
    data = ImageDataModule(image_set(BATCHES * BATCH + 5), batch_size=BATCH, val_size=5, binarization="threshold")
    of_trainer = TRAINER | {
        key: settings.pop(key) for key in list(settings) if key in ("logger", "barebones", "profiler")
    }
    if of_trainer.get("barebones"):
        of_trainer = {key: of_trainer[key] for key in ("accelerator", "max_epochs", "barebones")}
    optimization = Optimization(lambda weights: torch.optim.SGD(weights, lr=1e-3), compile=False, **settings)
    module = kind(VAE(data.spec, 2, MlpArchitecture([8]), Bernoulli), Elbo(), optimization, data.spec)
    pl.Trainer(callbacks=list(callbacks), **of_trainer).fit(module, datamodule=data)
    return module


def counted(counts: Counter[str], hook: str) -> Callable[..., None]:
    def count(*args: Any) -> None:
        counts[hook] += 1

    return count


def of_lambdas(counts: Counter[str]) -> pl.Callback:
    return LambdaCallback(**{hook: counted(counts, hook) for hook in BATCH_HOOKS})


def of_a_class(counts: Counter[str], base: type[pl.Callback] = pl.Callback) -> pl.Callback:
    return type("Own", (base,), {hook: counted(counts, hook) for hook in BATCH_HOOKS})()


def of_a_subclass(counts: Counter[str]) -> pl.Callback:
    return of_a_class(counts, Timer)


def of_an_instance(counts: Counter[str]) -> pl.Callback:
    callback = pl.Callback()
    for hook in BATCH_HOOKS:
        setattr(callback, hook, counted(counts, hook))
    return callback


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("make", [of_lambdas, of_a_class, of_a_subclass, of_an_instance])
def test_each_hook_of_a_callback_is_called_at_each_batch(
    make: Callable[[Counter[str]], pl.Callback], accumulate: int
) -> None:
    counts: Counter[str] = Counter()
    module = fitted(make(counts), accumulate_grad_batches=accumulate)
    steps = EPOCHS * -(-BATCHES // accumulate)
    assert module.global_step == steps
    assert counts == {hook: steps if hook in OF_STEPS else EPOCHS * BATCHES for hook in BATCH_HOOKS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulate", [1, 3])
def test_with_one_step_per_pass_lightnings_own_callbacks_are_called_at_each_batch(
    accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    for hook in ("on_train_batch_start", "on_train_batch_end"):
        monkeypatch.setattr(Timer, hook, counted(counts, hook))
    fitted(Timer(), accumulate_grad_batches=accumulate)
    assert 0 < counts["on_train_batch_end"] < BATCHES, "usually where a pass ends"
    counts.clear()
    fitted(Timer(), accumulate_grad_batches=accumulate, steps_per_pass=1)
    assert counts == {"on_train_batch_start": EPOCHS * BATCHES, "on_train_batch_end": EPOCHS * BATCHES}


@pytest.mark.filterwarnings("ignore")
def test_with_one_step_per_pass_a_pass_safe_callback_is_called_at_each_step() -> None:
    counts: Counter[str] = Counter()
    callback = of_a_class(counts)
    type(callback).pass_safe = True  # type: ignore[attr-defined]
    fitted(callback, steps_per_pass=1)
    assert [counts[hook] for hook in ("on_train_batch_start", "on_train_batch_end")] == [EPOCHS * BATCHES] * 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hook", [hook for hook in MODULE_HOOKS if hook not in vars(ImageDataModule)])
def test_each_hook_of_a_subclass_of_the_module_is_called_at_each_batch(hook: str) -> None:
    counts: Counter[str] = Counter()

    def count(self: Any, *args: Any, **options: Any) -> Any:
        counts["training"] += self.trainer.training
        return getattr(super(Own, self), hook)(*args, **options)

    Own = type("Own", (VariationalModule,), {hook: count})
    fitted(kind=Own, scheduler=CosineAnnealingLR)
    assert counts["training"] >= EPOCHS * BATCHES


@pytest.mark.filterwarnings("ignore")
def test_hooks_see_the_batch_as_it_was_trained_on() -> None:
    seen: list[torch.Tensor] = []
    fitted(LambdaCallback(on_train_batch_end=lambda *args: seen.append(args[3].x)))
    assert len(seen) == EPOCHS * BATCHES
    assert all(x.dtype == torch.float32 for x in seen)
    assert len({x.sum().item() for x in seen}) > BATCHES / 2


@pytest.mark.filterwarnings("ignore")
def test_watched_runs_train_to_the_same_weights() -> None:
    weights = [
        torch.cat([parameter.detach().flatten() for parameter in module.model.parameters()])
        for callbacks in ([], [of_lambdas(Counter())])
        for accumulate in (1, 3)
        for module in [fitted(*callbacks, accumulate_grad_batches=accumulate, gradient_clip_val=1e-2)]
    ]
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(weights[1], weights[3])


@pytest.mark.filterwarnings("ignore")
def test_a_profiler_sees_every_gradient_and_step() -> None:
    profiler = SimpleProfiler()
    fitted(profiler=profiler)
    for hook in ("on_before_backward", "on_after_backward", "on_before_optimizer_step"):
        assert len(profiler.recorded_durations[f"[LightningModule]VariationalModule.{hook}"]) == EPOCHS * BATCHES


@pytest.mark.filterwarnings("ignore")
def test_clipping_survives_a_hook_of_a_subclass() -> None:
    class Own(VariationalModule):
        def on_before_optimizer_step(self, optimizer: Any) -> None:
            """Looks at the gradient."""

    one, other = (fitted(kind=kind, gradient_clip_val=1e-3) for kind in (VariationalModule, Own))
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:.*barebones", "ignore:.*num_workers", "ignore::UserWarning:pytorch_lightning")
def test_a_trainer_without_anything_trains() -> None:
    assert fitted(barebones=True).global_step == EPOCHS * BATCHES


@pytest.mark.filterwarnings("ignore")
def test_a_subclass_that_repeats_what_lightning_does_trains_to_the_same_weights() -> None:
    class Own(VariationalModule):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)

        def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
            optimizer.zero_grad()

        def configure_gradient_clipping(
            self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any
        ) -> None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            scheduler.step()

    for accumulate in (1, 3):
        options = {"gradient_clip_val": 1e-2, "accumulate_grad_batches": accumulate}
        options["scheduler"] = CosineAnnealingLR
        one, other = (fitted(kind=kind, **options) for kind in (VariationalModule, Own))
        for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore")
def test_what_a_subclass_does_in_place_of_lightning_is_what_happens() -> None:
    class Still(VariationalModule):
        def optimizer_step(self, *args: Any) -> None:
            """Takes no step."""

    class Zeroed(VariationalModule):
        def configure_gradient_clipping(self, optimizer: Any, *limit: Any) -> None:
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.grad.zero_()

    still, zeroed = (list(fitted(kind=kind).model.parameters()) for kind in (Still, Zeroed))
    trained = list(fitted().model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(still, zeroed, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(still, trained, strict=True))


@pytest.mark.filterwarnings("ignore")
def test_hooks_before_a_step_see_the_gradient_before_it_is_clipped() -> None:
    norms: list[float] = []

    def note(trainer: Any, module: Any, optimizer: Any) -> None:
        norms.append(torch.nn.utils.get_total_norm(p.grad for p in module.model.parameters()).item())

    fitted(LambdaCallback(on_before_optimizer_step=note), gradient_clip_val=1e-3)
    assert min(norms) > 0.1


def without_super(hook: str) -> type[VariationalModule]:
    return type("Own", (VariationalModule,), {hook: lambda self, *args: torch.optim.SGD(self.parameters(), 0.1)})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hook", ["training_step", "configure_optimizers", "on_train_epoch_start"])
def test_a_subclass_that_would_leave_the_training_out_is_refused(hook: str) -> None:
    with pytest.raises(TypeError, match=f"{hook}: "):
        fitted(kind=without_super(hook))
