from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from vae_lab.core import BottomUpPosterior, LatentVariableModel, MarkovChain
from vae_lab.distributions import Bernoulli, ConditionalDistribution, Gaussian, StandardNormal
from vae_lab.models import Ladder
from vae_lab.models.builders import image_likelihood, prior_chain
from vae_lab.networks import Architecture, ConvArchitecture, Mlp, MlpArchitecture, OneHot
from vae_lab.networks.context import join
from vae_lab.networks.mlp import ACTIVATIONS
from vae_lab.types import DataSpec

IMAGE, C = (2, 5, 7), 3
ARCHITECTURES: dict[str, Architecture] = {
    "mlp": MlpArchitecture([8, 6], "silu"),
    "mlp-linear": MlpArchitecture([]),
    "mlp-gated": MlpArchitecture([8, 6], "gated", "he"),
    "mlp-batch-norm": MlpArchitecture([8, 6], "leaky_relu", batch_norm=True),
    "conv": ConvArchitecture([4, 6], features=8),
    "conv-plain": ConvArchitecture([4], blocks=0, features=8),
}
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)
# The four networks of a model: image -> latent, latent -> latent above, latent -> image, latent -> latent below.
ROLES = {
    "image-encoder": ("encoder", IMAGE, (2, 4)),
    "latent-encoder": ("encoder", (5,), (2, 4)),
    "image-decoder": ("decoder", (4,), (2, *IMAGE)),
    "latent-decoder": ("decoder", (4,), (2, 5)),
}
every_role = pytest.mark.parametrize("role", ROLES)


def build(name: str, role: str, context_features: int) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    torch.manual_seed(0)
    direction, in_shape, out_shape = ROLES[role]
    net = getattr(ARCHITECTURES[name], direction)(in_shape, out_shape, context_features)
    return net.double().eval(), in_shape, out_shape


@every_role
@every_architecture
@pytest.mark.parametrize("context_features", [0, C])
def test_any_leading_dimensions_equal_one_call_for_each_example(name: str, role: str, context_features: int) -> None:
    net, in_shape, out_shape = build(name, role, context_features)
    given = torch.randn(3, 4, *in_shape, dtype=torch.float64)  # (K, B, ...)
    context = torch.randn(4, C, dtype=torch.float64) if context_features else None
    out = net(given, context)
    assert out.shape == (3, 4, *out_shape)
    for k in range(3):
        assert torch.allclose(net(given[k], context), out[k], atol=1e-12)
        for b in range(4):
            one = net(given[k, b : b + 1], None if context is None else context[b : b + 1])
            assert torch.allclose(one[0], out[k, b], atol=1e-12)


@every_role
@every_architecture
def test_context_and_input_change_the_output(name: str, role: str) -> None:
    net, in_shape, _ = build(name, role, C)
    given, context = torch.randn(1, *in_shape, dtype=torch.float64), OneHot(C).double()(torch.tensor([0]))
    other = OneHot(C).double()(torch.tensor([2]))
    out = net(given, context)
    assert not torch.allclose(net(given, other), out)
    assert not torch.allclose(net(given + 1, context), out)


@every_role
@every_architecture
def test_every_parameter_has_a_gradient(name: str, role: str) -> None:
    net, in_shape, _ = build(name, role, C)
    net(torch.randn(8, *in_shape).double(), torch.randn(8, C).double()).square().sum().backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@every_architecture
def test_examples_of_a_batch_do_not_see_each_other(name: str) -> None:
    """Outside training, also with batch normalisation: the bound of an example must not depend on its batch."""
    net, in_shape, _ = build(name, "image-encoder", 0)
    given = torch.randn(4, *in_shape, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(given)[1].sum(), given)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2, 3]].abs().sum() == 0


def first_in_last_out(net: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def test_an_mlp_decoder_mirrors_its_encoder() -> None:
    architecture = MlpArchitecture([8, 6])
    encoder = architecture.encoder(IMAGE, (2, 4), C)
    decoder = architecture.decoder((4,), (1, *IMAGE), C)
    pixels = math.prod(IMAGE)
    assert first_in_last_out(encoder) == [(pixels + C, 8), (8, 6), (6, 8)]
    assert first_in_last_out(decoder) == [(4 + C, 6), (6, 8), (8, pixels)]
    activations = [type(m) for m in decoder.layers if not isinstance(m, nn.Linear)]
    assert activations == [nn.ReLU] * 2  # none after the last layer


def test_a_conv_decoder_mirrors_its_encoder() -> None:
    architecture = ConvArchitecture([4, 6], features=8)
    encoder, decoder = architecture.encoder(IMAGE, (2, 4)), architecture.decoder((4,), (1, *IMAGE))

    def stages(net: nn.Module) -> list[tuple[int, int]]:
        convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
        return [(m.in_channels, m.out_channels) for m in convs if m.in_channels != m.out_channels]

    assert stages(encoder) == [(2, 4), (4, 6)]
    assert stages(decoder) == [(6, 4), (4, 2)]
    sizes: list[tuple[int, ...]] = []
    for net in (encoder, decoder):
        for module in net.modules():
            if isinstance(module, nn.Conv2d) and module.in_channels != module.out_channels:
                module.register_forward_hook(lambda m, args, out: sizes.append(tuple(out.shape[-2:])))
    decoder(encoder(torch.randn(1, *IMAGE))[:, 0])
    assert sizes == [(3, 4), (2, 2), (3, 4), (5, 7)]


@pytest.mark.parametrize("stages", [1, 3])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 1, 1), (2, 1, 6), (1, 3, 2), (3, 5, 7), (1, 28, 28), (2, 17, 11), (3, 33, 9), (1, 65, 33)]
)
def test_conv_networks_take_images_of_any_size_and_channels(shape: tuple[int, ...], stages: int) -> None:
    architecture = ConvArchitecture([3] * stages, features=4)
    encoder, decoder = architecture.encoder(shape, (2, 3), C), architecture.decoder((3,), (2, *shape), C)
    context = torch.randn(2, C)
    latent = encoder(torch.randn(2, *shape), context)
    assert latent.shape == (2, 2, 3)
    assert decoder(latent[:, 0], context).shape == (2, 2, *shape)


def test_a_conv_encoder_sees_every_pixel() -> None:
    encoder = ConvArchitecture([3, 3], features=4, activation="tanh").encoder((1, 9, 6), (2, 3)).double()
    image = torch.randn(1, 1, 9, 6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(image).sum(), image)
    assert (gradient != 0).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_those_named(activation: str) -> None:
    layers = MlpArchitecture([4], activation).encoder((3,), (2,)).layers
    assert type(layers[1]).__name__.lower() == activation.replace("_", "")


def test_a_gated_layer_is_a_product_of_units_and_gates() -> None:
    """h * sigmoid(g), each with weights of its own; the last layer has none."""
    net = MlpArchitecture([4, 5], "gated").encoder((3,), (2,)).double()
    first, second, last = (layer for layer in net.layers if isinstance(layer, nn.Linear))
    hidden = x = torch.randn(7, 3).double()
    for layer, width in ((first, 4), (second, 5)):
        weight, gate = layer.weight.split(width)
        bias, gate_bias = layer.bias.split(width)
        hidden = (hidden @ weight.T + bias) * torch.sigmoid(hidden @ gate.T + gate_bias)
    assert torch.allclose(net(x), last(hidden), atol=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "gated"])
def test_batch_normalisation_stands_between_a_layer_and_its_activation(activation: str) -> None:
    net = Mlp((3,), (2,), widths=[4, 4], activation=activation, batch_norm=True).double()
    kinds = [type(layer).__name__ for layer in net.layers]
    activated = {"tanh": "Tanh", "gated": "GLU"}[activation]
    assert kinds == [*["Linear", "BatchNorm1d", activated] * 2, "Linear"]
    assert [layer.bias is None for layer in net.layers if isinstance(layer, nn.Linear)] == [True, True, False]
    normalised: list[Tensor] = []
    for layer in net.layers:
        if isinstance(layer, nn.BatchNorm1d):
            layer.register_forward_hook(lambda module, args, out: normalised.append(out))
    x = 5 + 3 * torch.randn(20, 6, 3).double()  # (K, B, ...)
    whole = net(x)
    for out in normalised:  # over samples and examples together
        assert out.shape == (120, 4 if activation == "tanh" else 8)
        assert out.mean(0).abs().max() < 1e-10
        assert (out.var(0, correction=0) - 1).abs().max() < 1e-2  # but for the layer's epsilon
    assert not torch.allclose(net(x[:10]), whole[:10]), "in training a batch normalises itself"
    assert torch.allclose(net.eval()(x[:10]), net(x)[:10], atol=1e-12), "afterwards no example depends on the others"


def test_layers_between_the_levels_are_normalised_too() -> None:
    net, latent = (MlpArchitecture([8], "leaky_relu", batch_norm=norm) for norm in (False, True))
    ladder = Ladder(DataSpec((1, 3, 3), support="binary"), [4, 3, 2], [8, 7, 6], net, latent, Bernoulli)
    count = [sum(isinstance(m, nn.BatchNorm1d) for m in part.modules()) for part in ladder.children()]
    assert count == [2, 2, 0]  # prior, posterior, likelihood: a network for each level but the first


@pytest.mark.parametrize("fan", [(400, 100), (100, 400)])
def test_initializations_have_their_variance(fan: tuple[int, int]) -> None:
    """Glorot: 2 / (in + out). He: 2 / in. Both with biases of 0."""
    fan_in, fan_out = fan
    torch.manual_seed(1)
    for name, variance in (("glorot", 2 / (fan_in + fan_out)), ("he", 2 / fan_in)):
        layer = Mlp((fan_in,), (fan_out,), initialization=name).layers[0]
        weights = layer.weight.detach().flatten()
        error = weights.square().std() / len(weights) ** 0.5
        assert (weights.square().mean() - variance).abs() < 4.5 * error
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("build_wrong", "message"),
    [
        (lambda: Mlp((3,), (2,), widths=[0]), "0 units"),
        (lambda: Mlp((3,), (2,), widths=[4], activation="sine"), "activation=sine: choose one of relu"),
        (lambda: Mlp((3,), (2,), initialization="lecun"), "initialization=lecun: choose one of torch"),
        (
            lambda: ConvArchitecture([4], activation="gated").encoder(IMAGE, (2,)),
            "activation=gated: choose one of relu",
        ),
        (lambda: ConvArchitecture([]), r"channels=\[\]"),
        (lambda: ConvArchitecture([4, 0]), r"channels=\[4, 0\]"),
        (lambda: ConvArchitecture([4], blocks=-1), "blocks=-1"),
        (lambda: ConvArchitecture([4], features=0), "features=0"),
    ],
)
def test_wrong_sizes_are_refused_by_name(build_wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_wrong()


def test_one_hot_follows_the_model_and_stays_out_of_its_checkpoint() -> None:
    embed = OneHot(4).double()
    out = embed(torch.tensor([2, 0]))
    assert torch.equal(out, torch.tensor([[0, 0, 1, 0], [1, 0, 0, 0]], dtype=torch.float64))
    assert not embed.state_dict()


def test_join_puts_the_context_behind_every_sample() -> None:
    features, context = torch.randn(3, 4, 2), torch.randn(4, 5).double()
    joined: Tensor = join(features, context)
    assert joined.shape == (3, 4, 7)
    assert joined.dtype == features.dtype
    assert torch.equal(joined[..., :2], features)
    assert torch.equal(joined[..., 2:], context.float().expand(3, 4, 5))
    assert torch.equal(join(None, context), context)
    assert torch.equal(join(features, None), features)


@pytest.mark.parametrize(("start", "end"), [((4, 4), (7, 7)), ((13, 11), (7, 6)), ((7, 7), (28, 28)), ((5, 5), (5, 5))])
@pytest.mark.parametrize("context_features", [0, 3])
def test_between_grids_places_keep_their_neighbours(
    start: tuple[int, int], end: tuple[int, int], context_features: int
) -> None:
    """A fully connected layer between two levels of spatial latents would let every place act on every other one."""
    torch.manual_seed(0)
    architecture = ConvArchitecture([6], blocks=0)
    context = torch.randn(3, context_features).double() if context_features else None
    for build in (architecture.encoder, architecture.decoder):
        net = build((4, *start), (2, 5, *end), context_features).double()
        x = torch.randn(2, 3, 4, *start).double()
        before = net(x, context)
        assert before.shape == (2, 3, 2, 5, *end)
        x[..., 0, 0] += 1
        moved = (net(x, context) - before).abs().amax((0, 1, 2, 3))
        assert moved[0, 0] > 0
        far = end[0] - 1, end[1] - 1
        assert moved[far] == 0
        out = torch.randn(2, 5, *end).double()
        net.start_at(out)
        assert net(x, context).isfinite().all()
        if context is not None:
            assert (net(x, context + 1) != net(x, context)).all(-1).all(-1).any()


def test_a_hierarchy_of_grids_is_built_from_event_shapes() -> None:
    torch.manual_seed(0)
    spec, shapes = DataSpec((1, 28, 28), 3, "binary"), [(4, 7, 7), (2, 4, 4)]
    conv = ConvArchitecture([8, 8], blocks=1, features=16)
    heads = [Gaussian(shape) for shape in shapes]
    links = [
        ConditionalDistribution(conv.encoder(below, head.param_shape, 3), head)
        for below, head in zip([spec.shape, shapes[0]], heads, strict=True)
    ]
    model = LatentVariableModel(
        prior=prior_chain(shapes, 3, conv, StandardNormal),
        posterior=BottomUpPosterior(MarkovChain(links)),
        likelihood=image_likelihood(spec, shapes[0], 3, conv, Bernoulli),
        embed=OneHot(3),
        spec=spec,
    )
    assert sum(parameter.numel() for parameter in model.parameters()) < 20_000  # 904,000 by way of vectors
    x, y = torch.rand(5, 1, 28, 28).round(), torch.arange(5) % 3
    terms = model(x, y, num_samples=2)
    assert [level.z.shape[2:] for level in terms.levels] == shapes
    terms.elbo.mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.generate(5, y).mean.shape == model.reconstruct(x, y).mean.shape == (5, 1, 28, 28)
    assert [code.shape[1:] for code in model.encode(x, y)] == shapes


SHAPES = [(1, 7), (3, 100), (2, 1), (1, 9, 6), (3, 32, 128), (1, 5, 6, 7), (2, 8, 1, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_convolutions_read_and_write_signals_pictures_and_volumes(shape: tuple[int, ...]) -> None:
    conv = ConvArchitecture(channels=(4, 6), features=8)
    encoder, decoder = conv.encoder(shape, (2, 3), 5), conv.decoder((3,), (2, *shape), 5)
    x, context = torch.randn(7, 4, *shape), torch.randn(4, 5)
    raw = encoder(x, context)
    assert raw.shape == (7, 4, 2, 3)
    out = decoder(raw[..., 0, :], context)
    assert out.shape == (7, 4, 2, *shape)
    one = encoder(x[2, 3:], context[3:])
    assert torch.allclose(one[0], raw[2, 3], atol=1e-6)
    wanted = torch.arange(2.0 * shape[0]).reshape(2, shape[0])
    decoder.start_at(wanted.reshape(2, *shape[:1], *[1] * (len(shape) - 1)).expand(2, *shape))
    assert torch.allclose(next(reversed(list(decoder.parameters()))), wanted.flatten())


def test_a_convolution_of_a_signal_is_one_of_the_picture_of_one_row() -> None:
    """Returns the same, because rows beyond the only one are padding: the middle row of a kernel is all that counts."""
    conv = ConvArchitecture(channels=(4,), features=8)
    signal, picture = conv.encoder((2, 20), (3,)), conv.encoder((2, 1, 20), (3,))
    weights = picture.state_dict()
    signal.load_state_dict({key: w[..., 1, :] if w.dim() == 4 else w for key, w in weights.items()})
    x = torch.randn(5, 2, 20)
    assert torch.allclose(signal(x), picture(x[:, :, None]), atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [((2, 5), (3, 20)), ((2, 3, 4, 5), (1, 6, 8, 3))])
def test_convolutions_between_grids_of_other_dimensions(low: tuple[int, ...], high: tuple[int, ...]) -> None:
    conv = ConvArchitecture(channels=(4,), features=8)
    for start, end in ((low, high), (high, low)):
        between = conv.decoder(start, (2, *end))
        assert between(torch.randn(3, *start)).shape == (3, 2, *end)
        assert not any(isinstance(module, nn.Linear) for module in between.modules())  # places keep their neighbours


def test_a_table_is_refused_by_convolutions() -> None:
    spec, conv = DataSpec((13,), support="real"), ConvArchitecture(channels=(4,))
    with pytest.raises(ValueError, match=r"ConvArchitecture: needs signals, pictures or volumes, .* shape \(13,\)"):
        image_likelihood(spec, (2,), 0, conv, Gaussian)
