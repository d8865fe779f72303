"""Tests captured steps: on a CPU a tape of kernels stands for the graph; the numbers must be those of plain steps."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from typing import Any

import pytest
import torch

from tests.training.tape import Tape
from tests.training.test_step_structure import WAITS, data_of, fit, module_of
from vae_lab.core import ElboTerms
from vae_lab.data import datamodule
from vae_lab.objectives import Elbo, FactorVae, Loss, Objective, Scheduled
from vae_lab.objectives.schedules import Linear
from vae_lab.training import VariationalModule, optimization, stepping
from vae_lab.training.averaging import WeightAverage
from vae_lab.training.capture.capturable import obstacle_to_capture
from vae_lab.training.capture.captured import CapturedStep
from vae_lab.training.optimization import Optimization, StepTerms
from vae_lab.training.schedulers import cosine


class TwoSchedules(Elbo):
    """Two numbers that change with the step."""

    def scheduled(self, step: int) -> dict[str, float]:
        return {**super().scheduled(step), "share": 1 / (1 + step)}

    def loss(self, terms: ElboTerms, scheduled: Scheduled) -> Loss:
        loss = super().loss(terms, scheduled)
        return Loss(loss.value * scheduled["share"], {**loss.logs, "share": scheduled["share"]})


def trained(objective: Objective, graph: Any, monkeypatch: pytest.MonkeyPatch, stored: bool = True) -> Any:
    """A module after two epochs of seven batches and a short one, with captured steps if there is a graph."""
    monkeypatch.setattr(optimization, "SYNCHRONOUS_DEVICES", ())  # the CPU stands for a device that is waited for
    monkeypatch.setattr(stepping, "obstacle_to_capture", lambda *_: None if graph else "no graph")
    monkeypatch.setattr(stepping, "CapturedStep", partial(CapturedStep, graph=lambda: graph))
    if stored:
        monkeypatch.setattr(datamodule, "resident_device", lambda *_: torch.device("cpu"))
    data = data_of()
    whole = module_of("vae", data, objective)
    plan = Optimization(lambda p: torch.optim.Adam(p, lr=1e-2, fused=True), cosine, 1.0, gradient_skip=5, compile=False)
    module = VariationalModule(whole.model, objective, plan, data.spec)
    average = WeightAverage(0.9)
    fit(module, data, average, epochs=3)
    return module, average


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("objective", [TwoSchedules(warmup=Linear(30)), FactorVae(latent_dim=2, widths=(8,))], ids=str)
def test_captured_steps_are_plain_steps(objective: Objective, stored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # The rate is read from the device, in float32: the weights differ by that rounding alone.
    start = {name: value.clone() for name, value in objective.state_dict().items()}
    plain, plain_average = trained(objective, None, monkeypatch, stored)
    objective.load_state_dict(start)
    graph = Tape()
    module, average = trained(objective, graph, monkeypatch, stored)
    assert graph.replays == 3 * 7 - 3
    copy.deepcopy(module)  # nothing of the graph is left in it
    assert not graph.names & WAITS
    assert module.trainer.global_step == plain.trainer.global_step == 24
    assert average.steps == plain_average.steps
    assert module.optimizers().param_groups[0]["lr"] == plain.optimizers().param_groups[0]["lr"]
    for ours, other in zip(module.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)
    logged, expected = (run.trainer.callback_metrics for run in (module, plain))
    assert logged.keys() == expected.keys()
    for name in logged:
        torch.testing.assert_close(logged[name], expected[name], rtol=1e-4, atol=1e-5)


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Counting(torch.nn.Module):
    """A part that is not the lab's."""


class Capturable(Counting):
    capturable = True


@pytest.mark.parametrize(
    ("options", "part", "device", "direct", "reason"),
    [
        ({}, Capturable(), CUDA, True, None),
        ({"compile": "graph"}, Counting(), CUDA, True, None),
        ({}, Counting(), CUDA, True, "Counting: no capturable = True"),
        ({"compile": False}, Capturable(), CUDA, True, "compile=false"),
        ({"accumulate_grad_batches": 2}, Capturable(), CUDA, True, "accumulate_grad_batches"),
        ({}, Capturable(), CPU, True, "the device is cpu"),
        ({}, Capturable(), CUDA, False, "a hook within a step"),
        ({"fused": False}, Capturable(), CUDA, True, "not fused"),
        ({"lr": torch.tensor(0.1)}, Capturable(), CUDA, True, "the learning rate is a tensor"),
    ],
)
def test_a_step_that_cannot_be_captured_is_named(
    options: dict[str, Any], part: torch.nn.Module, device: torch.device, direct: bool, reason: str | None
) -> None:
    of_adam = {key: options.pop(key) for key in ("fused", "lr") if key in options}
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(()))], **{"fused": True, **of_adam})
    plan = Optimization(torch.optim.Adam, **options)
    found = obstacle_to_capture(plan, optimizer, [torch.nn.Linear(1, 1), part], device, direct)
    assert found is None if reason is None else reason in str(found)


def test_a_run_that_asks_for_a_graph_says_why_there_is_none() -> None:
    data = data_of()
    module = module_of("vae", data, Elbo(), compile="graph")
    with pytest.warns(UserWarning, match=r"compile=graph: the training step is not captured: the device is cpu"):
        fit(module, data, epochs=1)


@pytest.mark.parametrize("message", ["x called a synchronizing CUDA operation y", "something else"])
def test_a_step_that_waits_is_not_captured_and_other_warnings_are_passed_on(
    message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warns(*args: Any) -> StepTerms:
        warnings.warn(message, stacklevel=1)
        return whole(*args)

    whole = VariationalModule.training_loss
    monkeypatch.setattr(VariationalModule, "training_loss", warns)
    graph, said = Tape(), list[str]()
    monkeypatch.setattr(warnings, "showwarning", lambda text, *_: said.append(str(text)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        trained(Elbo(), graph, monkeypatch)
    waits = "synchronizing" in message
    assert (graph.replays == 0) is waits
    assert any("not captured as a CUDA graph: the host waits" in text for text in said) is waits
    # At each step but the examined one; or at the steps before the capture, at it, and at three short batches.
    assert said.count(message) == (23 if waits else 3 + 1 + 3)
