"""Tests the contract of all models, in all combinations of their parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, product
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from tests.pairwise import pairwise
from vae_lab.core import LatentVariableModel
from vae_lab.core.codes import latent_shapes
from vae_lab.distributions import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    LabelConditional,
    LogisticMixture,
    MixtureOfGaussians,
    VampPrior,
)
from vae_lab.distributions.conditional import Head
from vae_lab.models import MHVAE, VAE, Deep, Ladder
from vae_lab.networks import ConvArchitecture, MlpArchitecture
from vae_lab.objectives import BetaTcvae, Capacity, Elbo, FactorVae, InfoVae, Iwae, IwaeDreg
from vae_lab.training.own_noise import draws_own_noise
from vae_lab.types import DataSpec, Scaling, Support

SHAPE, CLASSES, B = (1, 6, 5), 3, 6
SPEC = DataSpec(SHAPE, CLASSES, "binary")
ROWS = {"attributes": ("smiling", "glasses"), "numbers": ("size",), "numbers_scaling": Scaling((3.0,), (0.5,))}
"""Conditions beside the classes, for the labels whose name begins with ``rows``."""
LIKELIHOODS: dict[str, tuple[Callable[..., Head], Support]] = {
    "bernoulli": (Bernoulli, "binary"),
    "gaussian": (partial(Gaussian, scale="shared"), "real"),
    "gaussian-pixel": (partial(Gaussian, scale="per_dimension"), "unit"),
    "logistic": (DiscretizedLogistic, "uint8"),
    "logistic-mixture": (partial(LogisticMixture, num_components=2), "uint8"),
    "categorical": (Categorical, "uint8"),
}
NETWORKS = {"mlp": MlpArchitecture([12], "silu"), "conv": ConvArchitecture([4, 5], features=8)}
LATENT = MlpArchitecture([7], "silu")
LABELS: dict[str, dict] = {
    "unconditional": {},
    "conditional": {"conditional": True},
    "label-prior": {"conditional": True, "prior": LabelConditional},
    "mixture": {"prior": partial(MixtureOfGaussians, num_components=4)},
    "conditional-mixture": {"conditional": True, "prior": partial(MixtureOfGaussians, num_components=4)},
    "vamp": {"prior": partial(VampPrior, num_components=4)},
    "conditional-vamp": {"conditional": True, "prior": partial(VampPrior, num_components=4)},
    "rows-label-prior": {"conditional": True, "prior": LabelConditional},
    "rows-mixture": {"conditional": True, "prior": partial(MixtureOfGaussians, num_components=4)},
    "rows-vamp": {"conditional": True, "prior": partial(VampPrior, num_components=4)},
}
MIXTURES = {"mixture", "vamp"}
MODELS: dict[str, Callable[..., LatentVariableModel]] = {
    "vae": lambda spec, net, head=Bernoulli, **options: VAE(spec, 4, net, head, **options),
    "mhvae-1": lambda spec, net, head=Bernoulli, **options: MHVAE(spec, [4], net, LATENT, head, **options),
    "mhvae-2": lambda spec, net, head=Bernoulli, **options: MHVAE(spec, [5, 3], net, LATENT, head, **options),
    "mhvae-3": lambda spec, net, head=Bernoulli, **options: MHVAE(spec, [5, 4, 3], net, LATENT, head, **options),
    "ladder-1": lambda spec, net, head=Bernoulli, **options: Ladder(spec, [4], [8], net, LATENT, head, **options),
    "ladder-3": lambda spec, net, head=Bernoulli, **options: Ladder(
        spec, [5, 4, 3], [8, 7, 6], net, LATENT, head, **options
    ),
    "deep": lambda spec, net, head=Bernoulli, **options: Deep(
        spec, 4, head, levels=[1, 2], channels=[1, 2], widths=[4, 5], blocks=[0, 1], top_width=6, stem=1, **options
    ),
}
HIERARCHIES = {
    "mhvae-2": [(5,), (3,)],
    "mhvae-3": [(5,), (4,), (3,)],
    "ladder-3": [(5,), (4,), (3,)],
    "deep": [(1, 6, 5), (2, 3, 3), (2, 3, 3), (4,)],
}
LATENT_SHAPES = {name: HIERARCHIES.get(name, [(4,)]) for name in MODELS}


class SmallFactorVae(FactorVae):
    def __init__(self, num_samples: int = 1) -> None:
        super().__init__(4, widths=(5,), num_samples=num_samples)


OBJECTIVES = {kind.__name__: kind for kind in (Elbo, Iwae, IwaeDreg, BetaTcvae, Capacity, InfoVae, SmallFactorVae)}
ONE_LEVEL = [name for name, kind in OBJECTIVES.items() if kind.one_level]
OPTIONS = (MODELS, LABELS, NETWORKS, LIKELIHOODS)


class Case(NamedTuple):
    key: tuple[str, str, str, str]
    model: LatentVariableModel
    x: Tensor
    y: Tensor | None


def build(name: str, labels: str, network: str, likelihood: str) -> LatentVariableModel:
    head, support = LIKELIHOODS[likelihood]
    spec = DataSpec(SHAPE, CLASSES, support, **(ROWS if labels.startswith("rows") else {}))
    return MODELS[name](spec, NETWORKS[network], head, **LABELS[labels])


def make(name: str, labels: str, network: str, likelihood: str = "bernoulli") -> Case:
    torch.manual_seed(0)
    key = (name, labels, network, likelihood)
    model = build(*key)
    levels = 1 if model.spec.support == "binary" else 255
    x = (levels * torch.rand(B, *SHAPE)).round() / levels
    y = torch.arange(B) % CLASSES
    if model.spec.vector_condition:
        y = torch.cat((torch.eye(CLASSES)[y], torch.rand(B, 2).round(), 3 + 0.5 * torch.randn(B, 1)), 1)
    return Case(key, model, x, y if model.conditional else None)


def ids(row: tuple[Any, ...]) -> str:
    return "-".join(map(str, row))


@pytest.fixture(params=pairwise(*OPTIONS), ids=ids)
def case(request: pytest.FixtureRequest) -> Case:
    return make(*request.param)


def test_every_pair_of_options_is_in_a_case() -> None:
    def allowed(a: int, b: str, c: int) -> bool:
        return (a, b) != (0, "x")

    axes = (range(3), "xyz", range(4))
    rows = pairwise(*axes, allowed=allowed)
    for i, j in combinations(range(3), 2):
        assert {(row[i], row[j]) for row in rows} == set(product(axes[i], axes[j])) - ({(0, "x")} if j == 1 else set())
    assert all(allowed(*row) for row in rows)
    assert len(rows) <= 16, "12 for two axes and few more for all"


@pytest.mark.parametrize("num_samples", [1, 3])
def test_terms_have_their_shapes_and_agree(case: Case, num_samples: int) -> None:
    terms = case.model(case.x, case.y, num_samples)
    shapes = LATENT_SHAPES[case.key[0]]
    assert case.model.num_levels == len(case.model.level_groups) == len(shapes)
    assert terms.log_likelihood.shape == terms.log_weight.shape == (num_samples, B)
    assert terms.kl.shape == (num_samples, B, len(shapes))
    assert terms.elbo.shape == terms.importance_weighted_bound.shape == (B,)
    for level, shape in zip(terms.levels, shapes, strict=True):
        assert level.z.shape == (num_samples, B, *shape)
        assert level.kl.shape == level.log_ratio.shape == (num_samples, B)
        if level is terms.levels[-1] and MIXTURES & {*case.key[1].split("-")}:
            assert level.kl_per_dimension is None
            continue
        assert level.kl_per_dimension.shape == (num_samples, B, *shape)
        assert torch.allclose(level.kl_per_dimension.flatten(2).sum(-1), level.kl, atol=1e-4)
    for tensor in (terms.log_weight, terms.kl, terms.elbo, terms.importance_weighted_bound):
        assert tensor.isfinite().all()
    z = terms.levels[0].z.flatten(2)
    if num_samples > 1:
        assert torch.pdist(z[:, 0]).min() > 0  # samples differ
    assert torch.pdist(z[0]).min() > 0  # and so do examples


@pytest.mark.parametrize(
    "row",
    pairwise(
        *OPTIONS,
        OBJECTIVES,
        (1, 3),
        allowed=lambda model, *others: not (model in HIERARCHIES and OBJECTIVES[others[3]].one_level),
    ),
    ids=ids,
)
def test_every_parameter_has_a_finite_gradient(row: tuple[Any, ...]) -> None:
    *key, objective, num_samples = row
    case, criterion = make(*key), OBJECTIVES[objective](num_samples=num_samples)
    criterion.check(case.model)
    criterion(case.model(case.x, case.y, criterion.num_samples), 0).value.backward()
    for name, parameter in case.model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, f"{name} is dead"


@pytest.mark.parametrize("objective", ONE_LEVEL)
@pytest.mark.parametrize("name", HIERARCHIES)
def test_an_objective_of_one_level_refuses_a_hierarchy(name: str, objective: str) -> None:
    with pytest.raises(ValueError, match="needs a model of one level"):
        OBJECTIVES[objective]().check(build(name, "unconditional", "mlp", "bernoulli"))


def test_generate_reconstruct_and_log_marginal_shapes(case: Case) -> None:
    model, x, y = case.model, case.x, case.y
    for temperature in (1.0, 0.5):
        generated = model.generate(B, y, temperature)
        assert generated.batch_shape == (B,)
        assert generated.mean.shape == (B, *SHAPE)
        assert torch.pdist(generated.mean.flatten(1)).min() > 0  # one latent for each, not one for all
    reconstructed = model.reconstruct(x, y)
    assert reconstructed.batch_shape == (B,)
    assert reconstructed.mean.shape == (B, *SHAPE)
    estimate = model.log_marginal(x, y, num_samples=5, chunk=2)
    assert estimate.shape == (B,)
    assert estimate.isfinite().all()
    state = torch.get_rng_state()
    shapes = latent_shapes(model)
    assert torch.equal(torch.get_rng_state(), state), "shapes are read without a draw"
    assert shapes == [tuple(z.shape[1:]) for z in model.sample_prior(B, y)]
    one = model.generate(1, None if y is None else y[:1])
    assert one.mean.shape == (1, *SHAPE)


def test_everything_follows_the_seed(case: Case) -> None:
    model, x, y = case.model, case.x, case.y

    def numbers(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        with torch.no_grad():
            terms = model(x, y, 2)
            drawn = [model.generate(B, y).mean, model.reconstruct(x, y).mean, model.log_marginal(x, y, 3)]
        return [terms.log_weight, terms.elbo, *drawn]

    first, again, other = numbers(1), numbers(1), numbers(2)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[2], other[2])
    assert not draws_own_noise(model)


def test_a_checkpoint_restores_the_model(case: Case) -> None:
    copy = build(*case.key)
    copy.load_state_dict(case.model.state_dict())
    torch.manual_seed(3)
    expected = case.model(case.x, case.y).elbo
    torch.manual_seed(3)
    assert torch.equal(copy(case.x, case.y).elbo, expected)


def test_labels_are_wanted_or_refused(case: Case) -> None:
    model, x = case.model, case.x
    wrong, message = (None, "needs labels") if model.conditional else (torch.zeros(B, dtype=torch.long), "no labels")
    calls = (
        lambda: model(x, wrong),
        lambda: model.generate(B, wrong),
        lambda: model.reconstruct(x, wrong),
        lambda: model.log_marginal(x, wrong, 2),
    )
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_number_of_labels_must_fit(case: Case) -> None:
    model, x, y = case.model, case.x, case.y
    if y is None:
        return
    for labels in (y[:1], y[:-1]):  # one label would otherwise silently be broadcast
        calls = (
            lambda labels=labels: model(x, labels),
            lambda labels=labels: model.generate(B, labels),
            lambda labels=labels: model.reconstruct(x, labels),
            lambda labels=labels: model.log_marginal(x, labels, 2),
        )
        for call in calls:
            with pytest.raises(ValueError, match=f"{len(labels)} labels"):
                call()


def test_densities_are_float32_under_autocast(case: Case) -> None:
    """Densities are in float32 at least, and close to those of full precision for the same noise."""
    _, model, x, y = case
    torch.manual_seed(1)
    exact = model(x, y, 2)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.nn.functional.linear(x.flatten(1), torch.ones(1, 30)).dtype == torch.bfloat16
        terms = model(x, y, 2)
        elbo = Elbo()(terms, 0).value
    for tensor in (terms.log_likelihood, terms.kl, terms.log_weight, terms.elbo, elbo):
        assert tensor.dtype == torch.float32
    for level in terms.levels:
        assert level.z.dtype == level.q.mean.dtype == level.p.mean.dtype == torch.float32
    assert torch.allclose(terms.elbo, exact.elbo, rtol=0.05)


# Sizes and data that make no model.


@pytest.mark.parametrize("network", NETWORKS)
def test_a_level_needs_a_dimension(network: str) -> None:
    net = NETWORKS[network]
    for dim in (0, -2):
        with pytest.raises(ValueError, match=f"latent_dim={dim}"):
            VAE(SPEC, dim, net, Bernoulli)
        with pytest.raises(ValueError, match=rf"^latent_dims=\[4, {dim}\]"):
            MHVAE(SPEC, [4, dim], net, LATENT, Bernoulli)
        with pytest.raises(ValueError, match=rf"^latent_dims=\[{dim}, 4\]"):
            Ladder(SPEC, [dim, 4], [8, 8], net, LATENT, Bernoulli)


def test_a_hierarchy_needs_a_level() -> None:
    net = NETWORKS["mlp"]
    with pytest.raises(ValueError, match=r"latent_dims=\[\]"):
        MHVAE(SPEC, [], net, LATENT, Bernoulli)
    with pytest.raises(ValueError, match=r"latent_dims=\[\]"):
        Ladder(SPEC, [], [], net, LATENT, Bernoulli)


@pytest.mark.parametrize("features", [[], [8], [8, 8, 8]])
def test_a_ladder_needs_features_for_each_level(features: list[int]) -> None:
    with pytest.raises(ValueError, match="2 levels"):
        Ladder(SPEC, [4, 3], features, NETWORKS["mlp"], LATENT, Bernoulli)


@pytest.mark.parametrize("name", MODELS)
def test_a_conditional_model_needs_labelled_data(name: str) -> None:
    unlabelled = DataSpec(SHAPE, 0, "binary")
    with pytest.raises(ValueError, match=r"^conditional=True: these data have no labels"):
        MODELS[name](unlabelled, NETWORKS["mlp"], conditional=True)
    with pytest.raises(ValueError, match="LabelConditional: needs a conditional model"):
        MODELS[name](SPEC, NETWORKS["mlp"], prior=LabelConditional)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_refuses_data_that_its_likelihood_cannot_model(name: str) -> None:
    with pytest.raises(ValueError, match="cannot model real data; Gaussian can"):
        MODELS[name](DataSpec(SHAPE, 0, "real"), NETWORKS["mlp"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ()}, "shape="),
        ({"shape": (1, 0, 3)}, "shape="),
        ({"shape": (1,), "num_classes": -1}, "num_classes=-1"),
        ({"shape": (1,), "support": "grey"}, "support=grey: choose one of binary"),
    ],
)
def test_a_spec_refuses_what_no_data_have(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSpec(**options)
