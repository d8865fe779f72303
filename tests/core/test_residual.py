"""A hierarchy whose levels and likelihood read all the levels above, against its exact solution in float64."""

from __future__ import annotations

import math
import re

import pytest
import torch
from linear_gaussian import within
from residual_gaussian import Link, ResidualGaussian, Update

from vae_lab.core import ResidualChain
from vae_lab.distributions import Bernoulli
from vae_lab.models import Deep
from vae_lab.types import DataSpec

levels = pytest.mark.parametrize("num_levels", [1, 2, 4, 8])
labels = pytest.mark.parametrize("num_classes", [0, 3])


@levels
@labels
def test_every_weight_is_the_evidence_under_the_exact_posterior(num_levels: int, num_classes: int) -> None:
    numbers = ResidualGaussian(0, num_levels, num_classes)
    x, y = numbers.examples(6)
    terms = numbers.model()(x, y, 200)
    exact = numbers.log_prob(x, y)
    assert (terms.log_weight - exact).abs().max() < 1e-10
    estimate = numbers.model().importance_estimate(x, y, 50, chunk=7)
    assert (estimate.log_prob - exact).abs().max() < 1e-10
    assert torch.allclose(estimate.effective_samples, torch.full((6,), 50.0).double())


@levels
def test_the_gap_of_a_wide_posterior_is_its_divergence(num_levels: int) -> None:
    widen = 1.7
    numbers = ResidualGaussian(1, num_levels, num_classes=2)
    x, y = numbers.examples(3)
    torch.manual_seed(0)
    terms = numbers.model(widen)(x, y, 20_000)
    gap = num_levels * numbers.columns * 0.5 * (widen - 1 - math.log(widen))
    exact = numbers.log_prob(x, y) - gap
    assert within(terms.log_weight, exact)
    assert within(terms.log_likelihood - terms.kl.sum(-1), exact)  # the closed-form KL of every level is the right one


@labels
def test_the_state_holds_every_value_above(num_classes: int) -> None:
    """Moving one value moves the conditionals of all later ones: it is not a Markov chain in its values."""
    numbers = ResidualGaussian(2, 4, num_classes)
    model = numbers.model()
    y = torch.zeros(5, dtype=torch.long) if num_classes else None
    values = model.sample_prior(5, y)[::-1]
    before = model.prior.follow(values, None, model.context(y))
    for i in range(4):
        changed = [*values[:i], values[i] + 1, *values[i + 1 :]]
        after = model.prior.follow(changed, None, model.context(y))
        pairs = zip(before.conditionals, after.conditionals, strict=True)
        assert [not torch.equal(one.mean, other.mean) for one, other in pairs] == [j > i for j in range(4)]
        assert not torch.equal(before.states[-1], after.states[-1])


@labels
def test_codes_of_all_levels_decode_to_what_was_generated(num_classes: int) -> None:
    numbers = ResidualGaussian(3, 3, num_classes)
    model = numbers.model()
    y = torch.arange(6) % num_classes if num_classes else None
    torch.manual_seed(0)
    generated = model.generate(6, y).mean
    torch.manual_seed(0)
    z = model.sample_prior(6, y)
    assert torch.equal(model.decode(z, y).mean, generated)
    assert torch.equal(model.decode(z, context=model.context(y)).mean, generated)
    lower = model.decode(z[2:], y)
    assert torch.equal(lower.mean, model.decode(z[2:], y).mean)  # the means of the prior: no chance in it
    torch.manual_seed(1)
    varied = model.decode(z[2:], y, temperature=[0.0, 1.0, 9.0]).mean  # the top level's code is given
    assert not torch.equal(varied, lower.mean)


def test_a_temperature_for_each_level_changes_that_level_alone() -> None:
    model = ResidualGaussian(4, 3).model()
    torch.manual_seed(0)
    z = model.sample_prior(4)
    torch.manual_seed(0)
    tempered = model.sample_prior(4, temperature=[0.5, 1.0, 1.0])  # nearest the data first
    assert [torch.equal(a, b) for a, b in zip(z, tempered, strict=True)] == [False, True, True]
    top = model.sample_prior(4, temperature=[1.0, 1.0, 0.0])[2]
    assert torch.equal(top, top[:1].expand_as(top))


def test_reconstruct_reads_all_levels() -> None:
    numbers = ResidualGaussian(5, 1)
    model = numbers.model()
    x, _ = numbers.examples(4)
    z = model.encode(x)
    assert torch.allclose(model.reconstruct(x).mean, model.decode(z).mean)


def test_wrong_numbers_of_codes_and_temperatures_are_refused() -> None:
    model = ResidualGaussian(6, 2).model()
    z = model.sample_prior(3)
    for wrong in ([], [*z, z[0]]):
        with pytest.raises(ValueError, match="the top 1 to 2 levels"):
            model.decode(wrong)
    for wrong, message in (([1.0], "1 numbers for a model of 2 levels"), ([1.0, -1.0], "temperature=-1.0")):
        with pytest.raises(ValueError, match=message):
            model.generate(3, temperature=wrong)


def test_a_residual_chain_needs_an_update_for_each_link() -> None:
    n = ResidualGaussian(7, 2)
    links = [Link(a, b, v, n.initial) for a, b, v in zip(n.a, n.b, n.v, strict=True)]
    with pytest.raises(ValueError, match="as many updates"):
        ResidualChain(links, [Update(n.u[0], n.initial)])


def test_codes_that_are_none_are_refused_in_one_line() -> None:
    model = ResidualGaussian(8, 2).model()
    z = model.sample_prior(3)
    for wrong, message in (
        ([z[0].numpy(), z[1]], r"z\[0\]: a ndarray, must be a tensor; torch.as_tensor"),
        ([z[0].long(), z[1]], r"z\[0\]: int64 of shape"),
        ([z[0][0], z[1]], "must be floats with one code in each row"),
        ([3, z[1]], r"z\[0\]: a int, must be a tensor"),
        ([z[0], z[1].to_sparse()], r"z\[1\]: a sparse tensor"),
    ):
        with pytest.raises(TypeError, match=message):
            model.decode(wrong)
    with pytest.raises(ValueError, match="codes of 2, 3 examples, must be equally many"):
        model.decode([z[0][:2], z[1]])


def test_codes_of_another_shape_are_refused_with_their_level() -> None:
    """A grid of one place would silently be spread over the whole picture."""
    deep = Deep(DataSpec((1, 8, 6), 0, "binary"), 3, Bernoulli, (1, 1), (2, 2), (4, 4), 6, (0, 0))
    z = deep.sample_prior(3)
    with pytest.raises(TypeError, match=r"z\[0\]: dtype float64, but the model computes in float32; z\[0\].to"):
        deep.decode([z[1].double(), z[2]])
    for wrong, message in (
        ([z[0][..., :1, :1], *z[1:]], r"z[0]: shape (3, 2, 1, 1), must be (N, 2, 4, 3)"),
        ([z[1][:, :1], z[2]], r"z[0]: shape (3, 1, 2, 2), must be (N, 2, 2, 2)"),
        ([z[1], z[2][:, :2]], r"z[1]: shape (3, 2), must be (N, 3)"),
        ([z[2][:, None]], r"z[0]: shape (3, 1, 3), must be (N, 3)"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            deep.decode(wrong)
