"""The two masses over grey levels {0, 1/(n-1), ..., 1}: categorical and discretized logistic; and the Bernoulli."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.distributions import Bernoulli, Categorical, DiscretizedLogistic, Head, LogisticMixture

KINDS = {"categorical": Categorical, "discretized_logistic": DiscretizedLogistic}
every_kind = pytest.mark.parametrize("kind", KINDS)
LOGISTIC_EXTREMES = list(
    product((-50.0, -0.5, -0.4999, 0.0, 0.2, 0.5, 50.0), (-1e9, -7.0, -2.0, 0.0, 5.0, 1e9))  # loc, log-scale
)


def head_and_raw(kind: str, levels: int) -> tuple[Head, Tensor]:
    """A one-pixel head and raw output for many cases, the extreme ones among them, in float64."""
    torch.manual_seed(0)
    head = KINDS[kind]((1,), levels)
    if kind == "categorical":
        raw = torch.randn(6, levels, 1, dtype=torch.float64) * torch.logspace(-2, 4, 6)[:, None, None]
    else:
        raw = torch.tensor(LOGISTIC_EXTREMES, dtype=torch.float64)[..., None]
    return head, raw


def log_masses(d: Distribution, levels: int) -> Tensor:
    """(cases, levels)"""
    values = torch.arange(levels, dtype=torch.float64) / (levels - 1)
    return torch.stack([d.log_prob(value.expand(1)) for value in values], dim=-1)


@every_kind
@pytest.mark.parametrize("levels", [2, 5, 50, 256])  # 1/49 * 49 < 1 in floating point
def test_masses_sum_to_one_and_give_the_mean(kind: str, levels: int) -> None:
    head, raw = head_and_raw(kind, levels)
    d = head(raw)
    log_mass = log_masses(d, levels)
    assert log_mass.isfinite().all()
    assert (log_mass.exp().sum(-1) - 1).abs().max() < 1e-9
    values = torch.arange(levels, dtype=torch.float64) / (levels - 1)
    assert (log_mass.exp() @ values - d.mean[:, 0]).abs().max() < 1e-7


@pytest.mark.parametrize("kind", [Categorical, DiscretizedLogistic, LogisticMixture])
def test_only_256_levels_are_a_mass_over_bytes(kind: Callable[..., Head]) -> None:
    """Any other number warns and has no bits per dimension."""
    bytes_ = (torch.arange(256, dtype=torch.float64) / 255).reshape(-1, 1, 1, 1)
    for levels in (2, 16, 255, 256, 511):
        head = kind((1, 1, 1), levels=levels)
        mass = head(torch.zeros(1, *head.param_shape, dtype=torch.float64)).log_prob(bytes_).exp().sum()
        with nullcontext() if levels == 256 else pytest.warns(UserWarning, match=f"levels={levels}: 8-bit data have"):
            head.check_support("uint8")
        assert (head.bits_per_dim(-1.0, "uint8") is not None) == (abs(mass - 1) < 1e-9) == (levels == 256)


@every_kind
def test_masses_are_normalised_in_float32_too(kind: str) -> None:
    head, raw = head_and_raw(kind, 256)
    log_mass = log_masses(head(raw.float()), 256)
    assert log_mass.isfinite().all()
    assert (log_mass.double().exp().sum(-1) - 1).abs().max() < 2e-3  # at exp(-7) a level is 86 scales wide


@every_kind
def test_levels_of_bytes_divided_by_255_are_met_in_float32(kind: str) -> None:
    """x = byte / 255 in float32 is not exactly k/255: no level may slip into its neighbour."""
    head = KINDS[kind]((1,))
    torch.manual_seed(1)
    raw = torch.randn(1, *head.param_shape)
    bytes_ = torch.arange(256, dtype=torch.uint8)
    in64 = head(raw.double()).log_prob(bytes_.double()[:, None] / 255)
    for values in (bytes_.float() / 255, bytes_.float() * (1 / 255)):  # the two round differently
        assert torch.allclose(head(raw).log_prob(values[:, None]).double(), in64, atol=1e-3)


@every_kind
def test_samples_lie_on_the_grid_with_the_frequencies_of_their_masses(kind: str) -> None:
    levels, draws = 8, 50_000
    torch.manual_seed(2)
    head = KINDS[kind]((1,), levels)
    raw = torch.randn(3, *head.param_shape, dtype=torch.float64)
    if kind == "discretized_logistic":
        raw = torch.tensor([[[0.1], [0.3]], [[-0.3], [0.5]], [[0.4], [2.0]]], dtype=torch.float64)
    d = head(raw)
    samples = d.sample((draws,))[..., 0]
    grid = samples * (levels - 1)
    assert torch.allclose(grid, grid.round(), atol=1e-9)
    assert samples.min() >= 0
    assert samples.max() <= 1
    expected = log_masses(d, levels).exp()
    counts = torch.stack([(grid.round() == k).sum(0) for k in range(levels)], dim=-1).double()
    chi2 = ((counts - draws * expected).square() / (draws * expected)).sum(-1)
    assert (draws * expected).min() > 5
    assert chi2.max() < 29.9  # 7 degrees of freedom: one in 10,000


def test_logistic_gradient_is_finite_and_pulls_back_from_the_far_tails() -> None:
    head = DiscretizedLogistic((1,))
    raw = torch.tensor([[[-40.0], [-3.0]], [[40.0], [-3.0]]], requires_grad=True)
    log_prob = head(raw).log_prob(torch.full((2, 1), 128 / 255))
    assert (log_prob < -1000).all()
    assert log_prob.isfinite().all()
    (gradient,) = torch.autograd.grad(log_prob.sum(), raw)
    assert gradient.isfinite().all()
    assert gradient[0, 0] > 0 > gradient[1, 0]


def test_logistic_is_the_rounded_logistic() -> None:
    head = DiscretizedLogistic((1,), 16)
    raw = torch.tensor([[[0.1], [-0.5]]], dtype=torch.float64)
    loc, scale = 0.6, 0.1 * torch.tensor(-0.5).double().exp()

    def cdf(v: Tensor) -> Tensor:
        return torch.sigmoid((v - loc) / scale)

    values = torch.arange(16, dtype=torch.float64) / 15
    upper, lower = cdf(values + 1 / 30), cdf(values - 1 / 30)
    upper[-1], lower[0] = 1, 0
    assert torch.allclose(log_masses(head(raw), 16)[0].exp(), upper - lower, atol=1e-12)


def test_categorical_logit_k_is_level_k() -> None:
    raw = torch.full((1, 4, 2), -50.0)
    raw[0, 3, 0] = raw[0, 1, 1] = 50.0
    d = Categorical((2,), 4)(raw)
    assert torch.allclose(d.mean, torch.tensor([[1.0, 1 / 3]]))
    assert torch.allclose(d.log_prob(torch.tensor([1.0, 1 / 3])), torch.zeros(1), atol=1e-6)


@every_kind
@pytest.mark.parametrize("levels", [1, 0, -3])
def test_refuses_fewer_than_two_levels(kind: str, levels: int) -> None:
    with pytest.raises(ValueError, match=f"levels={levels}"):
        KINDS[kind]((1,), levels)


def test_bernoulli_log_prob_formula_binary_and_grey() -> None:
    torch.manual_seed(3)
    logits = torch.tensor([1.0, 5.0, 50.0, 1000.0]).double()[:, None, None, None] * torch.randn(4, 1, 2, 3).double()
    d = Bernoulli((2, 3))(logits)
    for x in (torch.rand(4, 2, 3).double().round(), torch.rand(4, 2, 3).double()):
        expected = x * logits[:, 0] - torch.nn.functional.softplus(logits[:, 0])
        assert torch.allclose(d.log_prob(x), expected.sum((1, 2)), atol=1e-10)
    assert torch.allclose(d.mean, logits[:, 0].sigmoid(), atol=1e-12)


def test_bernoulli_gradients_are_those_of_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(3, 2, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    x = torch.rand(2, 5, generator=generator, dtype=torch.float64).requires_grad_()  # broadcast over samples

    def log_prob(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return Bernoulli((5,)).build([logits]).log_prob(x)

    assert torch.autograd.gradcheck(log_prob, (logits, x))
    assert torch.autograd.gradgradcheck(log_prob, (logits, x))


def test_bernoulli_is_exact_far_out() -> None:
    logits = torch.tensor([-1e4, -90.0, -1e-8, 0.0, 90.0, 1e4])
    for x in (0.0, 1.0):
        expected = x * logits.double() - torch.nn.functional.softplus(logits.double())
        found = Bernoulli((1,)).build([logits[:, None]]).log_prob(torch.full((6, 1), x))
        assert torch.allclose(found.double(), expected, rtol=1e-6, atol=1e-7)
