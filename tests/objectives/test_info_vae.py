from __future__ import annotations

import math

import pytest
import torch
from linear_gaussian import random_model, within
from torch import Tensor

from vae_lab import noise
from vae_lab.core import ElboTerms, LatentLevel
from vae_lab.distributions.gaussian import diagonal_gaussian
from vae_lab.objectives import Elbo, InfoVae
from vae_lab.objectives.info_vae import KERNELS, SCALES, prior_samples, squared_mmd
from vae_lab.types import Shard

every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def draws(*shape: int, mean: float | Tensor = 0.0, scale: float | Tensor = 1.0) -> Tensor:
    return mean + scale * torch.randn(*shape, dtype=torch.float64)


# The estimate of MMD^2.


def smoothed_overlap(difference: Tensor, variance: Tensor, width: float) -> Tensor:
    """E exp(-|a - b|^2 / C) for a - b ~ N(difference, diag(variance))."""
    spread = width + 2 * variance
    return ((width / spread).sqrt() * (-(difference**2) / spread).exp()).prod()


@pytest.mark.parametrize("num", [2, 9])
def test_gaussians_under_the_gaussian_kernel_have_a_closed_form(num: int) -> None:
    torch.manual_seed(0)
    mean, scale, other_mean, other_scale = (torch.tensor(v).double() for v in ([0.5, -1], [0.4, 1.5], [0, 0.2], [1, 1]))
    zero, width = torch.zeros(2).double(), 4.0
    expected = (
        smoothed_overlap(zero, 2 * scale**2, width)
        + smoothed_overlap(zero, 2 * other_scale**2, width)
        - 2 * smoothed_overlap(mean - other_mean, scale**2 + other_scale**2, width)
    )
    repeats = 20_000
    a, b = draws(repeats, num, 2, mean=mean, scale=scale), draws(repeats, num, 2, mean=other_mean, scale=other_scale)
    assert expected > 0.1
    assert within(squared_mmd(a, b, KERNELS["rbf"]), expected)


@every_kernel
@pytest.mark.parametrize("num", [2, 9])
def test_no_bias_where_the_distributions_agree(kernel: str, num: int) -> None:
    torch.manual_seed(0)
    estimates = squared_mmd(draws(20_000, num, 3), draws(20_000, num, 3), KERNELS[kernel])
    assert estimates.min() < 0 < estimates.max()
    assert within(estimates, torch.zeros(()).double())


@every_kernel
def test_no_bias_where_pairs_share_a_label(kernel: str) -> None:
    """q(z|y) = p(z|y) with labels that lie far apart: a_i and b_i fall into the same place."""
    torch.manual_seed(0)
    centre = 5 * torch.randint(3, (20_000, 4, 1)).double()
    estimates = squared_mmd(draws(20_000, 4, 2, mean=centre), draws(20_000, 4, 2, mean=centre), KERNELS[kernel])
    assert within(estimates, torch.zeros(()).double())


@every_kernel
@pytest.mark.parametrize("num", [5, 40])  # torch takes another way to distances between many points
def test_it_is_the_mean_over_pairs_of_different_examples(kernel: str, num: int) -> None:
    torch.manual_seed(0)
    a, b = draws(2, num, 3), draws(2, num, 3, mean=1)

    def k(first: Tensor, second: Tensor) -> Tensor:
        distance = (first[:, None] - second).square().sum(-1)  # (num, num)
        if kernel == "rbf":
            return (-distance / 6).exp()
        return sum(6 * scale / (6 * scale + distance) for scale in SCALES)

    for sample in range(2):
        u, v = a[sample], b[sample]
        terms = k(u, u) + k(v, v) - k(u, v) - k(v, u)
        expected = terms[~torch.eye(num, dtype=torch.bool)].mean()
        assert torch.allclose(squared_mmd(a, b, KERNELS[kernel])[sample], expected, atol=1e-10)


@every_kernel
def test_the_gradient_is_finite_at_samples_that_coincide(kernel: str) -> None:
    a = torch.zeros(1, 30, 2, requires_grad=True)
    squared_mmd(a, torch.zeros(1, 30, 2), KERNELS[kernel]).sum().backward()
    assert a.grad.abs().max() == 0


# The objective.


def terms_of(kind: str = "bottom_up", levels: int = 1, classes: int = 0, size: int = 6) -> ElboTerms:
    numbers = random_model(3, levels=levels, classes=classes)
    return numbers.model(kind, widen=[2.0] * levels)(*numbers.data(size), 3)


@every_kernel
def test_alpha_0_and_lambda_1_are_the_elbo_with_its_gradient(kernel: str) -> None:
    numbers = random_model(2)
    x, y = numbers.data(6)
    model = numbers.model(widen=[2.0])
    results = []
    for objective in (Elbo(), InfoVae(0.0, 1.0, kernel)):
        torch.manual_seed(0)
        value = objective(model(x, y, 3), 0).value
        results.append([value, *torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad])])
    for elbo, info in zip(*results, strict=True):
        assert torch.equal(elbo, info)


@pytest.mark.parametrize(("kind", "levels"), [("bottom_up", 1), ("bottom_up", 3), ("ladder", 3)])
@pytest.mark.parametrize("alpha", [-1.0, 0.3, 1.0])
def test_the_weights_act_at_the_top_level(kind: str, levels: int, alpha: float) -> None:
    terms = terms_of(kind, levels, classes=2)
    loss = InfoVae(alpha, lambda_=20.0)(terms, 0)
    *inner, top = terms.kl.mean((0, 1))
    expected = sum(inner) + (1 - alpha) * top + (alpha + 19) * loss.logs["mmd"] - terms.log_likelihood.mean()
    assert torch.allclose(loss.value, expected, atol=1e-12)


@pytest.mark.parametrize("classes", [0, 2])
def test_the_mmd_is_that_of_the_top_level_from_its_prior(classes: int) -> None:
    terms = terms_of(levels=3, classes=classes)
    torch.manual_seed(1)
    logged = InfoVae(kernel="rbf")(terms, 0).logs["mmd"]
    torch.manual_seed(1)
    top = terms.levels[-1]
    assert torch.allclose(logged, squared_mmd(top.z, prior_samples(top), KERNELS["rbf"]).mean(), atol=1e-12)


def test_draws_of_a_learned_prior_have_the_labels_of_the_batch_and_a_gradient() -> None:
    numbers = random_model(4, classes=3)
    x, y = numbers.data(6)
    model = numbers.model()
    top = model(x, y, 5000).levels[-1]
    drawn = prior_samples(top)
    assert drawn.shape == top.z.shape
    assert within(drawn, numbers.top_mean[y])
    assert within((drawn - numbers.top_mean[y]).square(), numbers.top_variance[y])
    InfoVae(alpha=1.0)(model(x, y, 3), 0).value.backward()
    for parameter in model.prior.parameters():
        assert parameter.grad.abs().sum() > 0


def test_draws_of_the_standard_prior_are_one_for_each_sample() -> None:
    top = terms_of().levels[-1]
    drawn = prior_samples(top)
    assert drawn.shape == top.z.shape
    assert torch.pdist(drawn.flatten(0, 1)).min() > 0


@pytest.mark.parametrize("classes", [0, 2])
def test_draws_do_not_depend_on_the_number_of_processes(classes: int) -> None:
    def drawn(shard: Shard) -> Tensor:
        loc = torch.zeros(6, 2)[shard.rows] if classes else torch.zeros(2)
        p = diagonal_gaussian(loc, torch.ones_like(loc), 1)
        z = torch.zeros(3, 6, 2)[:, shard.rows]
        torch.manual_seed(0)
        with noise.sharded(shard):
            return prior_samples(LatentLevel(z, p, p, analytic_kl=True))

    whole = drawn(Shard(0, 1, 6))
    for shard in (Shard(0, 2, 6), Shard(1, 2, 6)):
        assert torch.equal(drawn(shard), whole[:, shard.rows])


@every_kernel
def test_a_step_against_the_gradient_brings_the_codes_nearer_to_the_prior(kernel: str) -> None:
    torch.manual_seed(0)
    loc, scale = draws(50, 2, mean=1).requires_grad_(), torch.full((50, 2), 0.3).double()
    p = diagonal_gaussian(torch.zeros(2).double(), torch.ones(2).double(), 1)

    def mmd(at: Tensor) -> Tensor:
        torch.manual_seed(1)
        q = diagonal_gaussian(at, scale, 1)
        level = LatentLevel(q.rsample((1,)), q, p, analytic_kl=True)
        return InfoVae(1.0, 1.0, kernel)(ElboTerms(torch.zeros(1, 50).double(), (level,)), 0).value

    (gradient,) = torch.autograd.grad(mmd(loc), loc)
    assert mmd(loc - gradient) < mmd(loc)


def test_a_batch_of_one_has_no_mmd() -> None:
    terms = terms_of(size=1)
    loss = InfoVae(alpha=0.5)(terms, 0)
    assert loss.logs["mmd"] == 0
    assert torch.allclose(loss.value, 0.5 * terms.kl.mean() - terms.log_likelihood.mean(), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.1}, "^alpha=1.1"),
        ({"alpha": math.nan}, "^alpha=nan"),
        ({"alpha": -math.inf}, "^alpha=-inf"),
        ({"alpha": 0.25, "lambda_": 0.7}, "^lambda_=0.7: .* 0.75 or more"),
        ({"lambda_": math.inf}, "^lambda_=inf"),
        ({"lambda_": math.nan}, "^lambda_=nan"),
        ({"kernel": "cosine"}, "^kernel=cosine: choose imq or rbf"),
    ],
)
def test_refuses_what_makes_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfoVae(**options)
