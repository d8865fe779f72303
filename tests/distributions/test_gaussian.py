from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from linear_gaussian import within
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vae_lab.core import LatentLevel
from vae_lab.distributions import Gaussian
from vae_lab.distributions.gaussian import diagonal_gaussian, precision_merge, rsample

finite = st.floats(-3, 3)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(m1=finite, m2=finite, log_v1=finite, log_v2=finite)
def test_kl_is_the_textbook_formula(m1: float, m2: float, log_v1: float, log_v2: float) -> None:
    v1, v2 = math.exp(log_v1), math.exp(log_v2)
    q = diagonal_gaussian(f64(m1), f64(v1).sqrt(), 1)
    p = diagonal_gaussian(f64(m2), f64(v2).sqrt(), 1)
    expected = 0.5 * (math.log(v2 / v1) + (v1 + (m1 - m2) ** 2) / v2 - 1)
    assert float(kl_divergence(q, p)) == pytest.approx(expected, rel=1e-10, abs=1e-10)
    standard = diagonal_gaussian(f64(0), f64(1), 1)
    assert float(kl_divergence(q, standard)) == pytest.approx(0.5 * (m1**2 + v1 - 1 - log_v1), rel=1e-10, abs=1e-10)


def test_level_kl_is_the_sum_over_dimensions_and_the_mean_log_ratio() -> None:
    torch.manual_seed(0)
    q = diagonal_gaussian(torch.randn(3, 4).double(), torch.rand(3, 4).double() + 0.5, 1)
    p = diagonal_gaussian(torch.randn(3, 4).double(), torch.rand(3, 4).double() + 0.5, 1)
    level = LatentLevel(rsample(q, (20_000,)), q, p, analytic_kl=True)
    each = [kl_divergence(*(Normal(r.mean[:, d], r.stddev[:, d]) for r in (q, p))) for d in range(4)]
    assert torch.allclose(level.kl[0], sum(each), atol=1e-12)
    assert torch.allclose(level.kl_per_dimension[0], torch.stack(each, -1), atol=1e-12)
    assert within(level.log_ratio, level.kl[0])


def test_raw_output_is_mean_and_log_variance() -> None:
    raw = torch.randn(5, 2, 3, 4, dtype=torch.float64)  # (B, params, *event)
    d = Gaussian((3, 4)).double()(raw)
    assert d.batch_shape == (5,)
    assert d.event_shape == (3, 4)
    assert torch.equal(d.mean, raw[:, 0])
    assert torch.allclose(d.variance, raw[:, 1].exp(), atol=1e-12)
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    expected = -0.5 * (math.log(2 * math.pi) + raw[:, 1] + (x - raw[:, 0]) ** 2 / raw[:, 1].exp())
    assert torch.allclose(d.log_prob(x), expected.sum((1, 2)), atol=1e-10)


def test_fixed_scale_is_that_number_and_not_learned() -> None:
    head = Gaussian((3,), 0.25)
    assert head.param_shape == (1, 3)
    assert torch.allclose(head(torch.zeros(2, 1, 3)).stddev, torch.tensor(0.25))
    assert not list(head.parameters())
    assert "log_scale" in head.state_dict()  # a checkpoint keeps it


def test_shared_scale_is_learned_towards_the_error() -> None:
    """Rybkin et al. 2021: at the optimum sigma^2 is the mean squared error, so its gradient vanishes there."""
    head = Gaussian((50,), "shared").double()
    assert head.param_shape == (1, 50)
    x = 0.3 * torch.randn(20, 50, dtype=torch.float64)
    for factor, sign in ((0.5, 1), (1.0, 0), (2.0, -1)):
        with torch.no_grad():
            head.log_scale.copy_(0.5 * x.square().mean().log() + math.log(factor))
        head.zero_grad()
        head(torch.zeros(20, 1, 50, dtype=torch.float64)).log_prob(x).sum().backward()
        gradient = head.log_scale.grad
        assert gradient.abs() < 1e-8 if sign == 0 else gradient.sign() == sign


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan, "learned"])
def test_refuses_a_scale_that_is_none(scale: float | str) -> None:
    with pytest.raises(ValueError, match=f"scale={scale}"):
        Gaussian((3,), scale)


@pytest.mark.parametrize("scale", [1e-6, 4e4])
def test_a_fixed_scale_is_taken_as_it_is(scale: float) -> None:
    """Only learned ones stay within exp(+-10)."""
    assert torch.allclose(Gaussian((3,), scale).double()(torch.zeros(2, 1, 3).double()).stddev, f64(scale))


def test_precision_merge_is_the_normalised_product_of_densities() -> None:
    torch.manual_seed(1)
    a, b = (diagonal_gaussian(torch.randn(2, 3).double(), torch.rand(2, 3).double() + 0.3, 1) for _ in range(2))
    merged = precision_merge(a, b)
    z = torch.randn(50, 2, 3, dtype=torch.float64)
    constant = a.log_prob(z) + b.log_prob(z) - merged.log_prob(z)
    assert (constant - constant[0]).abs().max() < 1e-10
    swapped = precision_merge(b, a)
    assert torch.allclose(merged.mean, swapped.mean, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_temperature_scales_the_standard_deviation(temperature: float) -> None:
    d = diagonal_gaussian(f64(1.0, -2.0), f64(0.5, 2.0), 1)
    torch.manual_seed(3)
    z = rsample(d, (20_000,), temperature)
    assert z.shape == (20_000, 2)
    assert torch.allclose(z.mean(0), d.mean, atol=0) if temperature == 0 else within(z, d.mean)
    assert within((z - d.mean).square(), (temperature * d.stddev).square())


def test_samples_carry_the_gradient_of_mean_and_scale() -> None:
    loc, scale = f64(0.3).requires_grad_(), f64(0.7).requires_grad_()
    torch.manual_seed(0)
    z = rsample(diagonal_gaussian(loc, scale, 1))
    gradients = torch.autograd.grad(z.sum(), (loc, scale))
    assert torch.equal(gradients[0], f64(1.0))
    assert torch.allclose(gradients[1], ((z - loc) / scale).detach(), atol=1e-12)


def test_only_gaussians_can_be_tempered() -> None:
    with pytest.raises(ValueError, match=r"temperature=0\.5"):
        rsample(torch.distributions.Laplace(0.0, 1.0), (), 0.5)
