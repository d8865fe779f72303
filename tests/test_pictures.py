"""Properties of the pictures: what stands where, the same each time, and nothing else touched."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from vae_lab.core import BottomUpPosterior, LatentVariableModel, MarkovChain
from vae_lab.distributions import Bernoulli, LabelConditional, MixtureOfGaussians, StandardNormal, VampPrior
from vae_lab.models import MHVAE, VAE, Deep, Ladder
from vae_lab.networks import MlpArchitecture, OneHot
from vae_lab.pictures import (
    Album,
    Sheet,
    code_scatter,
    codes,
    decode,
    image_grid,
    interpolations,
    kl_by_level,
    manifold,
    progressive,
    reconstructions,
    redrawn,
    samples,
    samples_by_class,
    save_arrays,
    save_picture,
    traversals,
    traversals_by_factor,
)
from vae_lab.pictures.grid import PADDING, PADDING_GREY, displayable
from vae_lab.pictures.latents import evaluation_mode
from vae_lab.pictures.levels import groups, most_used_levels
from vae_lab.pictures.reconstructions import pairs
from vae_lab.pictures.samples import class_rows
from vae_lab.pictures.sheet import MAX_ROWS
from vae_lab.pictures.traversals import STEPS
from vae_lab.types import Batch, DataSpec

SIDE = 64
NET = MlpArchitecture([8])
SPEC = DataSpec((1, 4, 4), 3, "binary")
VAMP = partial(VampPrior, num_components=5)


def vae(latent_dim: int = 4, spec: DataSpec = SPEC, prior=StandardNormal, conditional: bool = False) -> VAE:
    torch.manual_seed(1)
    return VAE(spec, latent_dim, NET, Bernoulli, prior, conditional)


DEEP = {"levels": [1, 2], "channels": [1, 2], "widths": [3, 4], "blocks": [0, 1], "top_width": 5}


def every_model() -> dict[str, LatentVariableModel]:
    torch.manual_seed(1)
    return {
        "vae": vae(),
        "cvae": vae(2, conditional=True),
        "label prior": vae(2, prior=LabelConditional, conditional=True),
        "mhvae": MHVAE(SPEC, [4, 3, 2], NET, NET, Bernoulli),
        "conditional mhvae": MHVAE(SPEC, [4, 2], NET, NET, Bernoulli, conditional=True),
        "ladder": Ladder(SPEC, [4, 3], [8, 8], NET, NET, Bernoulli),
        "deep": Deep(SPEC, 3, Bernoulli, **DEEP),
        "conditional deep": Deep(SPEC, 2, Bernoulli, **DEEP, conditional=True, prior=LabelConditional),
        "mixture": vae(2, prior=MixtureOfGaussians),
        "conditional mixture": vae(2, prior=MixtureOfGaussians, conditional=True),
        "vamp": vae(2, prior=VAMP),
        "vamp mhvae": MHVAE(SPEC, [4, 2], NET, NET, Bernoulli, VAMP, conditional=True),
        "vamp ladder": Ladder(SPEC, [4, 2], [8, 8], NET, NET, Bernoulli, VAMP, conditional=True),
    }


def examples(num: int = 12, spec: DataSpec = SPEC) -> Batch:
    noise = torch.Generator().manual_seed(3)
    return Batch(torch.rand(num, *spec.shape, generator=noise).round(), torch.arange(num) % max(1, spec.num_classes))


def tiles(picture: Tensor, rows: int, columns: int, height: int = SIDE, width: int = SIDE) -> Tensor:
    """The grid cut up again, (rows, columns, 3, height, width); margins with labels are on the left and on top."""
    down, across = height + PADDING, width + PADDING
    grid = picture[:, -(rows * down + PADDING) :, -(columns * across + PADDING) :]
    cells = grid[:, PADDING:, PADDING:].unfold(1, height, down).unfold(2, width, across)
    return cells.permute(1, 2, 0, 3, 4)


def levels(picture: Tensor, rows: int, columns: int) -> Tensor:
    """The grey level of each tile of a one-pixel model, (rows, columns)."""
    return tiles(picture, rows, columns).mean((2, 3, 4))


def without_note(sheet: Sheet) -> Tensor:
    """The picture of a sheet without the line below it, so that `tiles` finds its images."""
    return replace(sheet, note="").draw()


class Diagonal(nn.Module):
    """N(loc, scale^2), the same for every input and context, in the batch shape that they have."""

    def __init__(self, loc: list[float], scale: list[float]) -> None:
        super().__init__()
        self.register_buffer("loc", torch.tensor(loc))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, given: Tensor | None, context: Tensor | None = None) -> Independent:
        like = context if given is None else given.flatten(-3) if given.dim() > 3 else given
        batch = () if like is None else like.shape[:-1]
        loc = self.loc.expand(*batch, -1)
        return Independent(Normal(loc, self.scale.expand_as(loc)), 1)


class Copy(nn.Module):
    """Mean = weight * given + label * step, of one event dimension more than a vector has: a 1 x 1 image of z[0]."""

    def __init__(self, scale: float = 0.1, step: float = 0.0) -> None:
        super().__init__()
        self.scale, self.step = scale, step

    def forward(self, given: Tensor, context: Tensor | None = None) -> Independent:
        mean = 0.5 + self.scale * given[..., :1]
        if context is not None:
            mean = mean + self.step * context.argmax(-1, keepdim=True)
        return Independent(Normal(mean[..., None, None], torch.ones_like(mean[..., None, None])), 3)


def pixel_model(
    q: Diagonal, p: nn.Module, num_classes: int = 0, scale: float = 0.1, step: float = 0.0
) -> LatentVariableModel:
    """A model of 1 x 1 images whose pixel shows z[0], and the label where there are classes."""
    embed = OneHot(num_classes) if num_classes else None
    return LatentVariableModel(MarkovChain([p]), BottomUpPosterior(MarkovChain([q])), Copy(scale, step), embed)


# --- all pictures


FURTHER = ("vamp mhvae", "vamp ladder", "conditional mixture", "conditional deep")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in FURTHER else []) for name in every_model()]
)
def test_every_picture_is_an_image_and_the_same_each_time(name: str) -> None:
    model = every_model()[name]
    album = Album(examples(), SPEC.num_classes, num_samples=9, num_reconstructions=4, num_interpolations=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = dict(album.full(model))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = dict(album.full(model))
    for tag, picture in first.items():
        assert picture.shape[0] == 3
        assert picture.dtype == torch.float32
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert picture.std() > 0.01, f"{tag} is all of one grey"
        assert torch.equal(picture, second[tag]), tag


def test_which_pictures_suit_which_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sheet, "draw", lambda *_: torch.zeros(3, 1, 1))  # the test above looks at what they show
    models, shown = every_model(), ("vae", "cvae", "mhvae", "conditional mhvae")
    tags = {name: [tag for tag, _ in Album(examples(), 3).full(models[name])] for name in shown}
    usual = ["samples", "reconstructions"]
    assert tags["vae"] == [*usual, "traversals", "interpolations"]
    assert tags["cvae"] == [
        *usual,
        "samples_by_class",
        *(f"traversals/class_{y}" for y in range(3)),
        "interpolations",
        "codes",
        *(f"manifold/class_{y}" for y in range(3)),
    ]
    assert tags["mhvae"] == [
        *usual,
        "progressive",
        "levels",
        "kl_by_level",
        *(f"traversals/level_{i}" for i in (1, 2, 3)),
        "interpolations",
        "codes",
        "manifold",
    ]
    assert [tag for tag in tags["conditional mhvae"] if "traversals" in tag] == [
        f"traversals/level_{level}/class_{y}" for level in (1, 2) for y in range(3)
    ]


def test_drawing_leaves_each_part_in_its_mode() -> None:
    model = vae().train()
    model.likelihood.eval()
    modes = [module.training for module in model.modules()]
    seen = []
    model.posterior.register_forward_pre_hook(
        lambda module, args: seen.append((module.training, torch.is_grad_enabled()))
    )
    reconstructions(model, examples())
    assert seen == [(False, False)]
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(ZeroDivisionError), evaluation_mode(model, 0):
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 11), (3, 5, 9), (1, 1, 1), (1, 70, 33)])
def test_any_size_and_number_of_channels(shape: tuple[int, int, int]) -> None:
    model, batch = vae(2, DataSpec(shape, 0, "binary")), examples(5, DataSpec(shape))._replace(y=None)
    shown = displayable(batch.x)
    assert shown.shape[1] == (3 if shape[0] == 3 else 1)
    assert shown.shape[2] * shape[2] == shown.shape[3] * shape[1], "stretched"
    assert max(shown.shape[2:]) >= 43, "minute"
    channel = slice(None) if shape[0] == 3 else slice(1)
    factor = shown.shape[2] // shape[1]
    assert torch.equal(shown[:, :, ::factor, ::factor], batch.x[:, channel])
    assert len(dict(Album(batch).full(model))) == 6
    picture = reconstructions(model, batch).draw()
    assert torch.equal(tiles(picture, 2, 5, *shown.shape[2:])[0], shown.expand(-1, 3, -1, -1))


def test_data_that_are_no_images_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"shape \(1 or 3 channels, height, width\), these have \(7,\)"):
        image_grid(torch.zeros(2, 7), 2)


def test_a_model_that_has_diverged_is_shown_black() -> None:
    assert displayable(torch.full((1, 1, 2, 2), float("nan"))).unique().tolist() == [0.0]
    assert displayable(torch.tensor([-3.0, 0.25, 7.0]).reshape(1, 1, 1, 3)).unique().tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("columns", [1, 3, 10, 23])
def test_labels_stand_in_the_margins_and_the_images_are_untouched(columns: int) -> None:
    images = torch.rand(2 * columns, 3, 64, 64)
    plain = image_grid(images, columns)
    labelled = image_grid(images, columns, ["one", "two"], ["column"] * columns, "corner")
    assert torch.equal(labelled[:, -plain.shape[1] :, -plain.shape[2] :], plain)
    left, top = labelled.shape[2] - plain.shape[2], labelled.shape[1] - plain.shape[1]
    margins = {
        "row 1": labelled[:, top : top + 64, :left],
        "row 2": labelled[:, -64:, :left],
        "columns": labelled[:, :top, left:],
    }
    for name, margin in margins.items():
        ink = (margin < 0.5).float()
        assert 0 < ink.mean() < 0.5, f"no text in {name}"
        edges = (ink[:, :, 0], ink[:, 0], ink[:, -1], *([ink[:, :, -1]] if name == "columns" else []))
        assert not any(edge.any() for edge in edges), f"the text in {name} is cropped"


@pytest.mark.parametrize(("columns", "letters"), [(10, 7), (13, 14), (20, 12)])
def test_labels_can_be_read_where_tensorboard_shows_a_picture_small(columns: int, letters: int) -> None:
    picture = image_grid(torch.zeros(columns, 1, 60, 60), columns, ["m" * letters])
    margin = picture[0, :, : picture.shape[2] - columns * (60 + PADDING) - PADDING] < 0.5
    height = int(margin.any(1).sum()) * 350 / picture.shape[2]
    assert height >= 4, f"the letter m is {height:.1f} pixels high"


# --- sheets


def every_sheet(name: str) -> dict[str, Sheet]:
    """The sheets of one of `every_model`; conditional ones of class 1, but for `reconstructions`."""
    model, batch = every_model()[name], examples()
    y = 1 if model.conditional else None
    of_class = Batch(batch.x[1::3], batch.y[1::3]) if model.conditional else batch
    sheets = {
        "samples": samples(model, 70, None if y is None else torch.full((70,), y), temperature=0.7),
        "reconstructions": reconstructions(model, batch),
        "interpolations": interpolations(model, *pairs(of_class, 2, same_class=False), num=5),
    }
    sheets |= {f"traversals {level}": traversals(model, of_class, level) for level in range(1, model.num_levels + 1)}
    if codes(model, batch)[-1].mean.shape[1] == 2:
        sheets["manifold"] = manifold(model, y, num=4)
    return sheets


@pytest.mark.parametrize("name", every_model())
def test_the_codes_of_a_sheet_are_those_of_its_images(name: str) -> None:
    model = every_model()[name]
    for kind, sheet in every_sheet(name).items():
        arrays = sheet.arrays
        levels = sorted(int(key[2:]) for key in arrays if key.startswith("z_"))
        assert levels == list(range(levels[0], model.num_levels + 1)), "all levels down to the lowest are there"
        y = arrays["y"] if kind == "reconstructions" else torch.tensor([1])
        context = model.context(y) if model.conditional else None
        with torch.no_grad():
            again = decode(model, [arrays[f"z_{level}"] for level in levels], context)
        torch.testing.assert_close(arrays["images"], again, msg=kind)


@pytest.mark.parametrize("name", every_model())
def test_a_sheet_does_not_depend_on_how_many_are_decoded_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = every_sheet(name)
    monkeypatch.setattr("vae_lab.pictures.latents.CHUNK", 7)
    after = every_sheet(name)
    # Not the codes of the others: their posterior's noise is drawn chunk by chunk.
    for kind in ("samples",) if "ladder" in name or "deep" in name else ("samples", "reconstructions"):
        for key in ("images", "z_1"):
            torch.testing.assert_close(after[kind].arrays[key], before[kind].arrays[key])


def test_samples_are_what_the_model_generates() -> None:
    for model in every_model().values():
        y = torch.arange(70) % 3 if model.conditional else None
        with evaluation_mode(model, seed=4):
            expected = model.generate(70, y, temperature=0.7).mean
        drawn = samples(model, 70, y, temperature=0.7, seed=4).arrays
        torch.testing.assert_close(drawn["images"], expected)
        names = {"images", *(f"z_{level + 1}" for level in range(model.num_levels))}
        assert set(drawn) == names | ({"y"} if model.conditional else set())


def test_pixels_can_be_sampled() -> None:
    model = every_model()["mhvae"]
    means, drawn = (samples(model, 2000, seed=4, draw=draw).arrays for draw in ("mean", "sample"))
    assert torch.equal(drawn["z_1"], means["z_1"])
    assert drawn["images"].unique().tolist() == [0.0, 1.0]
    p = means["images"]
    assert abs((drawn["images"] - p).sum()) < 4 * (p * (1 - p)).sum().sqrt()
    by_class = samples_by_class(every_model()["cvae"], [2, 0], num=3, draw="sample").arrays
    assert by_class["images"].unique().tolist() == [0.0, 1.0]
    assert by_class["y"].tolist() == [2, 0] * 3


def test_the_arrays_of_a_manifold_and_a_traversal_name_their_axes() -> None:
    arrays = manifold(vae(2), num=5).arrays
    z = arrays["z_1"].reshape(5, 5, 2)
    assert torch.equal(z[..., 0], arrays["axis_0"].expand(5, 5))
    assert torch.equal(z[..., 1], arrays["axis_1"][:, None].expand(5, 5))
    assert (arrays["axis_0"].diff() > 0).all()
    assert (arrays["axis_1"].diff() < 0).all()

    arrays = traversals(vae(4), examples()).arrays
    z = arrays["z_1"].reshape(4, len(STEPS), 4)
    moved = z - z[:, len(STEPS) // 2, None]
    expected = torch.nn.functional.one_hot(arrays["dimensions"], 4)[:, None] * arrays["steps"][:, None]
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)
    assert torch.equal(arrays["originals"], examples().x[:1])


def test_a_picture_shows_the_first_rows_of_many() -> None:
    images = torch.rand((MAX_ROWS + 1) * 2, 3, 64, 64)
    sheet = Sheet(images, 2, {"images": images}, row_labels=[f"row {row}" for row in range(MAX_ROWS + 1)])
    shown = tiles(sheet.draw(), MAX_ROWS, 2)
    assert torch.equal(shown.flatten(0, 1), images[:-2])
    assert samples(vae(), 10_000).columns == MAX_ROWS


# --- samples


def test_samples_obey_temperature_and_seed() -> None:
    model = pixel_model(Diagonal([0.0], [1.0]), StandardNormal([1]))
    warm, cold, other = (
        levels(samples(model, 64, temperature=t, seed=s).draw(), 8, 8) for t, s in ((1, 0), (0.5, 0), (1, 1))
    )
    torch.testing.assert_close(cold - 0.5, (warm - 0.5) / 2, atol=1e-5, rtol=0)
    assert not torch.equal(warm, other)
    assert 0.08 < warm.std() < 0.12


def test_samples_of_a_conditional_model_have_a_row_for_each_class() -> None:
    y, columns = class_rows(9, 5)
    assert columns == 3
    assert y.reshape(-1, 3).tolist() == [[y] * 3 for y in range(5)]
    assert class_rows(16, 2)[0].reshape(-1, 4).tolist() == [[0] * 4, [1] * 4, [0] * 4, [1] * 4]
    model = pixel_model(Diagonal([0.0], [1.0]), StandardNormal([1]), num_classes=5, scale=0.0, step=0.1)
    drawn = levels(dict(Album(examples(4, DataSpec((1, 1, 1), 5)), 5, num_samples=9).quick(model))["samples"], 5, 3)
    torch.testing.assert_close(drawn, (0.5 + 0.1 * torch.arange(5.0))[:, None].expand(5, 3))


def test_a_row_of_samples_by_class_is_one_latent() -> None:
    plain = pixel_model(Diagonal([0.0], [1.0]), StandardNormal([1]), num_classes=3, step=0.01)
    drawn = levels(samples_by_class(plain, range(3), num=4).draw(), 4, 3)
    torch.testing.assert_close(drawn.diff(dim=1), torch.full((4, 2), 0.01), atol=1e-6, rtol=0)
    assert drawn[:, 0].unique().numel() == 4

    # Under a prior p(z|y) the noise is shared, not z: z = mean(y) + scale(y) * eps.
    prior = LabelConditional([1], 3)
    with torch.no_grad():
        prior.net.layers[0].weight.copy_(torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 2.0]]))
        prior.net.layers[0].bias.zero_()
    learned = pixel_model(Diagonal([0.0], [1.0]), prior, num_classes=3, scale=0.02)
    z = (levels(samples_by_class(learned, range(3), num=4).draw(), 4, 3) - 0.5) / 0.02
    torch.testing.assert_close(z[:, 1], z[:, 0] + 1, atol=1e-4, rtol=0)
    torch.testing.assert_close(z[:, 2], 2 + z[:, 0] * torch.e, atol=1e-4, rtol=0)


# --- reconstructions and interpolations


def test_every_original_stands_above_its_own_reconstruction() -> None:
    spec = DataSpec((1, 8, 8), 0, "binary")
    model, batch = vae(4, spec), examples(10, spec)._replace(y=None)
    drawn = tiles(reconstructions(model, batch, columns=4).draw(), 6, 4)[:, :, :1]
    originals, made = drawn[::2].flatten(0, 1), drawn[1::2].flatten(0, 1)
    assert torch.equal(originals[:10], displayable(batch.x))
    torch.testing.assert_close(made[:10], displayable(model.reconstruct(batch.x).mean))
    assert originals[10:].unique() == made[10:].unique() == PADDING_GREY, "the places that are left are no images"


@pytest.mark.parametrize("name", every_model())
def test_an_interpolation_runs_between_two_reconstructions(name: str) -> None:
    model, batch = every_model()[name], examples()
    starts, ends = (Batch(batch.x[rows], batch.y[rows]) for rows in (slice(0, 2), slice(4, 6)))
    sheet = interpolations(model, starts, ends, num=5)
    assert torch.equal(sheet.arrays["originals"], torch.stack((starts.x, ends.x), dim=1))
    assert torch.equal(sheet.arrays["y"], torch.stack((starts.y, ends.y), dim=1))
    drawn = tiles(sheet.draw(), 2, 7)[:, :, :1]
    for side, original, end in ((starts, 0, 1), (ends, 6, 5)):
        assert torch.equal(drawn[:, original], displayable(side.x))
        context = model.context(side.y if model.conditional else None)
        reconstruction = displayable(decode(model, [code.mean for code in codes(model, side)], context))
        torch.testing.assert_close(drawn[:, end], reconstruction)


def test_interpolation_is_linear_in_the_code_and_keeps_to_a_class() -> None:
    class Encoder(nn.Module):
        def forward(self, given: Tensor, context: Tensor | None = None) -> Independent:
            mean = given.flatten(-3)
            return Independent(Normal(mean, torch.ones_like(mean)), 1)

    model = pixel_model(Encoder(), StandardNormal([1]), scale=0.5)
    starts, ends = Batch(torch.zeros(1, 1, 1, 1)), Batch(torch.ones(1, 1, 1, 1))
    drawn = levels(interpolations(model, starts, ends, num=5).draw(), 1, 7)[0]
    torch.testing.assert_close(drawn, torch.tensor([0.0, 0.5, 0.625, 0.75, 0.875, 1.0, 1.0]))
    with pytest.raises(ValueError, match="num=1"):
        interpolations(model, starts, ends, num=1)

    batch = Batch(torch.rand(7, 1, 1, 1), torch.tensor([0, 1, 0, 2, 1, 0, 1]))
    one, other = pairs(batch, 3, same_class=True)
    assert one.y.tolist() == other.y.tolist() == [0, 1, 0]
    assert torch.equal(other.x, batch.x[[2, 4, 5]])
    assert torch.equal(pairs(batch, 100, same_class=False)[1].x, batch.x[3:6])


# --- traversals


def test_dimensions_are_ordered_by_their_kl() -> None:
    q = Diagonal([0.5, 0.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0])  # KLs of 0.125, 0, 2 and 0.5 nats
    model = pixel_model(q, StandardNormal([4]))
    sheet = traversals(model, Batch(torch.rand(70, 1, 1, 1)), num_dimensions=3)
    assert sheet.note == "σ is the standard deviation of the prior"
    assert sheet.row_labels == ["z[2]  2.00 nats", "z[3]  0.50 nats", "z[0]  0.12 nats"]
    assert sheet.arrays["dimensions"].tolist() == [2, 3, 0]
    assert sheet.arrays["kl"].tolist() == [2.0, 0.5, 0.125]
    drawn = levels(without_note(sheet), 3, len(STEPS))
    code = 0.5 + 0.1 * 0.5
    assert torch.allclose(drawn[:2], torch.tensor(code)), "the image shows z[0], which must not move in other rows"
    torch.testing.assert_close(drawn[2], code + 0.1 * torch.tensor(STEPS), atol=1e-5, rtol=0)


def test_each_factor_has_a_row_that_moves_its_dimension() -> None:
    class Encoder(nn.Module):
        def forward(self, given: Tensor, context: Tensor | None = None) -> Independent:
            mean = torch.cat((given.flatten(-3), torch.zeros_like(given.flatten(-3))), dim=-1)
            return Independent(Normal(mean, torch.ones_like(mean)), 1)

    model = pixel_model(Encoder(), StandardNormal([2]))
    batch = Batch(torch.tensor([0.0, 1.0, 0.4, 0.5]).reshape(4, 1, 1, 1))  # the last is nearest to the mean
    sheet = traversals_by_factor(model, batch, {"shape": (1, 0.254), "x": (0, 1.5)})
    drawn = levels(without_note(sheet), 2, len(STEPS))
    assert sheet.row_labels == ["shape: z[1]  0.25 nats", "x: z[0]  1.50 nats"]
    assert torch.allclose(drawn[0], torch.tensor(0.55))
    torch.testing.assert_close(drawn[1], 0.55 + 0.1 * torch.tensor(STEPS), atol=1e-5, rtol=0)
    assert sheet.arrays["originals"].item() == 0.5


def test_steps_are_standard_deviations_of_the_prior() -> None:
    model = pixel_model(Diagonal([1.0], [1.0]), Diagonal([0.3], [0.25]))
    drawn = levels(without_note(traversals(model, Batch(torch.rand(2, 1, 1, 1)))), 1, len(STEPS))[0]
    torch.testing.assert_close(drawn, 0.6 + 0.1 * 0.25 * torch.tensor(STEPS), atol=1e-5, rtol=0)


def test_the_scale_of_an_inner_level_is_that_given_the_code_above() -> None:
    class ScaledByAbove(nn.Module):
        def forward(self, given: Tensor, context: Tensor | None = None) -> Independent:
            return Independent(Normal(torch.zeros_like(given), given), 1)

    prior = MarkovChain([StandardNormal([1]), ScaledByAbove()])
    posterior = BottomUpPosterior(MarkovChain([Diagonal([1.0], [1.0]), Diagonal([0.7], [1e-6])]))
    model = LatentVariableModel(prior, posterior, Copy())
    drawn = levels(without_note(traversals(model, Batch(torch.rand(2, 1, 1, 1)), level=1)), 1, len(STEPS))[0]
    torch.testing.assert_close(drawn, 0.6 + 0.1 * 0.7 * torch.tensor(STEPS), atol=1e-5, rtol=0)


def test_without_a_kl_of_each_dimension_the_variance_of_codes_orders_them() -> None:
    class Mixture(nn.Module):
        def forward(self, given: None, context: Tensor | None = None) -> torch.distributions.Distribution:
            parts = Independent(Normal(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.ones(2, 2)), 1)
            return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(2)), parts)

    class Encoder(nn.Module):
        def forward(self, given: Tensor, context: Tensor | None = None) -> Independent:
            mean = given.flatten(-3) * torch.tensor([1.0, 5.0])
            return Independent(Normal(mean, torch.ones_like(mean)), 1)

    model = pixel_model(Encoder(), Mixture())
    model.register_buffer("place", torch.zeros(1))
    sheet = traversals(model, Batch(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)))
    assert sheet.row_labels == ["z[1]  6.25 var", "z[0]  0.25 var"]
    assert sheet.arrays["variance"].tolist() == [6.25, 0.25]


@pytest.mark.parametrize("name", every_model())
def test_the_middle_of_a_traversal_is_the_code_itself(name: str) -> None:
    model, batch = every_model()[name], examples()
    context = model.context(batch.y[:1] if model.conditional else None)
    levels = codes(model, batch)
    for level, code in enumerate(levels, start=1):
        rows = min(10, code.mean.shape[1])
        middle = tiles(without_note(traversals(model, batch, level)), rows, len(STEPS))[:, len(STEPS) // 2, :1]
        expected = displayable(decode(model, [upper.mean[:1] for upper in levels[level - 1 :]], context))
        torch.testing.assert_close(middle, expected.expand_as(middle))


def test_codes_above_the_first_level_go_down_by_the_means_of_the_priors() -> None:
    model = every_model()["mhvae"]
    z_3 = torch.randn(100, 2)
    z_2 = model.prior.links[1](z_3).mean
    z_1 = model.prior.links[2](z_2).mean
    for z in ([z_1, z_2, z_3], [z_2, z_3], [z_3]):
        torch.testing.assert_close(decode(model, z), model.likelihood(z_1).mean)
    y = torch.arange(100) % 3
    one_hot, conditional = OneHot(3)(y), every_model()["cvae"]
    torch.testing.assert_close(decode(conditional, [z_3], one_hot), conditional.likelihood(z_3, one_hot).mean)
    with pytest.raises(ValueError, match="level=4: this model has levels 1 to 3"):
        traversals(model, examples(), level=4)


def test_the_kl_of_codes_is_the_mean_over_all_examples() -> None:
    model, batch = vae(), examples(70)
    code = codes(model, batch)[0]
    with torch.no_grad():
        level = model(batch.x).levels[0]
    torch.testing.assert_close(code.kl, level.kl_per_dimension.mean((0, 1)))
    torch.testing.assert_close(code.mean, level.q.mean)


def test_a_class_without_examples_has_no_traversals_of_anothers() -> None:
    model, batch = every_model()["cvae"], Batch(torch.rand(4, *SPEC.shape), torch.tensor([0, 0, 2, 2]))
    drawn = dict(Album(batch, 3).others(model))
    assert sorted(tag for tag in drawn if "traversals" in tag) == ["traversals/class_0", "traversals/class_2"]
    of_last = Batch(batch.x[2:], torch.tensor([2, 2]))
    assert torch.equal(drawn["traversals/class_2"], traversals(model, of_last).draw())


# --- the plane


def test_the_manifold_runs_right_and_up_through_the_quantiles_of_the_prior() -> None:
    prior = Diagonal([1.0, 5.0], [2.0, 0.5])
    model = pixel_model(Diagonal([0.0, 0.0], [1.0, 1.0]), prior, scale=0.05)
    drawn = levels(manifold(model, num=4).draw(), 4, 4)
    across = 1 + 2 * Normal(0, 1).icdf(torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(drawn, (0.5 + 0.05 * across).expand(4, 4), atol=1e-5, rtol=0)

    model.likelihood.forward = lambda z, context=None: Copy(0.05)(z.flip(-1))  # type: ignore[method-assign]
    up = levels(manifold(model, num=4).draw(), 4, 4)[:, 0]
    assert (up.diff() < 0).all(), "z[1] grows upwards"


def test_only_a_plane_is_shown_as_a_plane() -> None:
    for draw in (lambda: manifold(vae(3)), lambda: code_scatter(vae(3), examples())):
        with pytest.raises(ValueError, match="set latent_dim=2"):
            draw()


@pytest.mark.parametrize("num_classes", [0, 3, 15, 40])
def test_codes_are_coloured_by_label(num_classes: int) -> None:
    spec = DataSpec(SPEC.shape, num_classes, "binary")
    batch = examples(40, spec)
    picture = code_scatter(vae(2, spec), batch if num_classes else Batch(batch.x))
    vivid = picture.amax(0) - picture.amin(0) > 0.3
    colours = {tuple(c) for c in (picture[:, vivid].T * 20).round().int().tolist()}
    assert len(colours) >= max(1, min(num_classes, 10))


# --- files


def test_arrays_are_read_without_pickle_and_appear_whole(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = traversals(every_model()["cvae"], examples()).arrays
    path = save_arrays(arrays, tmp_path, "traversals/level_1")
    assert path == tmp_path / "traversals_level_1.npz"
    with np.load(path, allow_pickle=False) as written:
        assert set(written) == set(arrays)
        for name, array in arrays.items():
            assert np.array_equal(written[name], array.numpy()), name

    def fails(file, **arrays) -> None:
        file.write(b"half")
        raise OSError("disk full")

    before = path.read_bytes()
    monkeypatch.setattr("numpy.savez", fails)
    with pytest.raises(OSError, match="disk full"):
        save_arrays(arrays, tmp_path, "traversals/level_1")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_holds_the_picture_and_appears_whole(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = torch.rand(3, 9, 7)
    path = save_picture(picture, tmp_path / "figures", "traversals/level_1/class_2")
    assert path == tmp_path / "figures" / "traversals_level_1_class_2.png"
    written = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    torch.testing.assert_close(written / 255, picture, atol=0.5 / 255 + 1e-6, rtol=0)

    def fails(picture: Tensor, file, format: str) -> None:
        file.write_bytes(b"half")
        raise OSError("disk full")

    before = path.read_bytes()
    monkeypatch.setattr("vae_lab.pictures.saving.save_image", fails)
    with pytest.raises(OSError, match="disk full"):
        save_picture(picture, tmp_path / "figures", "traversals/level_1/class_2")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


HIERARCHIES = ["mhvae", "conditional mhvae", "ladder", "deep", "conditional deep", "vamp ladder"]


@pytest.mark.parametrize("name", HIERARCHIES)
def test_progressive_rows_end_in_the_reconstruction(name: str) -> None:
    """Row by row one more group of codes; the rest are means of the prior."""
    model, batch = every_model()[name], examples(5)
    sheet = progressive(model, batch)
    parts = groups(model)
    assert [label.removeprefix("+ ") for label in sheet.row_labels] == ["original", *(n for n, _ in reversed(parts))]
    images = sheet.arrays["images"].reshape(len(parts), 5, *SPEC.shape)
    torch.testing.assert_close(images[-1], reconstructions(model, batch).arrays["images"])
    z = [sheet.arrays[f"z_{level}"] for level in range(1, model.num_levels + 1)]
    context = model.context(batch.y) if model.conditional else None
    with torch.no_grad():
        torch.testing.assert_close(images[0], decode(model, z[parts[-1][1].start :], context))
    assert torch.equal(sheet.tiles[:5], batch.x)


@pytest.mark.parametrize("name", HIERARCHIES)
def test_levels_are_redrawn_one_group_at_a_time(name: str) -> None:
    model, one = every_model()[name], examples(1)
    for parameter in model.parameters():  # away from the start, where no level matters yet
        parameter.data.mul_(3)
    sheet = redrawn(model, one, num=4)
    parts = groups(model)
    images = sheet.arrays["images"].reshape(len(parts), 4, -1)
    assert all(torch.pdist(row).min() > 0 for row in images), "the draws of a row differ"
    assert torch.equal(sheet.tiles[::5], one.x.expand(len(parts), *SPEC.shape))
    again = redrawn(model, one, num=4)
    assert torch.equal(again.arrays["images"], sheet.arrays["images"])
    assert not torch.equal(redrawn(model, one, seed=1, num=4).arrays["images"], sheet.arrays["images"])


@pytest.mark.parametrize("name", HIERARCHIES)
def test_the_nats_of_levels_are_drawn(name: str) -> None:
    model, batch = every_model()[name], examples()
    picture = kl_by_level(model, batch)
    assert picture.shape[0] == 3
    assert 0 <= picture.min() < picture.max() <= 1
    kls = [code.kl for code in codes(model, batch)]
    known = [float("inf") if kl is None else float(kl.sum()) for kl in kls]
    best = most_used_levels(model, batch, 2)
    assert best == sorted(best)
    assert min(known[level - 1] for level in best) >= max(
        (nats for level, nats in enumerate(known, 1) if level not in best), default=0
    )
