"""The named models with linear networks hold a linear-Gaussian model exactly: their wiring must keep the identity."""

from __future__ import annotations

import pytest
import torch
from linear_gaussian import fill, random_model

from vae_lab.core import LatentVariableModel
from vae_lab.distributions import Gaussian, LabelConditional, StandardNormal
from vae_lab.models import MHVAE, VAE, Ladder
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec

LINEAR = MlpArchitecture([])
PRIORS = {"unconditional": (0, StandardNormal), "standard": (3, StandardNormal), "label": (3, LabelConditional)}
MODELS = [("vae", 1), ("mhvae", 1), ("mhvae", 2), ("mhvae", 4), ("ladder", 1), ("ladder", 2), ("ladder", 3)]


def build(name: str, levels: int, classes: int, prior: type) -> LatentVariableModel:
    spec = DataSpec((5,), classes, "real")
    options = {"likelihood": Gaussian, "prior": prior, "conditional": classes > 0}
    if name == "vae":
        return VAE(spec, 2, LINEAR, **options)
    if name == "mhvae":
        return MHVAE(spec, [2] * levels, LINEAR, LINEAR, **options)
    return Ladder(spec, [2] * levels, [2] * levels, LINEAR, LINEAR, **options)


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize(("name", "levels"), MODELS)
def test_named_models_keep_the_zero_variance_identity(name: str, levels: int, kind: str) -> None:
    classes, prior = PRIORS[kind]
    for seed in range(3):
        numbers = random_model(seed, levels, classes, standard_prior=prior is StandardNormal, label_variance=False)
        model = fill(build(name, levels, classes, prior), numbers)
        x, y = numbers.data(5)
        assert (model(x, y, 3).log_weight - numbers.log_prob(x, y)).abs().max() < 1e-10


@pytest.mark.parametrize(("name", "levels"), MODELS)
def test_every_distribution_reads_the_label(name: str, levels: int) -> None:
    """Encoder, decoder, inner levels and prior: each changes with the label alone."""
    torch.manual_seed(0)
    model = build(name, levels, 3, LabelConditional).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    one, two = (model.context(torch.full((4,), label)) for label in (0, 2))
    z = torch.randn(4, 2, dtype=torch.float64)
    parts = {"likelihood": (model.likelihood, z)}
    parts |= {f"prior {i}": (link, z if i else None) for i, link in enumerate(model.prior.links)}
    if name == "ladder":
        features = torch.randn(4, 2, dtype=torch.float64)
        parts |= {f"evidence {i}": (head, features) for i, head in enumerate(model.posterior.evidence)}
        for i, block in enumerate(model.posterior.blocks):
            given = features if i else x
            assert not torch.allclose(block(given, one), block(given, two)), f"block {i}"
    else:
        parts |= {f"posterior {i}": (link, z if i else x) for i, link in enumerate(model.posterior.chain.links)}
    for part, (conditional, given) in parts.items():
        assert not torch.allclose(conditional(given, one).mean, conditional(given, two).mean), part


def test_sizes_are_those_of_the_levels() -> None:
    spec = DataSpec((1, 3, 2), 4, "real")
    options = {"likelihood": Gaussian, "conditional": True, "prior": LabelConditional}
    hierarchy = MHVAE(spec, [5, 4, 3], LINEAR, LINEAR, **options)
    ladder = Ladder(spec, [5, 4, 3], [8, 7, 6], LINEAR, LINEAR, **options)
    for model in (hierarchy, ladder):
        levels = model(torch.randn(2, 1, 3, 2), torch.tensor([0, 3])).levels
        assert [level.z.shape[-1] for level in levels] == [5, 4, 3]  # nearest the data first
    assert [block.layers[-1].out_features for block in ladder.posterior.blocks] == [8, 7, 6]
