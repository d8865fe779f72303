"""Tests that whatever changes between two steps reaches a captured step, or that such steps are not captured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback, ModelPruning
from torch import Tensor
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import OneCycleLR

from tests.training.tape import Tape
from tests.training.test_step_structure import data_of, fit, module_of
from vae_lab.data import datamodule
from vae_lab.objectives import Elbo, FactorVae, Objective
from vae_lab.training import VariationalModule, optimization, stepping
from vae_lab.training.capture.capturable import obstacle_to_capture
from vae_lab.training.capture.captured import CapturedStep
from vae_lab.training.optimization import Optimization, step_unless, with_momentum

CUDA = torch.device("cuda")
fused_adam = partial(Adam, lr=1e-2, fused=True)


def trained(
    monkeypatch: pytest.MonkeyPatch,
    graph: Tape | None,
    *callbacks: pl.Callback,
    objective: Callable[[], Objective] = Elbo,
    scheduler: Any = None,
    kind: type[VariationalModule] = VariationalModule,
) -> Tensor:
    """All weights after three epochs, with captured steps if there is a graph."""
    monkeypatch.setattr(optimization, "SYNCHRONOUS_DEVICES", ())  # the CPU stands for a device that is waited for
    monkeypatch.setattr(datamodule, "resident_device", lambda *_: torch.device("cpu"))
    monkeypatch.setattr(stepping, "obstacle_to_capture", lambda *_: None if graph else "no graph")
    monkeypatch.setattr(stepping, "CapturedStep", partial(CapturedStep, graph=lambda: graph))
    data = data_of()
    torch.manual_seed(1)
    whole = module_of("vae", data, objective())
    module = kind(whole.model, whole.objective, Optimization(fused_adam, scheduler, compile="graph"), data.spec)
    fit(module, data, *callbacks, epochs=3)
    return torch.cat([parameter.detach().flatten() for parameter in module.model.parameters()])


class Changes(pl.Callback):
    """Changes something before the second epoch."""

    def __init__(self, change: Callable[[pl.Trainer, Any], Any]) -> None:
        self.change = change

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            self.change(trainer, pl_module)


def replace_weights(trainer: pl.Trainer, module: Any) -> None:
    for parameter in module.model.parameters():
        parameter.data = parameter.data.clamp(-0.05, 0.05)


CHANGES = {
    "frozen encoder": lambda trainer, module: module.model.posterior.requires_grad_(False),
    "other weights": replace_weights,
    "weight decay": lambda trainer, module: trainer.optimizers[0].param_groups[0].update(weight_decay=1.0),
    "an objective's number": lambda trainer, module: setattr(module.objective, "gamma", 30.0),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_a_callback_changes_between_epochs_is_seen(
    change: Callable[[Any, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    factor_vae, graph = partial(FactorVae, latent_dim=2, widths=(8,)), Tape()
    expected = trained(monkeypatch, None, Changes(change), objective=factor_vae)
    found = trained(monkeypatch, graph, Changes(change), objective=factor_vae)
    assert graph.replays == 3 * (7 - 3)  # captured in each epoch
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_pruning_by_lightning_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def pruned(graph: Tape | None) -> Tensor:
        return trained(
            monkeypatch, graph, ModelPruning("l1_unstructured", amount=0.3, use_lottery_ticket_hypothesis=False)
        )

    graph = Tape()
    torch.testing.assert_close(pruned(graph), pruned(None), rtol=1e-5, atol=1e-6)
    assert graph.replays > 0


@pytest.mark.filterwarnings("ignore")
def test_a_schedule_of_momentum_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    def cycle(optimizer: Any, steps: int) -> OneCycleLR:
        return OneCycleLR(optimizer, 1e-2, total_steps=steps + 1)

    graph = Tape()
    torch.testing.assert_close(
        trained(monkeypatch, graph, scheduler=cycle), trained(monkeypatch, None, scheduler=cycle), rtol=1e-5, atol=1e-6
    )
    assert graph.replays == 0


class Keeps(pl.Callback):
    """Keeps the batches that it is shown."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch.x)


@pytest.mark.filterwarnings("ignore")
def test_a_batch_that_a_callback_keeps_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, captured, graph = Keeps(), Keeps(), Tape()
    trained(monkeypatch, None, plain)
    trained(monkeypatch, graph, captured)
    assert graph.replays > 0
    assert all(torch.equal(one, other) for one, other in zip(captured.batches, plain.batches, strict=True))


class OwnLoss(VariationalModule):
    """A subclass whose loss may read the host."""


class OwnAdam(Adam):
    """An optimizer that may count."""


class CapturableAdam(Adam):
    capturable = True


def test_what_may_work_on_the_host_must_promise_not_to() -> None:
    def obstacle(part: object, kind: type[Adam] = Adam) -> str | None:
        optimizer = kind([torch.nn.Parameter(torch.zeros(()))], fused=True)
        return obstacle_to_capture(Optimization(fused_adam), optimizer, [part], CUDA, direct=True)

    whole = module_of("vae", data_of(), Elbo())
    own = OwnLoss(whole.model, whole.objective, whole.optimization, whole.spec)
    assert [obstacle(part) for part in (whole, pl.callbacks.LearningRateMonitor())] == [None, None]
    assert obstacle(own) == "OwnLoss: no capturable = True"
    assert obstacle(LambdaCallback(on_train_batch_end=print)) == "LambdaCallback: no capturable = True"
    assert obstacle(Keeps()) == "Keeps: no capturable = True"
    assert obstacle(whole, OwnAdam) == "OwnAdam: no capturable = True"
    assert obstacle(whole, CapturableAdam) is None


def test_momentum_of_a_skipped_first_step_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    fused = with_momentum(SGD(weights[:1], lr=0.1, momentum=0.9, fused=True))
    plain = SGD(weights[1:], lr=0.1, momentum=0.9)
    assert torch.equal(fused.state[weights[0]]["momentum_buffer"], torch.zeros(3))
    monkeypatch.setattr(optimization, "SYNCHRONOUS_DEVICES", ())
    for step, gradient in enumerate((torch.nan, 2.0, -1.0)):
        for weight in weights:
            weight.grad = torch.full((3,), gradient)
        skipped = torch.tensor(float(step == 0))
        step_unless(skipped, fused, fused.step)
        if not skipped:
            plain.step()
    assert torch.equal(weights[0], weights[1])
