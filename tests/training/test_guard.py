"""A gradient that is not finite changes nothing, is counted, and ends the run only where it stays so."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor

from tests.data.small_sets import image_set
from tests.pairwise import pairwise
from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.data import ImageDataModule
from vae_lab.distributions import Bernoulli
from vae_lab.errors import NonFiniteLossError
from vae_lab.models import MHVAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import Elbo, Loss, Scheduled
from vae_lab.training import Optimization, VariationalModule, optimization
from vae_lab.training.guard import PATIENCE, StepGuard
from vae_lab.training.metrics import BoundMetric
from vae_lab.training.optimization import Step, StepTerms

pytestmark = pytest.mark.filterwarnings("ignore")
BATCH, STEPS = 10, 24
NAN = float("nan")


class BadFactor(torch.autograd.Function):
    """The identity, with a gradient that is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class Spoilt(Elbo):
    """An ELBO whose value, or only its gradient, is spoilt in given calls."""

    def __init__(self, calls: Iterable[int], factor: float = NAN, value: bool = True) -> None:
        super().__init__()
        self.calls, self.factor, self.value, self.call = set(calls), factor, value, -1

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        self.call += 1
        loss = super().loss(terms, scheduled)
        if self.call not in self.calls:
            return loss
        return loss._replace(value=loss.value * self.factor if self.value else BadFactor.apply(loss.value, self.factor))


class States(pl.Callback):
    """Weights and state of the optimizer before each batch."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        weights = [parameter.detach().clone() for parameter in pl_module.model.parameters()]
        self.seen.append((weights, copy.deepcopy(trainer.optimizers[0].state_dict()["state"])))


class Curves(pl.loggers.CSVLogger):
    """Returns the logged values by tag."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self.found: dict[str, list[float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        for tag, value in metrics.items():
            self.found.setdefault(tag, []).append(value)


def module_of(objective: Elbo, optimizer: Callable[..., Any], **settings: Any) -> tuple[VariationalModule, Any]:
    torch.manual_seed(0)
    data = ImageDataModule(image_set(STEPS * BATCH + 5), batch_size=BATCH, val_size=5)
    model = MHVAE(data.spec, [4, 2], MlpArchitecture([8]), MlpArchitecture([8]), Bernoulli)
    return VariationalModule(
        model, objective, Optimization(optimizer, compile=False, **settings), data.spec, eval_samples=1
    ), data


def fit(module: VariationalModule, data: ImageDataModule, folder: Any, *callbacks: Any, **settings: Any) -> Curves:
    curves = Curves(folder)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=curves,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **settings,
    )
    trainer.fit(module, datamodule=data)
    return curves


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "fused": lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
    "adamax": lambda p: torch.optim.Adamax(p, lr=1e-3),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return all(map(same, a, b)) if isinstance(a, list | tuple) else bool(a == b)


SETTINGS = {"plain": {}, "clipped": {"gradient_clip_val": 1.0}, "accumulated": {"accumulate_grad_batches": 2}}


@pytest.mark.parametrize(
    ("name", "setting", "factor", "value"),
    pairwise([*OPTIMIZERS, "on the device"], SETTINGS, [NAN, float("inf")], [True, False]),
    ids=str,
)
def test_a_bad_step_changes_nothing(
    tmp_path: Any, name: str, setting: str, factor: float, value: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "on the device":
        monkeypatch.setattr(optimization, "SYNCHRONOUS_DEVICES", ())
        name = "fused"
    settings = SETTINGS[setting]
    accumulate = settings.get("accumulate_grad_batches", 1)
    bad = {5, 6, 12}
    module, data = module_of(Spoilt([step * accumulate for step in bad], factor, value), OPTIMIZERS[name], **settings)
    states = States()
    curves = fit(module, data, tmp_path, states)
    steps = STEPS // accumulate
    assert module.trainer.global_step == steps
    for step, (before, after) in enumerate(itertools.pairwise(states.seen[::accumulate])):  # seen at each batch
        assert same(before, after) == (step in bad), step
    assert module.guard.skipped == len(bad & set(range(steps)))
    assert curves.found["train/skipped_steps"][-1] == module.guard.skipped
    assert curves.found["train/elbo"][0] < 0  # the averages are of what is finite
    assert len(curves.found["train/loss"]) == steps


@pytest.mark.parametrize("whole_passes", [True, False])
def test_ten_in_a_row_end_the_run(tmp_path: Any, whole_passes: bool) -> None:
    callbacks = () if whole_passes else (States(),)
    module, data = module_of(Spoilt(range(3, 3 + PATIENCE)), OPTIMIZERS["fused"])
    with pytest.raises(NonFiniteLossError, match=f"^loss is not finite at step {2 + PATIENCE}, as in the 9 steps"):
        fit(module, data, tmp_path, *callbacks)
    module, data = module_of(Spoilt({*range(3, 2 + PATIENCE), *range(3 + PATIENCE, 20)}), OPTIMIZERS["fused"])
    fit(module, data, tmp_path, *callbacks)
    assert module.guard.skipped == 9 + 7


def test_a_pass_counts_its_steps_one_by_one_and_averages_the_finite_ones() -> None:
    def step(value: float) -> Step:
        terms = StepTerms(torch.tensor(value), torch.full((1, 2), value), torch.zeros(1, 2, 1), {})
        return Step([terms], torch.tensor(float(value == float("inf"))))

    guard, bound, culprit = StepGuard(), BoundMetric(), lambda: "the gradient"
    bad, good = step(float("inf")), step(-3.0)
    nine = [bad] * (PATIENCE - 1)
    with pytest.warns(Warning, match="step 3: log_likelihood is not finite"):
        guard.record_steps([*nine, good, *nine], 3, bound, culprit)
    assert (guard.skipped, guard.in_a_row) == (18, 9)
    assert (bound.total.tolist(), int(bound.count)) == ([-6, 0], 2)
    with pytest.raises(NonFiniteLossError, match="log_likelihood is not finite at step 22, as in the 9 steps"):
        guard.record_steps([bad], 22, bound, culprit)


@pytest.mark.parametrize("level", [0, 1])
def test_the_term_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, level: int) -> None:
    """A finite term with a non-finite gradient, then a non-finite term."""
    kl = vars(LatentLevel)["kl"]
    for spoil, message in ((BadFactor.apply, "the gradient of kl_level_"), (torch.mul, "kl_level_")):

        def spoilt(own: LatentLevel, spoil: Any = spoil) -> Tensor:
            value: Tensor = kl.__get__(own, LatentLevel)
            return spoil(value, NAN) if own.z.shape[-1] == (4, 2)[level] else value

        monkeypatch.setattr(LatentLevel, "kl", property(spoilt), raising=False)
        module, data = module_of(Elbo(), OPTIMIZERS["fused"])
        before = [parameter.detach().clone() for parameter in module.model.parameters()]
        with pytest.raises(NonFiniteLossError, match=f"^{message}{level + 1} is not finite at step 9, as"):
            fit(module, data, tmp_path)
        assert same(before, list(module.model.parameters()))


def test_a_value_that_is_no_number_is_not_believed_though_its_gradient_is(tmp_path: Any) -> None:
    class Shifted(Elbo):
        def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
            loss = super().loss(terms, scheduled)
            return loss._replace(value=loss.value + NAN)

    module, data = module_of(Shifted(), OPTIMIZERS["fused"])
    with pytest.raises(NonFiniteLossError, match=r"^loss is not finite at step 0$"):
        fit(module, data, tmp_path)


class HalfScaler(torch.amp.GradScaler):
    """Begins where 13 halvings are needed until nothing overflows."""

    def __init__(self, scale: float) -> None:
        super().__init__("cpu", init_scale=scale)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_search_for_a_scale_of_fp16_ends_no_run(tmp_path: Any, name: str) -> None:
    module, data = module_of(Elbo(), OPTIMIZERS[name])
    scaler = HalfScaler(2.0**30)
    curves = fit(module, data, tmp_path, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert module.guard.skipped > PATIENCE, "more than ten in a row, and yet it went on"
    assert scaler.get_scale() == 2.0 ** (30 - module.guard.skipped)
    assert curves.found["train/skipped_steps"][-1] == module.guard.skipped

    module, data = module_of(Spoilt(range(STEPS)), OPTIMIZERS[name])
    with pytest.raises(NonFiniteLossError, match=r"^loss is not finite at step 9, as"):
        fit(module, data, tmp_path, plugins=[MixedPrecision("16-mixed", "cpu", HalfScaler(1024.0))])


def test_gradients_are_clipped_in_bf16_by_a_fused_optimizer(tmp_path: Any) -> None:
    ends = []
    for clip in (0.1, None):
        module, data = module_of(Elbo(), lambda p: torch.optim.SGD(p, lr=1e-3, fused=True), gradient_clip_val=clip)
        before = [parameter.detach().clone() for parameter in module.model.parameters()]
        fit(module, data, tmp_path, plugins=[MixedPrecision("bf16-mixed", "cpu")])
        changes = [(a - b).abs().max() for a, b in zip(before, module.model.parameters(), strict=True)]
        ends.append(float(max(changes)))
    assert 0 < ends[0] <= STEPS * 1e-3 * 0.1 < ends[1]


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_densities_and_divergences_stay_in_float32(tmp_path: Any, precision: str) -> None:
    """And the ELBO of the same weights and noise is that of float32 to what half precision leaves of the networks."""
    module, data = module_of(Elbo(), OPTIMIZERS["fused"])

    seen: set[torch.dtype] = set()
    inner = module._loss

    def watched(*args: Any) -> Any:
        terms = inner(*args)
        seen.update({terms.loss.dtype, terms.log_likelihood.dtype, terms.kl.dtype})
        return terms

    module._loss = watched
    plugins = [MixedPrecision(precision, "cpu", HalfScaler(1.0) if precision == "16-mixed" else None)]
    curves = fit(module, data, tmp_path, plugins=plugins)
    assert seen == {torch.float32}
    reference, data = module_of(Elbo(), OPTIMIZERS["fused"])
    exact = fit(reference, data, tmp_path)
    for tag in ("train/elbo", "val/elbo"):
        assert curves.found[tag] == pytest.approx(exact.found[tag], rel=5e-3), tag
    assert curves.found["train/elbo"] != exact.found["train/elbo"], "it was half precision"
