"""Tests that a compiled loss is used only if it is right: in PyTorch 2.11 some compiled functions have no gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from tests.training.test_step_structure import data_of, fit, module_of
from vae_lab.distributions.bernoulli import Bernoulli
from vae_lab.objectives import Elbo
from vae_lab.training.optimization import StepTerms

Fault = Callable[[StepTerms], StepTerms]


def scaled(loss: StepTerms) -> StepTerms:
    return loss._replace(loss=loss.loss * 1.05)


def without_gradient(loss: StepTerms) -> StepTerms:
    """The value is right."""
    return loss._replace(loss=loss.loss.detach() + 0 * loss.loss)


def not_a_number(loss: StepTerms) -> StepTerms:
    return loss._replace(loss=loss.loss * torch.nan)


def trained(compile: bool) -> list[Tensor]:
    """Weights and averages of batch normalisation after 16 steps."""
    data = data_of()
    module = module_of("mixture", data, Elbo(), compile)
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
