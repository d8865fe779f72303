from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical, Distribution, MixtureSameFamily, TransformedDistribution
from torch.distributions.transforms import AffineTransform

from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.distributions.gaussian import diagonal_gaussian


def gaussian(*shape: int) -> Distribution:
    return diagonal_gaussian(torch.randn(shape).double(), torch.rand(shape).double() + 0.5, 1)


@pytest.mark.parametrize("q_batch", [(4,), (3, 4)])
@pytest.mark.parametrize("p_batch", [(), (4,), (3, 4)])
@pytest.mark.parametrize("analytic", [True, False])
def test_level_shapes_whatever_the_batch_shapes(q_batch: tuple, p_batch: tuple, analytic: bool) -> None:
    torch.manual_seed(0)
    level = LatentLevel(torch.randn(3, 4, 2).double(), gaussian(*q_batch, 2), gaussian(*p_batch, 2), analytic)
    assert level.kl.shape == level.log_ratio.shape == (3, 4)
    assert level.kl_per_dimension.shape == (3, 4, 2)
    assert torch.allclose(level.kl_per_dimension.sum(-1), level.kl, atol=1e-12)
    assert torch.equal(level.kl, level.log_ratio) != analytic


def test_bounds_are_their_definitions() -> None:
    """With numbers so large that anything but logsumexp overflows."""
    torch.manual_seed(1)
    levels = tuple(LatentLevel(torch.randn(3, 4, 2).double(), gaussian(4, 2), gaussian(2), i == 1) for i in range(2))
    log_likelihood = torch.randn(3, 4).double() - 5000
    terms = ElboTerms(log_likelihood, levels)
    assert terms.kl.shape == (3, 4, 2)
    assert torch.equal(terms.kl[..., 0], levels[0].kl)
    assert torch.allclose(terms.log_weight, log_likelihood - levels[0].log_ratio - levels[1].log_ratio)
    assert torch.allclose(terms.elbo, (log_likelihood - levels[0].kl - levels[1].kl).mean(0))
    expected = [math.log(sum(math.exp(w + 5000) for w in column) / 3) - 5000 for column in terms.log_weight.T.tolist()]
    assert torch.allclose(terms.importance_weighted_bound, torch.tensor(expected).double(), atol=1e-9)


def test_a_prior_without_closed_form_is_taken_at_the_sample() -> None:
    torch.manual_seed(2)
    mixture = MixtureSameFamily(Categorical(torch.ones(5)), gaussian(5, 2))
    level = LatentLevel(torch.randn(3, 4, 2).double(), gaussian(4, 2), mixture, analytic_kl=True)
    assert torch.equal(level.kl, level.log_ratio)
    assert level.kl_per_dimension is None


def test_a_density_that_moves_all_dimensions_at_once_has_no_kl_of_each() -> None:
    """With as many examples as dimensions, the shapes alone would not tell."""
    torch.manual_seed(3)
    q = TransformedDistribution(gaussian(4, 4), AffineTransform(0.0, 3.0, event_dim=1))
    level = LatentLevel(q.rsample((4,)), q, gaussian(4), analytic_kl=True)
    assert level.kl_per_dimension is None
    assert level.kl.shape == (4, 4)


@pytest.mark.parametrize(
    ("q", "p", "shapes"),
    [
        (gaussian(4, 3), diagonal_gaussian(torch.zeros(1), torch.full((1,), 2.0), 1), r"\(3,\), its p of \(1,\)"),
        (gaussian(4, 3).base_dist, gaussian(3), r"\(\), its p of \(3,\)"),
        (gaussian(4, 3).base_dist, gaussian(3).base_dist, r"\(\), its p of \(\)"),
    ],
)
def test_a_level_is_over_the_same_events_under_q_and_p(q: Distribution, p: Distribution, shapes: str) -> None:
    """A prior of one dimension would be broadcast, and its scale counted once; a Normal has no sum over dimensions."""
    with pytest.raises(ValueError, match=f"a level's q has events of shape {shapes}; give both"):
        LatentLevel(q.sample((2,)), q, p, analytic_kl=True)
