"""Likelihoods of numbers and categories side by side."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot

from vae_lab.distributions import Bernoulli, Gaussian
from vae_lab.distributions.product import ByColumn
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec, Scaling

SIZES = [3, 2]
SPEC = DataSpec((7,), 0, "real", scaling=Scaling((5.0, 1.0, *[0.0] * 5), (2.0, 0.1, *[1.0] * 5)), categories=(3, 2))


def rows(num: int = 6) -> torch.Tensor:
    parts = [one_hot(torch.arange(num) % size, size).double() for size in SIZES]
    return torch.cat((torch.randn(num, 2).double(), *parts), 1)


@pytest.mark.parametrize("scale", ["per_dimension", "shared"])
def test_the_density_is_the_product_of_its_parts(scale: str) -> None:
    torch.manual_seed(0)
    head = ByColumn(Gaussian((2,), scale), SIZES).double()
    raw, x = torch.randn(4, 6, *head.param_shape).double(), rows()
    log_scale = raw[..., 1, :2] / 2 if scale == "per_dimension" else torch.zeros(1).double()
    expected = torch.distributions.Normal(raw[..., 0, :2], log_scale.exp()).log_prob(x[:, :2]).sum(-1)
    for start, size in ((2, 3), (5, 2)):
        logits = raw[..., 0, start : start + size].log_softmax(-1)
        expected = expected + (logits * x[:, start : start + size]).sum(-1)
    torch.testing.assert_close(head(raw).log_prob(x), expected, atol=1e-10, rtol=0)


def test_means_are_shares_and_samples_are_one_hot() -> None:
    torch.manual_seed(0)
    p = ByColumn(Gaussian((2,)), SIZES)(torch.randn(6, 2, 7))
    assert p.event_shape == (7,)
    torch.testing.assert_close(p.mean[:, 2:5].sum(-1), torch.ones(6))
    drawn = p.sample((20_000,))
    assert drawn.shape == (20_000, 6, 7)
    assert (drawn[..., 5:].sum(-1) == 1).all()
    torch.testing.assert_close(drawn.mean(0), p.mean, atol=0.1, rtol=0.05)
    torch.testing.assert_close(drawn.var(0), p.variance, atol=0.02, rtol=0.1)


def test_training_can_start_at_the_mean_and_the_shares_of_the_data() -> None:
    head = ByColumn(Gaussian((2,)), SIZES)
    mean = torch.tensor([0.5, -2.0, 0.2, 0.3, 0.5, 0.9, 0.1])
    torch.testing.assert_close(head(head.raw_of_mean(mean)[None]).mean[0], mean)


def test_a_table_of_categories_alone_and_one_of_both() -> None:
    only = VAE(DataSpec((5,), 0, "real", categories=(3, 2)), 2, MlpArchitecture([4]), Gaussian).double()
    assert only.likelihood.head.numbers is None
    assert (only(rows()[:, 2:]).log_likelihood < 0).all(), "a mass"
    torch.set_default_dtype(torch.float64)
    try:
        both = VAE(SPEC, 2, MlpArchitecture([4]), Gaussian)
    finally:
        torch.set_default_dtype(torch.float32)
    p = both.generate(3)
    torch.testing.assert_close(p.mean[:, 2:5].sum(-1), torch.ones(3).double())
    assert both.likelihood.head.bits_per_dim(1.0, "real") is None


def test_the_numbers_must_suit_their_likelihood() -> None:
    with pytest.raises(ValueError, match="Bernoulli cannot model real data"):
        VAE(SPEC, 2, MlpArchitecture([4]), Bernoulli)
    with pytest.raises(ValueError, match="categories=\\(8,\\): examples of shape \\(7,\\)"):
        DataSpec((7,), 0, "real", categories=(8,))
    assert DataSpec.from_plain(SPEC.plain()) == SPEC
