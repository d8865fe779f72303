from __future__ import annotations

import math
import sys
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab import noise
from vae_lab.core import BottomUpPosterior, LatentVariableModel, MarkovChain
from vae_lab.distributions import Bernoulli, ConditionalDistribution, FlowGaussian, FlowPrior, Gaussian, VampPrior
from vae_lab.distributions.flow import FlowDistribution
from vae_lab.distributions.gaussian import diagonal_gaussian, rsample
from vae_lab.models import VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.objectives import BetaTcvae, IwaeDreg
from vae_lab.types import DataSpec, Shard

if find_spec("zuko") is None:  # importing it here would switch off the validation of distributions for other tests
    pytest.skip("needs zuko", allow_module_level=True)

KINDS = ("spline", "affine")
SPEC, NET = DataSpec((1, 4, 4), 3, "binary"), MlpArchitecture([8])


def stirred(module: nn.Module, by: float = 0.3) -> nn.Module:
    """Returns the module in float64 with larger weights: a flow far from the identity."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        parameter.data += by * torch.randn_like(parameter)
    return module.double()


def grid(limit: float, num: int) -> tuple[Tensor, float]:
    """Midpoints of a square of side 2 ``limit``, (num^2, 2), and the area that belongs to each."""
    middle = (torch.arange(num, dtype=torch.float64) + 0.5) / num * 2 * limit - limit
    return torch.cartesian_prod(middle, middle), (2 * limit / num) ** 2


@pytest.mark.parametrize("kind", KINDS)
def test_densities_integrate_to_one_over_the_plane(kind: Any) -> None:
    points, area = grid(9.0, 400)
    prior = stirred(FlowPrior((2,), 3, transforms=2, widths=(8,), kind=kind), 0.15)
    head = stirred(FlowGaussian((2,), widths=(8,), kind=kind), 0.15)
    with torch.no_grad():
        for distribution in (
            prior(None, torch.eye(3).double()[1]),
            head(torch.randn(head.param_shape).double()),
        ):
            total = distribution.log_prob(points).exp().sum() * area
            assert total.item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_density(kind: Any) -> None:
    """The mean of z and of z^2 by quadrature are those of the samples and those that the distribution states."""
    points, area = grid(9.0, 300)
    with torch.no_grad():
        distribution = stirred(FlowPrior((2,), transforms=2, widths=(8,), kind=kind))()
        mass = distribution.log_prob(points).exp()[:, None] * area
        z = distribution.sample((50_000,))
        mean, square = (mass * points).sum(0), (mass * points.square()).sum(0)
        error = 5 * z.std(0) / math.sqrt(len(z))
        assert ((z.mean(0) - mean).abs() < error).all()
        assert ((z.square().mean(0) - square).abs() < 5 * z.square().std(0) / math.sqrt(len(z))).all()
        assert torch.allclose(distribution.mean, mean, atol=0.05)
        assert torch.allclose(distribution.variance, square - mean.square(), rtol=0.05)
        assert torch.equal(distribution.mean, distribution.mean)


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_determinant_is_that_of_the_jacobian(kind: Any) -> None:
    distribution = stirred(FlowPrior((3,), 2, widths=(6,), kind=kind))(None, torch.tensor([0.3, -1.0]).double())
    z = distribution.rsample().detach()
    jacobian = torch.autograd.functional.jacobian(distribution.transform, z)
    u = distribution.transform(z)
    expected = distribution.base.log_prob(u) + torch.linalg.slogdet(jacobian).logabsdet
    assert torch.allclose(distribution.log_prob(z), expected, atol=1e-9)


class Reads(nn.Module):
    """A linear map of what is given."""

    def __init__(self, matrix: Tensor, out_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.matrix, self.out_shape = nn.Parameter(matrix), out_shape

    def forward(self, given: Tensor, context: Tensor | None = None) -> Tensor:
        return (given @ self.matrix.T).reshape(*given.shape[:-1], *self.out_shape)


def test_a_gaussian_flow_prior_gives_the_marginal_likelihood_of_its_linear_model() -> None:
    """An affine flow without hidden layers is a Gaussian prior, so that log p(x) is known in closed form."""
    torch.manual_seed(0)
    prior = stirred(FlowPrior((2,), transforms=1, widths=(), kind="affine"), 0.2)
    log_scale = next(reversed([p for n, p in prior.named_parameters() if n.endswith("weight")]))
    log_scale.data[1::2] = 0  # the scales do not depend on the other dimension: p(z) is Gaussian
    p = prior()
    with torch.no_grad():  # z = f^-1(u) is affine in u
        loc = p.transform.inv(torch.zeros(2).double())
        root = torch.stack([p.transform.inv(e) - loc for e in torch.eye(2).double()], 1)
    weights = torch.randn(4, 2).double()
    likelihood = ConditionalDistribution(Reads(weights, (1, 4)), Gaussian((4,), scale=0.7))
    encoder = ConditionalDistribution(Reads(0.1 * torch.randn(4, 4).double(), (2, 2)), Gaussian((2,)))
    model = LatentVariableModel(
        prior=MarkovChain([prior]), posterior=BottomUpPosterior(MarkovChain([encoder])), likelihood=likelihood
    ).double()
    x = torch.randn(3, 4).double()
    covariance = weights @ root @ root.T @ weights.T + 0.49 * torch.eye(4).double()
    exact = torch.distributions.MultivariateNormal(weights @ loc, covariance).log_prob(x)
    noise.seed(0)
    estimate = model.importance_estimate(x, num_samples=20_000)
    error = 5 / estimate.effective_samples.sqrt()
    assert ((estimate.log_prob - exact).abs() < error).all()
    assert error.max() < 0.2


@pytest.mark.parametrize(("dims", "draws"), [(3, 2**14 // 5), (1024, 2**11 // 5)])
def test_moments_are_estimated_in_bounded_memory(monkeypatch: pytest.MonkeyPatch, dims: int, draws: int) -> None:
    """A spline takes some 700 bytes for each number: 1024 dimensions took 13 GB."""
    pushed: list[Tensor] = []

    def push(self: FlowDistribution, u: Tensor) -> Tensor:
        pushed.append(u)
        return u

    monkeypatch.setattr(FlowDistribution, "_pushed", push)
    base = diagonal_gaussian(torch.ones(5, dims), torch.ones(5, dims), 1)
    mean = FlowDistribution(base, None).mean
    assert max(each.numel() for each in pushed) <= 2**19
    assert sum(len(each) for each in pushed) == draws
    assert torch.equal(mean, torch.cat(pushed).mean(0))


@pytest.mark.parametrize("kind", KINDS)
def test_densities_and_samples_are_those_of_float32_under_autocast(kind: Any) -> None:
    prior = stirred(FlowPrior((3,), kind=kind)).float()
    z = torch.randn(5, 3)
    expected = prior().log_prob(z)
    noise.seed(0)
    sample = rsample(prior(), (5,))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior().log_prob(z), expected)
        noise.seed(0)
        assert torch.equal(rsample(prior(), (5,)), sample)


def test_a_long_run_with_a_flow_is_not_compiled_unless_asked() -> None:
    from vae_lab.training.compiled import is_compiled

    plain, flow = VAE(SPEC, 2, NET, Bernoulli), VAE(SPEC, 2, NET, Bernoulli, FlowPrior)
    assert [is_compiled("auto", model, 1e6) for model in (plain, flow)] == [True, False]
    assert is_compiled(True, flow, 1)


def test_a_tempered_sample_is_the_pushed_tempered_base() -> None:
    distribution = stirred(FlowPrior((3,)))()
    noise.seed(0)
    z = rsample(distribution, (5,), 0.5)
    noise.seed(0)
    eps = noise.normal((5, 3), like=z)
    assert torch.allclose(z, distribution.transform.inv(0.5 * eps))
    # Not to the last bit: a product of matrices rounds by its number of rows.
    assert torch.allclose(rsample(distribution, (2,), 0.0)[0], rsample(distribution, (), 0.0), atol=1e-12)


def test_two_processes_draw_what_one_does() -> None:
    prior, context = stirred(FlowPrior((2,), 3)), torch.eye(3).double()[torch.arange(6) % 3]
    noise.seed(0)
    whole = rsample(prior(None, context))
    for rank in range(2):
        shard = Shard(rank, 2, 6)
        noise.seed(0)
        with noise.sharded(shard):
            assert torch.allclose(rsample(prior(None, context[shard.rows])), whole[shard.rows])


def test_importing_zuko_leaves_the_validation_of_distributions_as_it_was() -> None:
    before = Distribution._validate_args
    removed = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "zuko"}
    try:
        for value in (True, False):
            Distribution.set_default_validate_args(value)
            FlowPrior((2,))
            assert Distribution._validate_args is value
            for name in [name for name in sys.modules if name.partition(".")[0] == "zuko"]:
                del sys.modules[name]
    finally:
        Distribution.set_default_validate_args(before)
        sys.modules.update(removed)


def test_without_zuko_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r"a flow needs zuko; pip install 'vae-lab\[flows\]'"):
        FlowPrior((2,))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"transforms": 0}, "transforms=0"), ({"widths": (0,)}, "widths"), ({"kind": "planar"}, "kind=planar")],
)
def test_bad_numbers_are_refused(options: dict[str, Any], named: str) -> None:
    for build in (FlowPrior, FlowGaussian):
        with pytest.raises(ValueError, match=named):
            build((2,), **options)
    with pytest.raises(ValueError, match="features_per_dim=0"):
        FlowGaussian((2,), features_per_dim=0)


def test_parts_that_need_a_gaussian_posterior_refuse_a_flow() -> None:
    model = VAE(SPEC, 2, NET, Bernoulli, posterior=FlowGaussian)
    for objective in (IwaeDreg(), BetaTcvae()):
        with pytest.raises(ValueError, match="needs a posterior of independent"):
            objective.check(model)
    with pytest.raises(ValueError, match="this posterior is not Gaussian"):
        VAE(SPEC, 2, NET, Bernoulli, partial(VampPrior, num_components=3), posterior=FlowGaussian)


@pytest.mark.slow
def test_the_flow_of_a_trained_posterior_beats_its_gaussian() -> None:
    """On a target with two arms, KL(q || p) falls well below the best that a Gaussian can do."""
    torch.manual_seed(0)
    weights = torch.tensor([[2.0, 0.0], [0.0, 0.35]])

    def log_target(z: Tensor) -> Tensor:  # a banana: unnormalised N(0, 4) times N(x^2 / 4, 0.35^2)
        narrow = diagonal_gaussian(torch.zeros(2), torch.stack([weights[0, 0], weights[1, 1]]), 1)
        return narrow.log_prob(torch.stack([z[..., 0], z[..., 1] - z[..., 0].square() / 4 + 1], -1))

    found = {}
    for name, head in (("gaussian", Gaussian((2,))), ("flow", FlowGaussian((2,), widths=(24,)))):
        raw = nn.Parameter(torch.zeros(head.param_shape))
        optimizer = torch.optim.Adam([raw, *head.parameters()], lr=1e-2)
        for _ in range(200):
            q = head(raw)
            z = rsample(q, (128,))
            kl = (q.log_prob(z) - log_target(z)).mean()
            optimizer.zero_grad()
            kl.backward()
            optimizer.step()
        found[name] = kl.item()
    assert found["flow"] < 0.15
    assert found["gaussian"] > 0.4


def test_a_count_that_a_flow_does_not_have_is_not_a_metric_to_monitor() -> None:
    from vae_lab.fitting import compose
    from vae_lab.training.logs.monitors import _logged_names

    for words, counted in (("prior=flow", False), ("posterior=flow", False), ("prior=standard_normal", True)):
        run = compose(words, "trainer=cpu", "logger=none", "latent_dim=2", "network.widths=[4]")
        names = _logged_names(run.module)
        assert ("val/units_with_kl" in names) is counted
        assert "val/active_units" in names
        assert "val/codes_used" not in names
