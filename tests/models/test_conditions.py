"""A CVAE with linear networks, given classes, attributes and numbers at once, holds its closed form exactly."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae_lab.core import LatentVariableModel
from vae_lab.distributions import Bernoulli, Gaussian, LabelConditional, MixtureOfGaussians, VampPrior
from vae_lab.distributions.flow import FlowPrior
from vae_lab.models import VAE
from vae_lab.models.vq_vae import VqVae
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec, Scaling

D, M, B = 5, 2, 7
SCALING = Scaling((2.0, -0.5), (4.0, 0.25))
CONDITIONS = {
    "numbers": DataSpec((D,), 0, "real", numbers=("size", "x"), numbers_scaling=SCALING),
    "attributes": DataSpec((D,), 0, "real", attributes=("smiling", "glasses")),
    "all": DataSpec((D,), 3, "real", ("cat", "dog", "cow"), ("smiling",), ("size", "x"), SCALING),
}


def rows(spec: DataSpec, num: int = B) -> Tensor:
    """Random rows of a condition, numbers in the user's units."""
    classes = (
        torch.eye(spec.num_classes)[torch.arange(num) % spec.num_classes] if spec.num_classes else torch.zeros(num, 0)
    )
    attributes = torch.rand(num, len(spec.attributes)).round()
    mean, scale = (torch.tensor(each) for each in SCALING)
    numbers = (mean + scale * torch.randn(num, 2))[:, : len(spec.numbers)]
    return torch.cat((classes, attributes, numbers), 1).double()


def standardised(spec: DataSpec, y: Tensor) -> Tensor:
    c = y.clone()
    for column, name in enumerate(spec.context_names):
        if name in spec.numbers:
            place = spec.numbers.index(name)
            c[:, column] = (y[:, column] - SCALING.mean[place]) / SCALING.scale[place]
    return c


class Closed:
    """z|c ~ N(P c + p, diag(d)), x|z,c ~ N(W z + V c + v, s I), with the exact q(z|x,c); W has orthogonal columns."""

    def __init__(self, spec: DataSpec, seed: int) -> None:
        torch.manual_seed(seed)
        C = spec.context_features
        self.P, self.p, self.d = torch.randn(M, C).double(), torch.randn(M).double(), torch.rand(M).double() + 0.3
        self.W = torch.linalg.qr(torch.randn(D, M).double())[0] * torch.tensor([1.5, -0.7]).double()
        self.V, self.v, self.s = torch.randn(D, C).double(), torch.randn(D).double(), 0.8

    def log_prob(self, x: Tensor, c: Tensor) -> Tensor:
        mean = (c @ self.P.T + self.p) @ self.W.T + c @ self.V.T + self.v
        covariance = (self.W * self.d) @ self.W.T + self.s * torch.eye(D).double()
        return MultivariateNormal(mean, covariance).log_prob(x)

    def fill(self, model: LatentVariableModel) -> LatentVariableModel:
        model = model.double()
        variance = 1 / (1 / self.d + self.W.square().sum(0) / self.s)
        gain = variance[:, None] * self.W.T / self.s
        posterior = (
            gain,
            variance[:, None] * self.P / self.d[:, None] - gain @ self.V,
            variance * self.p / self.d - gain @ self.v,
            variance,
        )
        nets = (
            (model.prior.links[0].net, (torch.zeros(M, 0).double(), self.P, self.p, self.d)),
            (model.posterior.chain.links[0].net, posterior),
            (model.likelihood.net, (self.W, self.V, self.v, torch.full((D,), self.s, dtype=torch.float64))),
        )
        for net, (of_given, of_context, bias, var) in nets:
            weight = torch.cat((of_given, of_context), 1)
            with torch.no_grad():
                net.layers[0].weight.copy_(torch.cat((weight, torch.zeros_like(weight))))
                net.layers[0].bias.copy_(torch.cat((bias, var.log())))
        return model


@pytest.mark.parametrize("kind", CONDITIONS)
def test_every_weight_under_the_exact_posterior_is_the_evidence(kind: str) -> None:
    spec = CONDITIONS[kind]
    for seed in range(3):
        exact = Closed(spec, seed)
        model = exact.fill(VAE(spec, M, MlpArchitecture([]), Gaussian, LabelConditional, conditional=True))
        x, y = 2 * torch.randn(B, D).double(), rows(spec)
        expected = exact.log_prob(x, standardised(spec, y))
        assert (model(x, y, 3).log_weight - expected).abs().max() < 1e-10
        assert (model.log_marginal(x, y, num_samples=2) - expected).abs().max() < 1e-10
        assert (exact.log_prob(x, y) - expected).abs().max() > 0.1 or not spec.numbers  # own units are another model


def test_a_vamp_prior_encodes_its_inputs_under_each_row() -> None:
    """And not under the column of its largest entry, as for labels."""
    spec = CONDITIONS["all"]
    model = VAE(
        spec, M, MlpArchitecture([6]), Gaussian, partial(VampPrior, num_components=3), conditional=True
    ).double()
    y = rows(spec)
    context = model.context(y)
    assert torch.allclose(context, standardised(spec, y))
    mixture = model.prior.links[0](None, context)
    inputs = model.prior.links[0].inputs
    for b in range(B):
        q = model.posterior.top(inputs, context[b].expand(3, -1))
        assert torch.allclose(mixture.component_distribution.mean[b], q.mean, atol=1e-12)


def test_a_vamp_prior_of_many_inputs_says_what_it_costs() -> None:
    options = {"prior": partial(VampPrior, num_components=101), "conditional": True}
    with pytest.warns(UserWarning, match="num_components=101: a VampPrior encodes all its inputs under the attributes"):
        VAE(CONDITIONS["attributes"], M, MlpArchitecture([6]), Gaussian, **options)
    VAE(DataSpec((D,), 3, "real"), M, MlpArchitecture([6]), Gaussian, **options)


def test_every_prior_and_part_reads_every_column() -> None:
    spec = CONDITIONS["all"]
    flow = partial(FlowPrior, transforms=1, widths=(4,))
    mixture, vamp = partial(MixtureOfGaussians, num_components=3), partial(VampPrior, num_components=3)
    for prior in (LabelConditional, mixture, vamp, flow):
        torch.manual_seed(0)
        model = VAE(spec, M, MlpArchitecture([6]), Gaussian, prior, conditional=True).double()
        y, x = rows(spec, 1), torch.randn(1, D).double()
        for column in range(3, spec.context_features):
            other = y.clone()
            other[:, column] = 1 - y[:, column]
            parts = (
                lambda c: model.prior.links[0](None, c).log_prob(torch.ones(M).double()),  # noqa: B023
                lambda c: model.posterior.top(x, c).mean,  # noqa: B023
                lambda c: model.likelihood(torch.zeros(1, M).double(), c).mean,  # noqa: B023
            )
            for part in parts:
                assert not torch.allclose(part(model.context(y)), part(model.context(other)))


def test_a_codebook_is_decoded_under_each_row() -> None:
    torch.manual_seed(0)
    spec = DataSpec((1, 8, 8), 0, "binary", attributes=("smiling",), numbers=("size", "x"), numbers_scaling=SCALING)
    model = VqVae(spec, 2, Bernoulli, num_codes=4, widths=(3, 4), blocks=(0, 1), conditional=True)
    y = torch.tensor([[1.0, 2.0, -0.5], [0.0, 2.0, -0.5], [1.0, 6.0, -0.5], [1.0, 2.0, -0.25]])
    images = model.decode([torch.zeros(4, 2, 2)], y).mean
    assert torch.pdist(images.flatten(1)).min() > 0
    assert model(torch.rand(4, 1, 8, 8).round(), y).elbo.isfinite().all()


ALL = CONDITIONS["all"]
GOOD = torch.tensor([[1.0, 0, 0, 1, 3.5, -0.5], [0, 1, 0, 0, 2.5, 0]])
COLUMNS = "its columns are cat, dog, cow, smiling, size, x"
BAD = [
    (None, f"y: this model is conditional, it needs labels y; {COLUMNS}"),
    ([[0.0] * 6], f"y: a list, must be a torch.Tensor of rows of floats; {COLUMNS}"),
    (GOOD[:, :5], f"y: shape (2, 5), must be (2, 6); {COLUMNS}"),
    (GOOD[0], "y: shape (6,), must be (2, 6)"),
    (torch.tensor([0, 1]), "y: shape (2,), must be (2, 6)"),
    (GOOD.long(), "y: dtype int64, must be floats; y.float() makes them"),
    (GOOD[:1], "y: 2 examples with 1 labels; give one row for each"),
    (GOOD + torch.tensor([[0.0] * 6, [0, 0, 0, 2, 0, 0]]), "y: 2 in row 1, column smiling: must be 0 or 1"),
    (GOOD * torch.tensor([1, 1, 1, 0.5, 1, 1]), "y: 0.5 in row 0, column smiling: must be 0 or 1"),
    (GOOD + torch.tensor([0, 0, 0, 0, float("nan"), 0]), "y: nan in row 0, column size: must be a finite number"),
    (GOOD + torch.tensor([0, 0, 0, 0, 0, float("inf")]), "y: inf in row 0, column x: must be a finite number"),
    (GOOD * torch.tensor([0.0, 1, 1, 1, 1, 1]), "y: row 0 has the classes none: must have 1 in one of the columns"),
    (GOOD + torch.tensor([[0.0] * 6, [0, 0, 1, 0, 0, 0]]), "y: row 1 has the classes dog, cow: must have 1 in one of"),
    (GOOD.to("meta"), "y: on meta, but the model is on cpu"),
]  # fmt: skip


@pytest.mark.parametrize(("y", "message"), BAD)
def test_other_rows_are_refused_by_row_and_column(y: object, message: str) -> None:
    model = VAE(ALL, M, MlpArchitecture([6]), Gaussian, conditional=True)
    x = torch.zeros(2, D)
    for call in (lambda: model(x, y), lambda: model.generate(2, y), lambda: model.encode(x, y)):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)) as caught:
            call()
        assert "\n" not in str(caught.value)
    model(x, GOOD)
    model(x, GOOD.double())


def test_a_row_without_a_batch_axis_gets_its_remedy() -> None:
    model = VAE(ALL, M, MlpArchitecture([6]), Gaussian, conditional=True)
    with pytest.raises(ValueError, match=re.escape("y[None] adds it")):
        model.generate(1, GOOD[0])


@pytest.mark.parametrize("kind", CONDITIONS)
def test_a_spec_comes_back_from_its_config(kind: str) -> None:
    spec = CONDITIONS[kind]
    assert DataSpec.from_plain(spec.plain()) == spec
    assert spec.vector_condition
    assert len(spec.context_names) == spec.context_features


WRONG_SPECS = [
    ({"attributes": "smiling"}, "attributes='smiling': a str, must be strings"),
    ({"attributes": ("a", "a")}, "attributes=a, a: the name a occurs twice"),
    ({"attributes": ("a",), "numbers": ("a",)}, "class_names, attributes and numbers=a, a: the name a occurs twice"),
    ({"numbers": ("a",), "numbers_scaling": SCALING}, "numbers_scaling: 2 columns for 1 numbers"),
    ({"numbers": ("a",), "numbers_scaling": Scaling((0.0,), (0.0,))}, "every scale must be above 0"),
    ({"numbers": ("a",), "numbers_range": ((0.0, float("nan")),)}, "must be finite"),
]


@pytest.mark.parametrize(("words", "message"), WRONG_SPECS)
def test_a_spec_refuses_what_no_data_have(words: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        DataSpec((D,), **words)


def test_data_with_other_conditions_are_refused_by_name() -> None:
    swapped = DataSpec((D,), 0, "real", numbers=("x", "size"))
    bare = DataSpec((D,), 3, "real", ("cat", "dog", "cow"))
    cases = (
        (ALL, bare, "the model was trained for the attributes smiling, but the data have none"),
        (bare, ALL, "the model was trained for data without attributes, but those of the data are smiling"),
        (CONDITIONS["numbers"], swapped, "numbers size, x, but those of the data are x, size"),
    )
    for model, data, message in cases:
        with pytest.raises(ValueError, match=re.escape(f"data: {message}" if "was" in message else message)):
            model.check_data(data, "data: ")
    ALL.check_data(ALL)
