from __future__ import annotations

import pytest
import torch
from linear_gaussian import random_model, within

from vae_lab.core import MarkovChain


def test_samples_and_conditionals_agree() -> None:
    """Scoring a chain's own samples gives the distributions that they were drawn from, in the same order."""
    numbers = random_model(0, levels=3, classes=2)
    model = numbers.model()
    x, y = numbers.data(4)
    context = model.context(y)
    for chain, given in ((model.posterior.chain, x), (model.prior, None)):
        values, drawn_from, _ = chain.rsample(given, context, (3,))
        scored = chain.follow(values, given, context).conditionals
        assert [tuple(value.shape) for value in values] == [(3, 4, 2)] * 3
        for value, mine, other in zip(values, drawn_from, scored, strict=True):
            assert torch.equal(mine.log_prob(value), other.log_prob(value))


def test_each_value_follows_the_one_before() -> None:
    """Changing one value changes the next conditional and no other."""
    numbers = random_model(1, levels=4)
    chain = numbers.model().posterior.chain
    x, _ = numbers.data(2)
    values = chain.rsample(x).values
    before = chain.follow(values, x).conditionals
    for i in range(4):
        changed = [*values[:i], values[i] + 1, *values[i + 1 :]]
        after = chain.follow(changed, x).conditionals
        moved = [not torch.equal(a.mean, b.mean) for a, b in zip(before, after, strict=True)]
        assert moved == [j == i + 1 for j in range(4)]


@pytest.mark.parametrize("levels", [1, 3])
def test_ancestral_samples_have_the_marginal_moments(levels: int) -> None:
    """Also that samples of different rows, and of different draws, are independent draws, not one shared."""
    numbers = random_model(2, levels, classes=2)
    model = numbers.model()
    torch.manual_seed(0)
    with torch.no_grad():
        values = model.prior.rsample(None, model.context(torch.tensor([0, 1])), (20_000,)).values
    for value, (mean, variance) in zip(values[::-1], numbers.prior_moments(), strict=True):
        assert within(value, mean)
        assert within((value - mean).square(), variance)
        assert within((value - mean)[:, 0] * (value - mean)[:, 1], torch.zeros(2).double())
        assert within((value - mean)[1:] * (value - mean)[:-1], torch.zeros(2, 2).double())


def test_temperature_zero_is_the_mean_at_every_level() -> None:
    numbers = random_model(3, levels=3)
    values, conditionals, _ = numbers.model().prior.rsample(None, None, (4,), temperature=0.0)
    for value, conditional in zip(values, conditionals, strict=True):
        assert torch.equal(value, conditional.mean.expand_as(value))


def test_a_chain_needs_a_link() -> None:
    with pytest.raises(ValueError, match="at least one link"):
        MarkovChain([])
