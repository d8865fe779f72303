from __future__ import annotations

import math

import pytest
import torch
from residual_gaussian import ResidualGaussian
from torch import Tensor, nn

from vae_lab.core import LatentVariableModel, RelativePosterior
from vae_lab.distributions import Bernoulli, Gaussian
from vae_lab.distributions.gaussian import diagonal_gaussian, relative_gaussian
from vae_lab.models import Deep
from vae_lab.networks.spatial import Grid, Shrink, StateToPicture
from vae_lab.types import DataSpec

PICTURE = (1, 12, 12)
SPEC = DataSpec(PICTURE, 3, "binary")


def deep(spec: DataSpec = SPEC, **options: object) -> Deep:
    torch.manual_seed(0)
    sizes = {"levels": [1, 2], "channels": [2, 3], "widths": [4, 6], "blocks": [1, 1], "top_width": 8}
    return Deep(spec, 5, Bernoulli, **(sizes | options))


def grown(model: Deep) -> Deep:
    """Away from the start, where no level matters yet."""
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return model


class Exact(nn.Module):
    """The exact posterior of `ResidualGaussian`, told as a change of the prior of link ``i``."""

    def __init__(self, exact: ResidualGaussian, i: int) -> None:
        super().__init__()
        self.exact, self.i = exact, i
        self.link = exact.model().prior.links[i]

    def read(self, features: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return features

    def forward(self, seen: tuple[Tensor, Tensor], state: Tensor | None) -> Tensor:
        p = self.link(seen[1] if state is None else state)
        q = self.exact.model().posterior.infer(self.i, seen, p, state)
        move = (q.base_dist.loc - p.base_dist.loc) / p.base_dist.scale
        return torch.stack((move, (q.base_dist.scale / p.base_dist.scale).log()), dim=-2)


class Top(Exact):
    def forward(self, seen: tuple[Tensor, Tensor], context: Tensor | None) -> torch.distributions.Distribution:
        return relative_gaussian(self.link(None, context), super().forward(seen, None))


@pytest.mark.parametrize("num_levels", [1, 2, 4])
def test_a_posterior_told_as_a_change_of_the_prior_is_exact(num_levels: int) -> None:
    numbers = ResidualGaussian(0, num_levels)
    model = numbers.model()

    class Upward(nn.Module):
        def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
            return [model.posterior.observe(x, None)[0]]

    changes = [Exact(numbers, i) for i in reversed(range(1, num_levels))]
    posterior = RelativePosterior(Upward(), [0] * len(changes), Top(numbers, 0), changes)
    x, _ = numbers.examples(4)
    terms = LatentVariableModel(model.prior, posterior, model.likelihood)(x, None, 30)
    assert (terms.log_weight - numbers.log_prob(x, None)).abs().max() < 1e-10


def test_no_change_is_the_prior() -> None:
    p = diagonal_gaussian(torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4) + 0.1, 3)
    q = relative_gaussian(p, torch.zeros(3, 2, 2, 4, 4))
    assert torch.equal(q.mean, p.mean)
    assert torch.equal(q.stddev, p.stddev)
    moved = relative_gaussian(p, torch.full((3, 2, 2, 4, 4), math.log(2)))
    torch.testing.assert_close(moved.stddev, 2 * p.stddev)
    torch.testing.assert_close(moved.mean, p.mean + math.log(2) * p.stddev)


@pytest.mark.parametrize("conditional", [False, True])
def test_no_level_costs_anything_at_the_start(conditional: bool) -> None:
    model = deep(conditional=conditional)
    x = torch.bernoulli(torch.full((7, *PICTURE), 0.5))
    terms = model(x, torch.arange(7) % 3 if conditional else None)
    assert terms.kl.abs().max() < 0.02, "in nats"


def test_every_level_reads_all_levels_above_and_so_does_the_picture() -> None:
    model = grown(deep())
    with torch.no_grad():
        z = model.sample_prior(3)[::-1]
        before = model.prior.follow(z)
        for i in range(len(z)):
            after = model.prior.follow([*z[:i], z[i] + 1, *z[i + 1 :]])
            pairs = zip(before.conditionals, after.conditionals, strict=True)
            assert [not torch.equal(a.mean, b.mean) for a, b in pairs] == [j > i for j in range(len(z))]
            assert not torch.equal(model.likelihood(before.states[-1]).mean, model.likelihood(after.states[-1]).mean)


def test_the_label_reaches_the_prior_of_every_level_but_the_top_and_the_posterior() -> None:
    model = grown(deep(conditional=True))
    with torch.no_grad():
        x, y = torch.bernoulli(torch.full((1, *PICTURE), 0.5)), torch.tensor([0])
        torch.manual_seed(0)
        one = model(x, y).levels
        torch.manual_seed(0)
        other = model(x, y + 1).levels
    assert [not torch.equal(a.p.mean, b.p.mean) for a, b in zip(one, other, strict=True)] == [True, True, True, False]
    assert all(not torch.equal(a.q.mean, b.q.mean) for a, b in zip(one, other, strict=True))


def test_generated_from_given_codes_it_is_what_they_decode_to() -> None:
    model = deep()
    torch.manual_seed(1)
    generated = model.generate(4).mean
    torch.manual_seed(1)
    assert torch.equal(model.decode(model.sample_prior(4)).mean, generated)
    codes = model.encode(torch.bernoulli(torch.full((2, *PICTURE), 0.5)))
    assert [tuple(code.shape) for code in codes] == [(2, 2, 6, 6), (2, 3, 3, 3), (2, 3, 3, 3), (2, 5)]
    assert model.level_groups == ("grid_6x6", "grid_3x3", "grid_3x3", "top")
    assert model.decode(codes[2:]).mean.shape == (2, *PICTURE)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 27, 35), (2, 9, 64), (1, 3, 3)])
@pytest.mark.parametrize("stem", [1, 2, 4])
def test_pictures_of_any_size(shape: tuple[int, int, int], stem: int) -> None:
    model = deep(DataSpec(shape, 0, "binary"), stem=stem)
    x = torch.bernoulli(torch.full((2, *shape), 0.5))
    model(x).elbo.sum().backward()
    assert model.generate(3).mean.shape == (3, *shape)
    assert model.reconstruct(x).mean.shape == (2, *shape)


def test_the_decoder_starts_at_the_mean_of_every_pixel() -> None:
    model = deep()
    mean = torch.rand(PICTURE)
    model.likelihood.start_at(mean)
    torch.testing.assert_close(model.generate(1).mean[0], mean, atol=0.01, rtol=0)
    scaled = StateToPicture(Grid(4, 6, 6, 2), Gaussian(PICTURE).param_shape)
    scaled.start_at(Gaussian(PICTURE).raw_of_mean(mean))
    torch.testing.assert_close(scaled(torch.zeros(4, 6, 6))[0], mean, atol=0.01, rtol=0)


@pytest.mark.parametrize(("length", "factor"), [(28, 2), (7, 2), (9, 4), (5, 1), (10, 3)])
def test_a_grid_is_the_rounded_up_part_of_the_one_below(length: int, factor: int) -> None:
    above = math.ceil(length / factor)
    shrink = Shrink((1, length, length), Grid(2, above, above, factor))
    assert shrink(torch.zeros(1, 1, length, length)).shape == (1, 2, above, above)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": []}, "one number for each grid"),
        ({"widths": [4]}, "one number for each grid"),
        ({"levels": [1, 0]}, r"levels=\[1, 0\]: must be at least 1"),
        ({"blocks": [-1, 1]}, r"blocks=\[-1, 1\]: must be at least 0"),
        ({"stem": 0}, "stem=0: must be at least 1"),
        ({"spec": DataSpec((784,), 0, "binary")}, "needs pictures"),
    ],
)
def test_sizes_that_make_no_model_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deep(**options)


def test_recomputed_blocks_have_the_same_gradient_and_keep_less() -> None:
    x = torch.bernoulli(torch.full((4, *PICTURE), 0.5))
    gradients, kept = [], []
    for recomputed in (False, True):
        model, storages = deep(checkpoint_blocks=recomputed), {}

        def keep(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model(x).elbo.sum()
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
        kept.append(sum(storages.values()))
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert kept[1] < kept[0]


def test_the_layout_of_the_weights_changes_nothing_but_rounding() -> None:
    x = torch.bernoulli(torch.full((4, *PICTURE), 0.5))
    elbos, weights = [], grown(deep()).state_dict()
    for memory_format in ("channels_last", "contiguous"):
        model = deep(memory_format=memory_format)
        model.load_state_dict(weights)
        torch.manual_seed(1)
        elbos.append(model(x).elbo)
    torch.testing.assert_close(*elbos)
