from __future__ import annotations

from typing import Any

import pytest
import torch
from linear_gaussian import random_model, within

from vae_lab.core import LatentVariableModel
from vae_lab.core import model as model_module
from vae_lab.distributions import Bernoulli, Categorical, Gaussian, Head
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("standard_prior", [True, False])
def test_generated_data_have_the_moments_of_the_model(levels: int, standard_prior: bool) -> None:
    """One latent is drawn per label, not one for all; and the chain ends in z_1, not in z_L."""
    numbers = random_model(0, levels, classes=2, standard_prior=standard_prior)
    size = 20_000
    torch.manual_seed(0)
    with torch.no_grad():
        mean = numbers.model().generate(2 * size, torch.arange(2 * size) % 2).mean.unflatten(0, (size, 2))
    prior_mean, prior_variance = numbers.prior_moments()[0]
    expected = prior_mean @ numbers.weight.T + numbers.offset
    assert within(mean, expected)
    assert within((mean - expected).square(), prior_variance @ numbers.weight.square().T)
    assert within((mean - expected)[:, 0] * (mean - expected)[:, 1], torch.zeros(5).double())


@pytest.mark.parametrize("conditional", [False, True])
def test_temperature_zero_generates_the_mean_and_one_the_prior(conditional: bool) -> None:
    numbers = random_model(1, 2, classes=2 * conditional)
    y = torch.tensor([0, 1, 0]) if conditional else None
    rows = torch.zeros(3, dtype=torch.long) if y is None else y
    expected = (numbers.prior_moments()[0][0] @ numbers.weight.T + numbers.offset)[rows]
    model = numbers.model()
    assert torch.allclose(model.generate(3, y, temperature=0.0).mean, expected, atol=1e-12)
    drawn = model.generate(3, y).mean
    assert drawn.shape == (3, 5)
    assert torch.pdist(drawn - expected).min() > 1e-6


@pytest.mark.parametrize("classes", [0, 2])
def test_reconstruction_decodes_the_posterior_mean(classes: int) -> None:
    numbers = random_model(2, levels=2, classes=classes)
    x, y = numbers.data(4)
    model = numbers.model()
    rows = torch.zeros(4, dtype=torch.long) if y is None else y
    z_1 = numbers.joint("bottom_up", x, y).mean[..., 0]
    torch.manual_seed(0)
    once = model.reconstruct(x, y)
    assert once.batch_shape == (4,)
    assert torch.allclose(once.mean, z_1 @ numbers.weight.T + numbers.offset[rows], atol=1e-10)
    assert torch.equal(model.reconstruct(x, y).mean, once.mean)


class Counting(torch.nn.Module):
    """A posterior that notes how many samples each pass asks for."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.asked: list[int] = []

    def forward(self, x, context, prior, num_samples):
        self.asked.append(num_samples)
        return self.inner(x, context, prior, num_samples)


def counting_model() -> tuple[LatentVariableModel, Counting, torch.Tensor]:
    numbers = random_model(3)
    model = numbers.model()
    model.posterior = Counting(model.posterior)
    return model, model.posterior, numbers.data(4)[0]


@pytest.mark.parametrize(
    ("num_samples", "chunk", "passes"),
    [(10, 4, [4, 4, 2]), (10, 5, [5, 5]), (10, 1, [1] * 10), (3, 8, [3]), (1, 1, [1])],
)
def test_log_marginal_draws_exactly_the_samples_asked_for(num_samples: int, chunk: int, passes: list[int]) -> None:
    model, posterior, x = counting_model()
    model.log_marginal(x, None, num_samples, chunk)
    assert posterior.asked == passes


def test_log_marginal_keeps_to_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    model, posterior, x = counting_model()  # 4 x 5 numbers
    monkeypatch.setattr(model_module, "_MARGINAL_BUDGET", 65)
    model.log_marginal(x, None, 7)
    assert posterior.asked == [3, 3, 1]
    posterior.asked.clear()
    monkeypatch.setattr(model_module, "_MARGINAL_BUDGET", 1)  # less than one sample needs
    model.log_marginal(x, None, 2)
    assert posterior.asked == [1, 1]


@pytest.mark.parametrize(("head", "numbers"), [(Bernoulli, 6), (Gaussian, 6), (Categorical, 128 * 6)])
def test_log_marginal_counts_what_the_decoder_gives(head: type[Head], numbers: int, monkeypatch: Any) -> None:
    """256 logits for each pixel take 128 times the memory of a mean and a scale."""
    model = VAE(DataSpec((1, 2, 3), 0, "binary" if head is Bernoulli else "uint8"), 2, MlpArchitecture([4]), head)
    model.posterior = Counting(model.posterior)
    monkeypatch.setattr(model_module, "_MARGINAL_BUDGET", 3 * 5 * numbers + 1)
    model.log_marginal(torch.zeros(5, 1, 2, 3), None, 7)
    assert model.posterior.asked == [3, 3, 1]


def test_a_gpu_takes_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**36, 2**37))
    assert model_module._numbers_at_once(torch.device("cuda")) == 2**30
    assert model_module._numbers_at_once(torch.device("cpu")) == model_module._MARGINAL_BUDGET
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 2**37))
    assert model_module._numbers_at_once(torch.device("cuda")) == model_module._MARGINAL_BUDGET


@pytest.mark.parametrize(("num_samples", "chunk"), [(0, None), (-1, None), (5, 0), (5, -2)])
def test_log_marginal_refuses_numbers_below_one(num_samples: int, chunk: int | None) -> None:
    model, _, x = counting_model()
    with pytest.raises(ValueError, match=f"(num_samples={num_samples}|chunk={chunk}): must be at least 1"):
        model.log_marginal(x, None, num_samples, chunk)


def test_levels_and_conditional_are_read_off_the_parts() -> None:
    assert random_model(0, levels=3).model().num_levels == 3
    assert not random_model(0).model().conditional
    assert random_model(0, classes=2).model().conditional
