from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from vae_lab.distributions import DiscretizedLogistic, LogisticMixture


def built(event_shape: tuple[int, ...], components: int, levels: int, batch: tuple[int, ...] = ()) -> tuple:
    torch.manual_seed(0)
    head = LogisticMixture(event_shape, components, levels)
    raw = 0.4 * torch.randn(*batch, *head.param_shape, dtype=torch.float64)  # within the range of the data
    return head, raw, head(raw)


def every_picture(channels: int, levels: int) -> Tensor:
    """All pictures of one pixel, (levels ** channels, channels, 1, 1)."""
    values = [k / (levels - 1) for k in range(levels)]
    return torch.tensor(list(product(values, repeat=channels)), dtype=torch.float64)[..., None, None]


@pytest.mark.parametrize(("channels", "levels"), [(1, 5), (2, 4), (3, 4)])
@pytest.mark.parametrize("components", [1, 3])
def test_the_masses_of_all_colours_sum_to_one(channels: int, levels: int, components: int) -> None:
    _, _, p = built((channels, 1, 1), components, levels)
    masses = p.log_prob(every_picture(channels, levels)).exp()
    assert len(masses) == levels**channels
    torch.testing.assert_close(masses.sum(), torch.tensor(1.0).double(), atol=1e-12, rtol=0)


def test_the_channels_follow_the_ones_before() -> None:
    """The mass is the product over channels of the conditionals, which are other ones under other first channels."""
    head, raw, _ = built((3, 1, 1), 1, 4)
    raw[4:7] = 1.0  # wide enough for every colour to have some mass
    masses = head(raw).log_prob(every_picture(3, 4)).exp().reshape(4, 4, 4)
    second = masses.sum(2) / masses.sum((1, 2))[:, None]
    assert (second[0] - second[3]).abs().max() > 0.01


def test_one_component_without_coefficients_is_the_discretized_logistic() -> None:
    head, raw, _ = built((3, 5, 4), 1, 256, (2,))
    raw[:, -3:] = 0  # the coefficients of three pairs of channels
    plain = DiscretizedLogistic((3, 5, 4))(torch.stack((raw[:, 1:4, 0], raw[:, 4:7, 0]), dim=1))
    x = torch.randint(0, 256, (2, 3, 5, 4)).double() / 255
    torch.testing.assert_close(head(raw).log_prob(x), plain.log_prob(x))
    torch.testing.assert_close(head(raw).mean, plain.mean)


def test_samples_have_the_masses() -> None:
    _, _, p = built((2, 1, 1), 2, 3)
    expected = p.log_prob(every_picture(2, 3)).exp()
    drawn = (p.sample((40_000,)) * 2).round().long().flatten(1)
    found = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / len(drawn)
    error = (expected * (1 - expected) / len(drawn)).sqrt()
    assert ((found - expected).abs() < 4.5 * error).all()


def test_gradients_are_finite_in_both_tails() -> None:
    head, raw, _ = built((3, 2, 2), 4, 256, (2,))
    raw = (75 * raw).requires_grad_()
    for x in (torch.zeros(2, 3, 2, 2), torch.ones(2, 3, 2, 2)):
        (gradient,) = torch.autograd.grad(head(raw).log_prob(x.double()).sum(), raw)
        assert gradient.isfinite().all()


def test_shapes_and_the_start_at_a_mean() -> None:
    head, _, p = built((3, 5, 4), 3, 256, (2, 6))
    assert p.batch_shape == (2, 6)
    assert p.mean.shape == p.sample().shape == (2, 6, 3, 5, 4)
    assert p.sample((7,)).shape == (7, 2, 6, 3, 5, 4)
    assert p.log_prob(torch.rand(6, 3, 5, 4).double()).shape == (2, 6)
    assert 0 <= p.sample().min() <= p.sample().max() <= 1
    mean = 0.2 + 0.6 * torch.rand(3, 5, 4).double()
    torch.testing.assert_close(head(head.raw_of_mean(mean)).mean, mean, atol=0.06, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((10,),), "needs pictures"),
        (((3, 2, 2), 0), "num_components=0"),
        (((3, 2, 2), 2, 1), "levels=1: must be at least 2"),
    ],
)
def test_what_makes_no_mixture_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogisticMixture(*arguments)
