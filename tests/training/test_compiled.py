"""Tests that a compiled loss is used only if it is right: in PyTorch 2.11 some compiled functions have no gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.test_step_structure import data_of, fit, module_of
from vae_lab.distributions.bernoulli import Bernoulli
from vae_lab.objectives import Elbo
from vae_lab.objectives.schedules import Linear
from vae_lab.training import VariationalModule
from vae_lab.training.compiled import CompiledLoss, _state_kept
from vae_lab.training.optimization import StepTerms

Fault = Callable[[StepTerms], StepTerms]


def scaled(loss: StepTerms) -> StepTerms:
    return loss._replace(loss=loss.loss * 1.05)


def without_gradient(loss: StepTerms) -> StepTerms:
    """The value is right."""
    return loss._replace(loss=loss.loss.detach() + 0 * loss.loss)


def not_a_number(loss: StepTerms) -> StepTerms:
    return loss._replace(loss=loss.loss * torch.nan)


def trained(compile: bool, objective: Elbo | None = None) -> list[Tensor]:
    """Weights and averages of batch normalisation after 16 steps."""
    data = data_of()
    module = module_of("mixture", data, objective or Elbo(), compile)
    fit(module, data)
    return list(module.model.state_dict().values())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("fault", [scaled, without_gradient, not_a_number])
def test_a_loss_that_is_compiled_wrongly_is_not_used(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    expected = trained(compile=False)
    monkeypatch.setattr(torch, "compile", lambda loss, **_: lambda *args: fault(loss(*args)))
    with pytest.warns(UserWarning, match="compiles this loss to another value or gradient$"):
        found = trained(compile=True)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_warm_up_that_begins_without_the_kl_hides_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_beta(loss: Callable[..., StepTerms], **_: object) -> Callable[..., StepTerms]:
        return lambda x, y, numbers: loss(x, y, {name: torch.zeros_like(one) for name, one in numbers.items()})

    expected = trained(compile=False, objective=Elbo(warmup=Linear(30)))
    monkeypatch.setattr(torch, "compile", without_beta)
    with pytest.warns(UserWarning, match="compiles this loss to another value or gradient$"):
        found = trained(compile=True, objective=Elbo(warmup=Linear(30)))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_first_batch_that_is_not_finite_puts_the_check_off(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = VariationalModule.training_loss

    def poisoned(self: VariationalModule, *args: Any) -> StepTerms:
        terms = whole(self, *args)
        return not_a_number(terms) if self.global_step == 0 else terms

    monkeypatch.setattr(VariationalModule, "training_loss", poisoned)
    monkeypatch.setattr(torch, "compile", lambda loss, **_: lambda *args: without_gradient(loss(*args)))
    with pytest.warns(UserWarning, match="compiles this loss to another value or gradient$"):
        trained(compile=True)


class Rebinds(torch.nn.Module):
    """Binds its buffer to another tensor, and starts its parameter from the data."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.scale = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + x
        self.scale.data.copy_(x)
        return x * self.scale


def test_a_look_restores_buffers_and_parameters_whatever_happens() -> None:
    module = Rebinds()
    before = dict(module.state_dict(keep_vars=True))
    values = {name: value.detach().clone() for name, value in before.items()}

    def fails() -> None:
        with _state_kept([module]):
            module(torch.tensor([3.0, 4.0]))
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        fails()
    for name, value in module.state_dict(keep_vars=True).items():
        assert value is before[name]
        assert torch.equal(value, values[name])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_check_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    expected = trained(compile=False)
    monkeypatch.setattr(torch, "compile", lambda loss, **_: loss)
    found = trained(compile=True)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not [warning for warning in recwarn if "uncompiled" in str(warning.message)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_bernoulli_has_the_gradient() -> None:
    head = Bernoulli((5,))
    logits = torch.linspace(-9, 9, 15, dtype=torch.float64).reshape(3, 5)
    x = (torch.arange(15).reshape(3, 5) % 2).double()
    gradients = []
    for wrap in (lambda f: f, partial(torch.compile, backend="aot_eager")):
        raw = logits.clone().requires_grad_()
        density = wrap(lambda raw: head(raw[:, None]).log_prob(x).sum())
        gradients.append(torch.autograd.grad(density(raw), raw)[0])
    assert torch.allclose(gradients[0], x - logits.sigmoid(), rtol=0, atol=1e-12)
    assert torch.allclose(gradients[1], gradients[0], rtol=0, atol=1e-12)


def test_a_loss_that_cannot_be_checked_goes_on_where_compiling_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> StepTerms:
        raise RuntimeError("no compiler here\nand more")

    monkeypatch.setattr(torch, "compile", lambda loss, **_: fails)
    loss = CompiledLoss(lambda x, y, scheduled: StepTerms(x.sum(), x, x, {}))  # without parts there is no gradient
    with pytest.warns(UserWarning, match="goes on uncompiled: no compiler here$"):
        assert loss(torch.ones(3), None, {}).loss == 3
    assert loss(torch.ones(3), None, {}).loss == 3
