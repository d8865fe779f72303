"""The VampPrior is the mixture of the model's own posteriors, in every kind of model."""

from __future__ import annotations

import copy
import io
import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_lab.core import LatentVariableModel
from vae_lab.core import model as model_module
from vae_lab.distributions import Bernoulli, Gaussian, VampPrior
from vae_lab.models import MHVAE, VAE, Ladder
from vae_lab.networks import MlpArchitecture
from vae_lab.types import DataSpec

M, D, B, CLASSES = 5, 3, 6, 4
SPEC = DataSpec((1, 3, 3), CLASSES, "binary")
NET, LATENT = MlpArchitecture([8], "gated"), MlpArchitecture([7], "tanh")
MODELS = {
    "vae": lambda spec, **more: VAE(spec, D, NET, **more),
    "mhvae-1": lambda spec, **more: MHVAE(spec, [D], NET, LATENT, **more),
    "mhvae-3": lambda spec, **more: MHVAE(spec, [6, 4, D], NET, LATENT, **more),
    "ladder-1": lambda spec, **more: Ladder(spec, [D], [7], NET, LATENT, **more),
    "ladder-3": lambda spec, **more: Ladder(spec, [6, 4, D], [8, 7, 6], NET, LATENT, **more),
}
every_model = pytest.mark.parametrize("name", MODELS)
with_and_without_labels = pytest.mark.parametrize("conditional", [False, True])


def build(name: str, conditional: bool = False, num_components: int = M, spec: DataSpec = SPEC) -> LatentVariableModel:
    torch.manual_seed(0)
    likelihood = Gaussian if spec.support == "real" else Bernoulli
    prior = partial(VampPrior, num_components=num_components)
    return MODELS[name](spec, likelihood=likelihood, prior=prior, conditional=conditional).double()


def inputs_of(model: LatentVariableModel) -> Tensor:
    return model.prior.links[0].inputs


def batch(model: LatentVariableModel) -> tuple[Tensor, Tensor | None]:
    torch.manual_seed(1)
    return torch.rand(B, *SPEC.shape).round().double(), torch.arange(B) % CLASSES if model.conditional else None


def top_posterior(model: LatentVariableModel, given: Tensor, context: Tensor | None) -> Distribution:
    """q(z_L | given, context), from a whole pass where the top level reads images."""
    if isinstance(model, MHVAE) and model.num_levels > 1:
        return model.posterior.chain.links[-1](given, context)
    return model.posterior(given, context, model.prior, 1)[-1].q


@with_and_without_labels
@every_model
def test_the_density_is_the_mean_over_the_posteriors_of_the_inputs(name: str, conditional: bool) -> None:
    model = build(name, conditional)
    _, y = batch(model)
    context = model.context(y)
    prior = model.prior.links[0](None, context)
    assert prior.batch_shape == (() if context is None else (B,))
    z = torch.randn(7, B, D).double()
    log_prob = prior.log_prob(z)
    for b in range(B):
        mine = None if context is None else context[b].expand(M, -1)
        q = top_posterior(model, inputs_of(model), mine)
        expected = q.log_prob(z[:, b, None]).logsumexp(-1) - math.log(M)
        assert torch.allclose(log_prob[:, b], expected, rtol=0, atol=1e-12)


@with_and_without_labels
@pytest.mark.parametrize("name", [name for name in MODELS if name != "mhvae-3"])  # there z_{L-1} is random
def test_with_an_example_as_the_only_input_its_top_level_costs_nothing(name: str, conditional: bool) -> None:
    model = build(name, conditional, num_components=1)
    x, y = batch(model)
    with torch.no_grad():
        inputs_of(model).copy_(x[:1])
    kl = model(x, y, 3).levels[-1].kl
    assert kl[:, 0].abs().max() < 1e-12
    others = slice(CLASSES, CLASSES + 1) if conditional else slice(1, None)  # the prior of its label is its posterior
    assert kl[:, others].abs().min() > 1e-6


def test_with_all_examples_as_inputs_it_is_the_aggregate_posterior() -> None:
    """Then the KL is at most log N, whatever the posterior."""
    model = build("vae", num_components=B)
    x, _ = batch(model)
    with torch.no_grad():
        inputs_of(model).copy_(x)
        terms = model(x, None, 1000)
    assert terms.kl.max() < math.log(B)
    assert terms.kl.mean() > 0


@every_model
def test_inputs_are_images_between_0_and_1_or_latents_that_are_any_numbers(name: str) -> None:
    seen: list[Tensor] = []
    for spec in (SPEC, DataSpec(SPEC.shape, 0, "real")):
        model = build(name, spec=spec)
        images = name != "mhvae-3"
        assert inputs_of(model).shape == (M, *(SPEC.shape if images else (4,)))
        start = inputs_of(model)
        assert not images or spec.support == "real" or ((start > 0) & (start < 1)).all(), "a clamped input cannot learn"
        top = model.prior.links[0].encode
        model.prior.links[0].encode = lambda u, c, top=top: (seen.append(u), top(u, c))[1]
        with torch.no_grad():
            inputs_of(model).mul_(100).sub_(50)
            model.prior.links[0]()
        limits = (0, 1) if images and spec.support != "real" else (start.min(), start.max())
        assert (seen[-1].min(), seen[-1].max()) == limits


@with_and_without_labels
@every_model
def test_the_loss_moves_the_inputs_and_its_gradient_is_that_of_the_definition(name: str, conditional: bool) -> None:
    model = build(name, conditional)
    x, y = batch(model)
    torch.manual_seed(2)
    model(x, y, 2).elbo.sum().backward()
    gradient = inputs_of(model).grad
    assert (gradient.flatten(1).abs().sum(1) > 0).all()

    step = torch.zeros_like(gradient)
    step[2].flatten()[1] = 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            inputs_of(model).add_(sign * step)
            torch.manual_seed(2)
            values.append(model(x, y, 2).elbo.sum())
            inputs_of(model).sub_(sign * step)
    assert torch.allclose((values[0] - values[1]) / 2e-5, gradient[2].flatten()[1], rtol=1e-4, atol=1e-9)


# Whose parameters are they?


@every_model
def test_every_tensor_is_in_the_checkpoint_once(name: str) -> None:
    model = build(name)
    state = model.state_dict()
    assert [key for key in state if key.startswith("prior.links.0.")] == ["prior.links.0.inputs"]
    places = [tensor.data_ptr() for tensor in state.values() if tensor.numel()]
    assert len(places) == len(set(places))
    assert len(list(model.parameters())) == len(list(model.named_parameters(remove_duplicate=False)))


@every_model
def test_a_copy_has_a_posterior_and_a_prior_of_its_own(name: str) -> None:
    model = build(name)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    x, _ = batch(model)

    def number(of: LatentVariableModel) -> Tensor:
        torch.manual_seed(3)
        return of(x).elbo

    before = number(model)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(number(twin), before)
        density = twin.prior.links[0]().mean
        with torch.no_grad():
            for parameter in twin.posterior.parameters():
                parameter.add_(0.1)
        assert not torch.equal(twin.prior.links[0]().mean, density), "its prior follows its own posterior"
        assert torch.equal(number(model), before), "and leaves the original's alone"


def test_it_follows_the_precision_of_the_model() -> None:
    model = build("ladder-3", conditional=True).float()
    x, y = batch(model)
    assert model(x.float(), y).levels[-1].p.mean.dtype == torch.float32


# Memory and cost.


@with_and_without_labels
@every_model
def test_inputs_are_encoded_once_in_a_pass_under_each_label(name: str, conditional: bool) -> None:
    model = build(name, conditional)
    rows: list[int] = []
    top = model.posterior.evidence[-1] if isinstance(model, Ladder) else model.posterior.chain.links[-1]
    event = inputs_of(model)[0].dim() if not isinstance(model, Ladder) else 1
    top.net.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape[:-event].numel()))
    model(*batch(model), num_samples=3).elbo.sum()
    assert len(rows) == 2, "once the data, once the inputs"
    assert rows[1] == M * (CLASSES if conditional else 1)


def test_log_marginal_counts_the_components_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("vae", num_components=50)  # more than the 9 pixels
    x, _ = batch(model)
    asked: list[int] = []
    model.posterior.register_forward_pre_hook(lambda module, args: asked.append(args[-1]))
    monkeypatch.setattr(model_module, "_MARGINAL_BUDGET", 4 * 50 * B)
    torch.manual_seed(4)
    estimate = model.log_marginal(x, None, 10)
    assert asked == [4, 4, 2]
    torch.manual_seed(4)
    assert torch.allclose(estimate, model.log_marginal(x, None, 10, chunk=10), atol=1e-12)


# Mistakes.


def test_a_model_that_does_not_share_its_posterior_is_named() -> None:
    with pytest.raises(ValueError, match=r"VampPrior: has no posterior yet; `attach`"):
        VampPrior((D,))()
    with pytest.raises(ValueError, match=r"^num_components=0: must be at least 1"):
        VampPrior((D,), num_components=0)


@every_model
def test_batch_normalisation_would_mix_data_and_inputs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "NET", MlpArchitecture([8], batch_norm=True))
    with pytest.raises(ValueError, match=r"VampPrior.*batch_norm=False"):
        build(name)


def test_any_context_has_the_mixture_of_its_own() -> None:
    """Not that of its largest entry: contexts need not be one-hot."""
    torch.manual_seed(0)
    model = VAE(
        DataSpec((1, 4, 4), 3, "binary"),
        2,
        MlpArchitecture([5]),
        Bernoulli,
        partial(VampPrior, num_components=4),
        conditional=True,
    )
    prior, contexts = model.prior.links[0], torch.randn(6, 3)
    prior.one_hot = False
    for context in (contexts, contexts.reshape(2, 3, 3), contexts[0]):
        mixture = prior(None, context)
        assert mixture.batch_shape == context.shape[:-1]
        rows = context.reshape(-1, 3)
        means = mixture.component_distribution.mean.reshape(len(rows), *mixture.component_distribution.mean.shape[-2:])
        for row, mean in zip(rows, means, strict=True):
            q = model.posterior.top(prior.inputs.clamp(0, 1), row.expand(len(prior.inputs), 3))
            torch.testing.assert_close(mean, q.mean)
    labels = torch.eye(3)
    general = prior(None, labels).component_distribution.mean
    prior.one_hot = True
    torch.testing.assert_close(prior(None, labels).component_distribution.mean, general)
