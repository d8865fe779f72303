from __future__ import annotations

import pytest
import torch
from linear_gaussian import LinearGaussian, random_model, within

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
