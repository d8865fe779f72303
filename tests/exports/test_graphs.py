"""Graphs compute what the model does, for any number of examples, in every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.distributions import Laplace as TorchLaplace

from tests.test_contract import build
from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.distributions import Bernoulli, DiscretizedLogistic, Gaussian
from vae_lab.distributions.flow import FlowGaussian, FlowPrior
from vae_lab.exports.conditions import condition_of
from vae_lab.exports.formats import FORMATS, traced
from vae_lab.exports.graphs import GRAPHS, Graph
from vae_lab.exports.parity import TOLERANCE, largest_error, relative_error
from vae_lab.models import VAE, VqVae
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec, Scaling

NETWORK = MlpArchitecture([12], "silu")
PICTURES = DataSpec((1, 6, 5), 3, "binary")
TABLE = DataSpec(
    (7,),
    2,
    "real",
    scaling=Scaling((100.0, 2, 3, 4, 0, 0, 0), (50.0, 0.5, 2, 3, 1, 1, 1)),
    categories=(3,),
    missing=True,
)


def contract(*key: str) -> Callable[[], LatentVariableModel]:
    return partial(build, *key)


ALL: dict[str, Callable[[], LatentVariableModel]] = {
    "vae": contract("vae", "conditional", "mlp", "bernoulli"),
    "conv": contract("vae", "vamp", "conv", "logistic"),
    "mixture": contract("vae", "conditional-mixture", "mlp", "logistic-mixture"),
    "mhvae": contract("mhvae-2", "rows-vamp", "mlp", "gaussian"),
    "ladder": contract("ladder-3", "label-prior", "mlp", "categorical"),
    "deep": contract("deep", "rows-mixture", "mlp", "gaussian-pixel"),
    "vq_vae": lambda: VqVae(
        DataSpec((1, 8, 8), 3, "binary"), 4, Bernoulli, num_codes=8, widths=[4, 5], blocks=[0, 1], conditional=True
    ),
    "table": lambda: VAE(TABLE, 4, NETWORK, Gaussian, conditional=True),
    "flow_prior": lambda: VAE(PICTURES, 4, NETWORK, Bernoulli, partial(FlowPrior, transforms=2), conditional=True),
    "flow_posterior": lambda: VAE(
        PICTURES, 4, NETWORK, Bernoulli, posterior=partial(FlowGaussian, transforms=1, kind="affine")
    ),
}
"""Every kind of model, of likelihood, of prior and of posterior."""


def model_of(name: str) -> LatentVariableModel:
    torch.manual_seed(0)
    return ALL[name]().eval()


@pytest.mark.parametrize(
    ("name", "graph", "inputs", "outputs"),
    [
        ("vae", "encode", "x classes", "mean_level_1 scale_level_1"),
        ("vae", "decode", "z_level_1 classes", "x_mean"),
        ("vae", "sample", "classes eps_level_1", "x_mean"),
        ("vae", "elbo", "x classes eps_level_1", "elbo log_likelihood kl log_weight"),
        (
            "mhvae",  # bottom-up: level 2 reads a sample of level 1
            "encode",
            "x classes attributes numbers eps_level_1",
            "mean_level_1 scale_level_1 mean_level_2 scale_level_2",
        ),
        ("mhvae", "decode", "z_level_1 classes attributes numbers", "x_mean x_scale"),
        ("mhvae", "sample", "classes attributes numbers eps_level_1 u_level_2 eps_level_2", "x_mean x_scale"),
        ("deep", "decode", "z_level_1 z_level_2 z_level_3 z_level_4", "x_mean x_scale"),  # reads every level
        ("vq_vae", "encode", "x", "z_level_1"),
        ("vq_vae", "sample", "classes u_level_1", "x_mean"),
        ("flow_posterior", "encode", "x eps_level_1", "z_level_1"),
        ("table", "elbo", "x classes eps_level_1", "elbo log_likelihood kl log_weight"),
    ],
)
def test_inputs_and_outputs_have_names(name: str, graph: str, inputs: str, outputs: str) -> None:
    found = Graph(graph, model_of(name))  # type: ignore[arg-type]
    conditions = {"classes", "attributes", "numbers"} - set(inputs.split())
    assert [each for each in found.example if each not in conditions] == inputs.split()
    assert list(found.outputs) == outputs.split()


def test_the_top_down_posterior_reads_the_noise_of_the_levels_above() -> None:
    found = Graph("encode", model_of("ladder"))
    assert list(found.example) == ["x", "classes", "eps_level_2", "eps_level_3"]
    shapes = [tuple(found.example[f"eps_level_{level}"].shape[1:]) for level in (2, 3)]
    assert shapes == [(4,), (3,)]


@pytest.mark.parametrize("name", [*ALL])
def test_graphs_compute_what_the_model_does(name: str) -> None:
    """Each by the method that a user of the model would call, with the same noise."""
    model = model_of(name).double()
    inputs = Graph("elbo", model).inputs(5, seed=3)
    x, y = inputs["x"], condition_of(model, inputs)
    with noise.fixed_seed(0, x.device), noise.recorded() as drawn:
        terms = model(x, y)
    eps = {name: draw.value[0] for name, draw in zip(Graph("elbo", model)._noise_names, drawn, strict=True)}
    found = Graph("elbo", model)(**{**inputs, **eps})
    for key in ("elbo", "log_likelihood", "kl", "log_weight"):
        expected = getattr(terms, key)
        torch.testing.assert_close(found[key], expected if key == "elbo" else expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found["elbo"], found["log_likelihood"] - found["kl"].sum(1), rtol=1e-12, atol=1e-12)

    z = model.sample_prior(5, y)
    given = {key: value for key, value in inputs.items() if key in ("classes", "attributes", "numbers")}
    codes = {f"z_level_{level}": code for level, code in enumerate(z, 1)}
    decode = Graph("decode", model)
    mean = decode(**{key: value for key, value in {**codes, **given}.items() if key in decode.example})["x_mean"]
    torch.testing.assert_close(mean, model.decode(z, y).mean, rtol=1e-12, atol=1e-12)


def test_the_units_are_those_of_the_data() -> None:
    """A number in a far column is near its mean, and moving x with its column's mean changes no density."""
    sample = Graph("sample", model_of("table"))
    means = sample(**sample.inputs(64, seed=0))["x_mean"]
    assert (means[:, 0] - 100).abs().max() < 100
    assert means[:, 4:].sum(1).allclose(torch.ones(64), atol=1e-5)


def test_zeros_as_noise_lead_through_the_means() -> None:
    model = model_of("mhvae")
    graph = Graph("encode", model)
    inputs = graph.inputs(5, seed=0)
    found = graph(**{**inputs, "eps_level_1": torch.zeros_like(inputs["eps_level_1"])})
    y = condition_of(model, inputs)
    level_2 = model.posterior.chain.links[1](found["mean_level_1"], model.context(y))
    torch.testing.assert_close(found["mean_level_2"], level_2.mean)


class Laplace(Gaussian):
    def build(self, params: Sequence[Tensor]) -> Distribution:
        return Independent(TorchLaplace(params[0], params[1].exp(), validate_args=False), 1, validate_args=False)


def test_a_model_that_draws_its_own_noise_is_refused() -> None:
    model = VAE(PICTURES, 4, NETWORK, Bernoulli, posterior=Laplace).eval()
    with pytest.raises(NotImplementedError, match=r"outside of vae_lab\.noise"):
        Graph("elbo", model)
    assert list(Graph("decode", model).example) == ["z_level_1"]


@pytest.mark.parametrize("graph", GRAPHS)
def test_an_exported_vae_is_the_model(graph: str, tmp_path: Path) -> None:
    check("vae", graph, "torch_export", tmp_path, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", [*ALL])
def test_every_model_likelihood_and_prior_is_exported(name: str, graph: str, tmp_path: Path) -> None:
    check(name, graph, "torch_export", tmp_path, 1e-6)
    if graph in ("sample", "elbo"):  # decode is the second half of one, encode the first half of the other
        check(name, graph, "onnx", tmp_path, 1e-5)


def check(name: str, graph: str, form: str, folder: Path, tolerance: float) -> None:
    of_model = Graph(graph, model_of(name))  # type: ignore[arg-type]
    FORMATS[form].write(traced(of_model), of_model, folder / "graph")  # type: ignore[index]
    assert largest_error(of_model, FORMATS[form].open(folder / "graph"), seed=0) <= tolerance  # type: ignore[index]


@pytest.mark.slow
def test_an_onnx_file_is_the_model_in_the_tails_of_a_logistic_too(tmp_path: Path) -> None:
    """Far from the mean log(sigmoid(x)), as ONNX has it by itself, would be minus infinity in float32."""
    import onnxruntime

    model = VAE(DataSpec((1, 2, 2), 3, "uint8"), 4, NETWORK, DiscretizedLogistic, conditional=True).eval()
    graph = Graph("elbo", model)
    with torch.no_grad():
        model.likelihood.net.layers[-1].bias.copy_(torch.tensor([-40.0] * 4 + [-6.0] * 4))
        inputs = {**graph.inputs(4, seed=0), "x": torch.ones(4, 1, 2, 2)}
        expected = graph(**inputs)
    FORMATS["onnx"].write(traced(graph), graph, tmp_path / "graph")
    assert expected["log_likelihood"].max() < -1e5
    assert relative_error(FORMATS["onnx"].open(tmp_path / "graph")(inputs), expected) < 1e-6
    session = onnxruntime.InferenceSession(tmp_path / "graph")
    shapes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    assert shapes["x"] == ["batch", 1, 2, 2]
    assert shapes["classes"] == shapes["elbo"] == ["batch"]
    assert (shapes["eps_level_1"], shapes["kl"]) == (["batch", 4], ["batch", 1])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["vae", pytest.param("mhvae", marks=pytest.mark.slow)])
def test_a_class_that_is_none_is_refused_in_every_format(name: str, form: str, tmp_path: Path) -> None:
    graph = Graph("decode", model_of(name))
    FORMATS[form].write(traced(graph), graph, tmp_path / "graph")  # type: ignore[index]
    run, inputs = FORMATS[form].open(tmp_path / "graph"), graph.inputs(3, seed=0)  # type: ignore[index]
    run(inputs)
    for wrong in (-1, graph.model.spec.num_classes):
        with pytest.raises(Exception, match=r"(?i)out of (data )?(range|bounds)"):
            run({**inputs, "classes": torch.tensor([0, wrong, 0])})


def one(**values: list[float]) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_errors_are_relative_to_the_outputs_of_the_same_unit() -> None:
    expected = one(elbo=[-100.0, -200.0], kl=[0.0, 1e-6], mean_level_1=[0.5, 1.0], mean_level_2=[1e-3, 0.0])
    assert relative_error(expected, expected) == 0
    assert relative_error({**expected, **one(kl=[0.0, 0.02])}, expected) == pytest.approx(1e-4, rel=1e-3)
    assert relative_error({**expected, **one(mean_level_2=[2e-3, 0.0])}, expected) == pytest.approx(1)
    for broken in (one(kl=[0.0]), one(kl=[0.0, float("nan")]), one(kl=[0.0, float("inf")])):
        assert relative_error({**expected, **broken}, expected) > TOLERANCE
    columns = {"x_mean": torch.tensor([[1000.0, 1e-3]]), "x_scale": torch.tensor([[10.0, 2e-3]])}
    other = {**columns, "x_mean": torch.tensor([[1000.0, 1.002e-3]])}
    assert relative_error(other, columns) == pytest.approx(1e-3, rel=1e-3), "each column has its own unit"
    assert relative_error({"elbo": expected["elbo"]}, expected) > TOLERANCE
    assert relative_error(one(elbo=[float("-inf")]), one(elbo=[float("-inf")])) == 0
    assert relative_error(one(elbo=[0.0]), one(elbo=[float("nan")])) > TOLERANCE
