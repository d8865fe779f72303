from __future__ import annotations

import pytest
import torch
from linear_gaussian import LinearGaussian, random_model, within
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab.core import BottomUpPosterior, Chain, LatentVariableModel, MarkovChain, TopDownPosterior
from vae_lab.core.codes import latent_shapes
from vae_lab.distributions.gaussian import diagonal_gaussian

every_kind = pytest.mark.parametrize("kind", ["bottom_up", "ladder"])


def spoiled(kind: str) -> tuple[LinearGaussian, dict]:
    return random_model(0, levels=3, classes=2), {"widen": [2.0, 0.5, 3.0]}


@every_kind
def test_samples_have_the_joint_moments_of_the_posterior(kind: str) -> None:
    """Means, variances and the correlations between levels: each level was drawn given the one it should be."""
    numbers, options = spoiled(kind)
    x, y = numbers.data(2)
    torch.manual_seed(0)
    with torch.no_grad():
        levels = numbers.model(kind, **options)(x, y, 20_000).levels
    order = 1 if kind == "bottom_up" else -1
    z = torch.stack([level.z for level in levels][::order], dim=-1)  # (K, B, M, L)
    joint = numbers.joint(kind, x, y, **options)
    assert within(z, joint.mean)
    centred = z - joint.mean
    assert within(centred[..., :, None] * centred[..., None, :], joint.covariance_matrix)


@every_kind
def test_levels_are_paired_with_their_own_prior_from_the_data_up(kind: str) -> None:
    numbers, options = spoiled(kind)
    x, y = numbers.data(2)
    model = numbers.model(kind, **options)
    levels = model(x, y, 3).levels
    context = model.context(y)
    priors = model.prior.follow([level.z for level in levels[::-1]], None, context).conditionals[::-1]
    for level, prior in zip(levels, priors, strict=True):
        assert torch.allclose(level.p.log_prob(level.z), prior.log_prob(level.z), atol=1e-12)


@every_kind
def test_gradients_reach_the_posterior_through_the_samples(kind: str) -> None:
    numbers, options = spoiled(kind)
    x, y = numbers.data(2)
    model = numbers.model(kind, **options)
    model(x, y, 3).log_likelihood.sum().backward()
    reads = "chain.links.0." if kind == "bottom_up" else ""  # z_1 of a ladder depends on every level above
    gradients = [p.grad for name, p in model.posterior.named_parameters() if name.startswith(reads)]
    assert gradients
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_the_precision_merge_makes_a_ladder_level_surer_than_its_prior_and_its_evidence() -> None:
    numbers, options = spoiled("ladder")
    x, y = numbers.data(2)
    levels = numbers.model("ladder", **options)(x, y, 3).levels
    evidence = numbers.evidence_moments(options["widen"])
    for level, e, s in zip(levels[:-1], evidence, numbers.variances, strict=False):
        assert torch.allclose(level.q.variance, (1 / (1 / e + 1 / s)).expand_as(level.q.variance), atol=1e-12)


class Constant(nn.Module):
    """N(0, I) of two dimensions, whatever is given."""

    def forward(self, given: Tensor | None, context: Tensor | None = None) -> Distribution:
        return diagonal_gaussian(torch.zeros(2).double(), torch.ones(2).double(), 1)


class Affine(nn.Linear):
    """N(W given + b, I / 4) of two dimensions."""

    def forward(self, given: Tensor, context: Tensor | None = None) -> Distribution:
        mean = super().forward(given)
        return diagonal_gaussian(mean, torch.full_like(mean, 0.5), 1)


class Stacked(Chain):
    """A chain whose state has all values above."""

    def absorb(self, i: int, state: Tensor | None, value: Tensor, context: Tensor | None) -> Tensor:
        return value if state is None else torch.cat((state, value), -1)


class MeanField(TopDownPosterior):
    """q(z_1|x) q(z_2|x)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(Affine(3, 2) for _ in range(2))

    def observe(self, x: Tensor, context: Tensor | None) -> list[Distribution]:
        return [encoder(x, context) for encoder in self.encoders]

    def infer(self, i: int, seen: Distribution, p: Distribution, state: Tensor | None) -> Distribution:
        return seen

    def top(self, given: Tensor, context: Tensor | None) -> Distribution:
        return self.encoders[-1](given, context)


def test_levels_that_read_no_other_have_draws_of_their_own_for_every_sample_and_example() -> None:
    torch.manual_seed(0)
    model = LatentVariableModel(Stacked([Constant(), Constant()]), MeanField(), Affine(4, 3)).double()
    x = torch.randn(5, 3).double()
    for level in model(x, num_samples=4).levels:
        assert level.z.shape == (4, 5, 2)
        assert len(level.z.flatten(0, 1).unique(dim=0)) == 20
    assert model(x, num_samples=4).kl.shape == (4, 5, 2)
    estimates = []
    for chunk in (3, 50):
        torch.manual_seed(1)
        estimates.append(model.log_marginal(x, num_samples=50, chunk=chunk))
    assert torch.allclose(*estimates, atol=1e-12)
    assert [len(z.unique(dim=0)) for z in model.sample_prior(6)] == [6, 6]
    given = model.sample_prior(6)[1:]
    assert model.decode(given).mean.shape == (6, 3)
    assert len(model.decode([given[0][:1].expand(6, 2)], temperature=1.0).mean.unique(dim=0)) == 6


def test_a_chain_whose_links_read_no_value_below_draws_each_for_every_sample() -> None:
    chain = MarkovChain([Affine(3, 2), Constant()]).double()
    values = chain.rsample(torch.randn(5, 3).double(), None, (4,)).values
    assert [len(value.reshape(-1, 2).unique(dim=0)) for value in values] == [20, 20]


def test_a_bottom_up_posterior_that_reads_no_data_draws_for_each_sample_and_example() -> None:
    torch.manual_seed(0)
    posterior = BottomUpPosterior(MarkovChain([Constant(), Affine(2, 2)]))
    model = LatentVariableModel(MarkovChain([Constant(), Affine(2, 2)]), posterior, Affine(2, 3)).double()
    terms = model(torch.randn(5, 3).double(), num_samples=4)
    assert [len(level.z.flatten(0, 1).unique(dim=0)) for level in terms.levels] == [20, 20]
    assert terms.log_weight.shape == (4, 5)


class Labels(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(y, 3).double()


class Shifted(Constant):
    """N(the context, I / 4) of three dimensions, whatever else is given."""

    def forward(self, given: Tensor | None, context: Tensor | None = None) -> Distribution:
        return diagonal_gaussian(context, torch.full_like(context, 0.5), 1)


def test_shapes_of_levels_some_of_which_read_the_label() -> None:
    prior, decoder = Stacked([Shifted(), Constant()]), Affine(5, 3)
    model = LatentVariableModel(prior, MeanField(), decoder, embed=Labels()).double()
    assert latent_shapes(model) == [(2,), (3,)]


def test_a_prior_that_reads_no_label_draws_for_each() -> None:
    posterior = BottomUpPosterior(MarkovChain([Affine(3, 2)]))
    model = LatentVariableModel(MarkovChain([Constant()]), posterior, Affine(2, 3), embed=Labels()).double()
    y = torch.zeros(6, dtype=torch.long)
    assert len(model.generate(6, y).mean.unique(dim=0)) == 6
    assert model.sample_prior(6, y)[0].shape == (6, 2)
