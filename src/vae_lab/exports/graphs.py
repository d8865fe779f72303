"""Graphs: functions of a model whose inputs are named tensors, the noise included, so that any runtime computes them.

Each input and output has the batch along its first axis. ``eps_level_<l>`` is the standard normal noise of level l and
``u_level_<l>`` noise uniform in [0, 1), which chooses the component of a mixture or the entry of a codebook. Level 1 is
nearest the data.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.core.codes import code_of
from vae_lab.core.posterior import TopDownPosterior
from vae_lab.distributions.gaussian import is_diagonal_gaussian
from vae_lab.exports.conditions import condition_of, example_conditions

GraphName = Literal["encode", "decode", "sample", "elbo"]
GRAPHS: tuple[GraphName, ...] = get_args(GraphName)
Tensors = Mapping[str, Tensor]

_TRACED = 3
"""Examples that a graph is traced with; it serves any number."""


class Graph(nn.Module):
    """One function of a model: ``graph(x=..., eps_level_1=...)`` returns its outputs by name.

    Args:
        name: encode: the posterior of each level, its mean and scale or, if it is not Gaussian, a sample z; zeros as
            noise give the means of each level at the means of the others. decode: p(x|z) for codes of every level.
            sample: p(x|z) for z from the prior. elbo: the bound and its terms for one sample of the posterior, in
            nats per example; the logarithm of the mean of exp(log_weight) over draws of the noise estimates log p(x).
        model: model in evaluation mode with the ``spec`` of its data.
        seed: seed of the inputs that the graph is traced with.

    Raises:
        NotImplementedError: for a function that draws noise of its own, or that a distribution does not have.
    """

    def __init__(self, name: GraphName, model: LatentVariableModel, seed: int = 0) -> None:
        super().__init__()
        assert model.spec is not None
        self.name, self.model, self.spec = name, model, model.spec
        given, draws = self._recorded(_TRACED, seed)
        self._noise_names = _noise_names(draws, _order(name, model))
        every = self._named(given, draws)
        self._shapes = {key: value.shape[1:] for key, value in every.items()}
        self._dtype = next(model.parameters()).dtype
        unread = self._unread(every)
        self.example: Tensors = {key: value for key, value in every.items() if key not in unread}
        with torch.no_grad():
            self.example_outputs: Tensors = self(**self.example)
            again = self(**self.example)
        if not all(torch.equal(again[key], value) for key, value in self.example_outputs.items()):
            raise NotImplementedError("draws random numbers outside of vae_lab.noise, which cannot become inputs")

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        batch = next(iter(inputs.values())).shape[0]
        absent = {key: torch.zeros(batch, *shape, dtype=self._dtype) for key, shape in self._shapes.items()}
        every = {**absent, **inputs}
        values = [every[key] for key in self._noise_names]
        if self.name != "sample":
            values = [value[None] for value in values]  # one sample of the posterior
        with noise.given(values):
            return _FUNCTIONS[self.name](self.model, every, batch)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return tuple(self.example_outputs)

    def inputs(self, num: int, seed: int) -> Tensors:
        """Returns other inputs, of ``num`` examples: data that the model itself draws, codes of its prior, noise."""
        every = self._named(*self._recorded(num, seed))
        return {name: every[name] for name in self.example}

    @torch.no_grad()
    def _recorded(self, num: int, seed: int) -> tuple[dict[str, Tensor], list[noise.Draw]]:
        """Returns inputs of ``num`` examples without the noise, and the noise that the function draws for them."""
        with noise.fixed_seed(seed, torch.device("cpu")):
            given = _data(self.name, self.model, num)
            with noise.recorded() as draws:
                _FUNCTIONS[self.name](self.model, given, num)
        return given, draws

    def _named(self, given: Tensors, draws: Sequence[noise.Draw]) -> dict[str, Tensor]:
        values = [draw.value if self.name == "sample" else draw.value[0] for draw in draws]
        noises = dict(zip(self._noise_names, values, strict=True))
        return {**given, **{name: noises[name] for name in sorted(noises, key=_number)}}

    def _unread(self, inputs: Tensors) -> set[str]:
        """Returns the codes and the noise that no output depends on: of a Markov chain, say, the codes above z_1."""
        if self.model.discrete:
            return set()
        moved = {
            name: value.clone().requires_grad_()
            for name, value in inputs.items()
            if name.startswith(("z_level_", "eps_level_"))
        }
        outputs = self(**{**inputs, **moved}).values()
        total = sum(output.sum() for output in outputs if output.requires_grad)
        if not isinstance(total, Tensor) or not moved:
            return set()
        slopes = torch.autograd.grad(total, list(moved.values()), allow_unused=True)
        return {name for name, slope in zip(moved, slopes, strict=True) if slope is None}


class NamedGraph(nn.Module):
    """A graph whose forward has the inputs as named arguments, which `torch.export` reads."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.computed = graph  # a traced module has a `graph` of its own

        def forward(*values: Tensor, **named: Tensor) -> dict[str, Tensor]:
            outputs: dict[str, Tensor] = graph(**dict(zip(graph.example, values, strict=False)), **named)
            return outputs

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        vars(forward)["__signature__"] = inspect.Signature([inspect.Parameter(n, kind) for n in graph.example])
        self.forward = forward


def _encode(model: LatentVariableModel, inputs: Tensors, num: int) -> dict[str, Tensor]:
    y = condition_of(model, inputs)
    outputs: dict[str, Tensor] = {}
    for number, level in enumerate(model.infer(inputs["x"], model.context(y, check=False), 1), 1):
        if is_diagonal_gaussian(level.q):
            code = code_of(level)
            outputs |= {f"mean_level_{number}": code.mean, f"scale_level_{number}": code.scale}
        else:
            outputs[f"z_level_{number}"] = level.z[0]
    return outputs


def _decode(model: LatentVariableModel, inputs: Tensors, num: int) -> dict[str, Tensor]:
    z = [inputs[f"z_level_{level}"] for level in range(1, model.num_levels + 1)]
    context = model.context(condition_of(model, inputs), check=False)
    return _moments(model, model.observed(model.prior.follow(z[::-1], None, context).states[-1], context))


def _sample(model: LatentVariableModel, inputs: Tensors, num: int) -> dict[str, Tensor]:
    return _moments(model, model.generate(num, condition_of(model, inputs)))


def _elbo(model: LatentVariableModel, inputs: Tensors, num: int) -> dict[str, Tensor]:
    terms = model(inputs["x"], condition_of(model, inputs), 1)
    return {
        "elbo": terms.elbo,
        "log_likelihood": terms.log_likelihood[0],
        "kl": terms.kl[0],
        "log_weight": terms.log_weight[0],
    }


_FUNCTIONS: dict[GraphName, Callable[[LatentVariableModel, Tensors, int], dict[str, Tensor]]] = {
    "encode": _encode,
    "decode": _decode,
    "sample": _sample,
    "elbo": _elbo,
}


def _moments(model: LatentVariableModel, p: Distribution) -> dict[str, Tensor]:
    """Returns the mean of p(x|z) and, of a density, its standard deviation if it is known in closed form."""
    outputs, likelihood = {"x_mean": p.mean}, cast(Any, model.likelihood)
    if not likelihood.head.discrete:
        with contextlib.suppress(NotImplementedError):
            outputs["x_scale"] = p.variance.sqrt()
    return outputs


def _data(name: GraphName, model: LatentVariableModel, num: int) -> dict[str, Tensor]:
    """Returns the inputs of a graph that are not noise."""
    assert model.spec is not None
    given = example_conditions(model, num)
    y = condition_of(model, given)
    if name in ("encode", "elbo"):
        x = model.generate(num, y).sample()
        if model.spec.support != "real":  # which a density over grey values does not know
            x = x.clamp(0, 1)
        if model.spec.missing:
            x[torch.rand(num) < 0.5, 0] = torch.nan
        return {"x": x, **given}
    if name == "decode":
        codes = model.sample_prior(num, y)
        return {**{f"z_level_{level}": code for level, code in enumerate(codes, 1)}, **given}
    return given


def _order(name: GraphName, model: LatentVariableModel) -> Sequence[int]:
    """Returns the levels in the order in which their noise is drawn."""
    levels = range(1, model.num_levels + 1)
    return levels[::-1] if name == "sample" or isinstance(model.posterior, TopDownPosterior) else levels


def _noise_names(draws: Sequence[noise.Draw], order: Sequence[int]) -> list[str]:
    """Returns a name for each draw: one of each level, before which a mixture draws the component.

    A model of another kind has ``noise_1``, ``noise_2``, ... in the order in which it draws.
    """
    names, levels = [], iter(order)
    level = next(levels, 0)
    for number, draw in enumerate(draws):
        names.append(f"{'eps' if draw.kind == 'normal' else 'u'}_level_{level}")
        if draw.kind == "normal" or number + 1 == len(draws) or draws[number + 1].kind == "uniform":
            level = next(levels, 0)
    if 0 in map(_number, names):
        return [f"noise_{number}" for number in range(1, len(draws) + 1)]
    return names


def _number(name: str) -> int:
    return int(name.rpartition("_")[2])
