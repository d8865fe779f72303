"""Tests the contract of all heads: shapes, precision (float32 at least), support, and the data that they accept."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import pytest
import torch
from torch.distributions import kl_divergence

from vae_lab.distributions import Bernoulli, Categorical, ConditionalDistribution, DiscretizedLogistic, Gaussian, Head
from vae_lab.distributions.gaussian import precision_merge

HEADS: dict[str, Callable[[Sequence[int]], Head]] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "discretized_logistic": DiscretizedLogistic,
    "gaussian": Gaussian,
    "gaussian-shared": lambda shape: Gaussian(shape, "shared"),
    "gaussian-fixed": lambda shape: Gaussian(shape, 0.1),
}
SHAPE = (2, 3, 1)
every_head = pytest.mark.parametrize("name", HEADS)


@every_head
def test_shapes_for_any_leading_dimensions(name: str) -> None:
    head = HEADS[name](SHAPE)
    for leading in ((), (4,), (3, 4)):
        d = head(torch.randn(*leading, *head.param_shape))
        assert d.batch_shape == leading
        assert d.event_shape == SHAPE
        assert d.mean.shape == (*leading, *SHAPE)
        sample = d.sample()
        assert sample.shape == (*leading, *SHAPE)
        assert d.sample((5,)).shape == (5, *leading, *SHAPE)
        assert d.log_prob(sample).shape == leading
        assert d.log_prob(torch.zeros(SHAPE)).shape == leading


@every_head
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_densities_are_at_least_float32(name: str, dtype: torch.dtype) -> None:
    head = HEADS[name](SHAPE)
    d = head(torch.randn(4, *head.param_shape, dtype=dtype))
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    sample = d.sample()
    assert sample.dtype == d.mean.dtype == d.log_prob(sample).dtype == expected


@every_head
@pytest.mark.parametrize("size", [-1e9, 1e9])
@pytest.mark.parametrize("mixed", [False, True])
def test_extreme_network_output_gives_finite_densities_and_gradients(name: str, size: float, mixed: bool) -> None:
    head = HEADS[name](SHAPE)
    raw = torch.full((2, *head.param_shape), size)
    if mixed and head.params_per_dim > 1:
        raw[:, 1:] *= -1
    raw.requires_grad_()
    d = head(raw)
    for value in (0.0, 128 / 255, 1.0):
        log_prob = d.log_prob(torch.full((2, *SHAPE), float(round(value)) if name == "bernoulli" else value))
        assert log_prob.isfinite().all()
        (gradient,) = torch.autograd.grad(log_prob.sum(), raw, retain_graph=True)
        assert gradient.isfinite().all()
    assert d.mean.isfinite().all()
    assert d.sample().isfinite().all()


@pytest.mark.parametrize("first", [-1e9, 0.0, 1e9])
@pytest.mark.parametrize("second", [-1e9, 0.0, 1e9])
def test_extreme_latents_give_finite_kls(first: float, second: float) -> None:
    head = Gaussian((3,))
    raw = torch.stack((torch.full((4, 3), first), torch.full((4, 3), second)), 1).requires_grad_()
    q, standard = head(raw), head(torch.zeros(4, 2, 3))
    for a, b in ((q, standard), (standard, q), (precision_merge(q, standard), standard)):
        kl = kl_divergence(a, b)
        assert kl.isfinite().all()
        assert torch.autograd.grad(kl.sum(), raw, retain_graph=True)[0].isfinite().all()


@every_head
def test_validation_is_off_for_each_object_and_left_alone_for_the_process(name: str) -> None:
    head = HEADS[name](SHAPE)
    head(torch.randn(4, *head.param_shape)).log_prob(torch.full((4, *SHAPE), 0.5))  # grey, even where mass is binary
    with pytest.raises(ValueError, match="within the support"):
        torch.distributions.Bernoulli(logits=torch.zeros(1)).log_prob(torch.tensor([0.5]))


@every_head
def test_conditional_distribution_is_the_head_of_the_net(name: str) -> None:
    head = HEADS[name](SHAPE)

    class Net(torch.nn.Module):
        def forward(self, given: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            return (given + context).reshape(-1, *head.param_shape)

    given, context = torch.randn(2, 4, math.prod(head.param_shape)).unbind()
    x = head(torch.zeros(4, *head.param_shape)).sample()
    d = ConditionalDistribution(Net(), head)(given, context)
    assert torch.equal(d.log_prob(x), head((given + context).reshape(4, *head.param_shape)).log_prob(x))


# Which data.

ACCEPTS = {
    "bernoulli": {"binary"},
    "categorical": {"binary", "uint8"},
    "discretized_logistic": {"uint8"},
    "gaussian": {"unit", "uint8", "real"},
}
SUITS = {"binary": Bernoulli, "unit": Gaussian, "uint8": DiscretizedLogistic, "real": Gaussian}


@pytest.mark.parametrize("name", ACCEPTS)
@pytest.mark.parametrize("support", ["binary", "unit", "uint8", "real"])
def test_support_is_accepted_tolerated_or_refused(name: str, support: str) -> None:
    head = HEADS[name](SHAPE)
    if support in ACCEPTS[name]:
        head.check_support(support)  # warnings are errors
        assert (head.bits_per_dim(-10.0, support) is None) == (support == "real")
        return
    assert head.bits_per_dim(-10.0, support) is None
    if name == "bernoulli" and support in ("unit", "uint8"):
        with pytest.warns(UserWarning, match=f"not a density.*{SUITS[support].__name__}"):
            head.check_support(support)
    else:
        with pytest.raises(ValueError, match=f"cannot model {support} data; .*{SUITS[support].__name__}.* can"):
            head.check_support(support)


def test_grey_bernoulli_warns_once_for_a_model() -> None:
    from vae_lab.models import VAE
    from vae_lab.networks import MlpArchitecture
    from vae_lab.types import DataSpec

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = VAE(DataSpec((1, 2, 2)), 2, MlpArchitecture([4]), Bernoulli)
        for _ in range(3):
            model(torch.rand(2, 1, 2, 2))
    assert len(caught) == 1


def test_what_is_advised_accepts_the_data() -> None:
    for support, head in SUITS.items():
        head(SHAPE).check_support(support)


# Bits per dimension.


def bits_of(head: Head, nats: torch.Tensor, support: str) -> torch.Tensor:
    return torch.tensor([head.bits_per_dim(number, support) for number in nats.tolist()], dtype=torch.float64)


def test_a_uniform_mass_costs_eight_bits() -> None:
    head = Categorical(SHAPE)
    nats = head(torch.zeros(1, *head.param_shape)).log_prob(torch.rand(1, *SHAPE))
    assert torch.allclose(bits_of(head, nats, "uint8"), torch.tensor(8.0).double())
    fair = Bernoulli(SHAPE)
    nats = fair(torch.zeros(1, *fair.param_shape)).log_prob(torch.ones(1, *SHAPE))
    assert torch.allclose(bits_of(fair, nats, "binary"), torch.tensor(1.0).double())


def test_a_density_over_levels_counts_as_a_mass_once_it_is_wide() -> None:
    """Over k/255 a density times the spacing 1/255 is a mass, and the bits are those of that mass."""
    values = torch.arange(256).double()[:, None] / 255
    raw = torch.full((1, 1, 1), 0.5, dtype=torch.float64)
    narrow = Gaussian((1,), 0.1)
    masses = 2.0 ** -bits_of(narrow, narrow(raw).log_prob(values), "uint8")
    assert float(masses.sum()) == pytest.approx(1, abs=1e-5)

    head = Gaussian((1,), 0.5)
    d = head(raw)
    nats = d.log_prob(values)
    edges = torch.distributions.Normal(0.5, d.stddev[0, 0])
    exact = edges.cdf(values[:, 0] + 0.5 / 255) - edges.cdf(values[:, 0] - 0.5 / 255)
    assert (bits_of(head, nats, "uint8") + exact.log2()).abs().max() < 1e-5
    assert head.bits_per_dim(-10.0, "unit") == pytest.approx(10 / math.log(2))
    assert head.bits_per_dim(-10.0, "real") is None, "in other units it would be another number"


def test_the_wide_gaussian_costs_what_the_discretized_logistic_of_the_same_shape_costs() -> None:
    """Density and mass on one scale: both are nearly flat over the 256 levels, hence 8 bits and the tails' share."""
    gaussian, logistic = Gaussian((1,), 5.0), DiscretizedLogistic((1,))
    value = torch.tensor([[100 / 255]], dtype=torch.float64)
    raw = torch.tensor([[[0.0], [math.log(5.0 * 10)]]], dtype=torch.float64)  # scale 5
    bits = bits_of(gaussian, gaussian(raw[:, :1] + 0.5).log_prob(value), "uint8")
    other = bits_of(logistic, logistic(raw).log_prob(value), "uint8")
    heights = (5 * math.sqrt(2 * math.pi), 5 * 4)  # 1 / density at the centre
    assert float(bits) == pytest.approx(math.log2(heights[0] * 255), abs=1e-3)
    assert float(other) == pytest.approx(math.log2(heights[1] * 255), abs=1e-3)
