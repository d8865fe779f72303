"""Pictures of signals, volumes, tables and pictures of any number of channels: what stands where."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from matplotlib import colormaps

from vae_lab.distributions import Gaussian
from vae_lab.models import MHVAE, VAE
from vae_lab.networks import MlpArchitecture
from vae_lab.pictures import Album, Sheet, reconstructions, samples, save_array, save_table
from vae_lab.pictures.columns import check_columns
from vae_lab.pictures.curves import curve_pictures
from vae_lab.pictures.grid import PADDING_GREY, displayable, image_grid
from vae_lab.pictures.tables import _lines, columns_shown
from vae_lab.pictures.tiles import tiles_of
from vae_lab.types import Batch, DataSpec, Scaling

NET = MlpArchitecture([8])
SHAPES = [(1,), (5,), (90,), (1, 1), (2, 7), (1, 900), (6, 9), (2, 4, 5), (9, 4, 4), (1, 3, 4, 5), (5, 3, 4, 2)]


def model(shape: tuple[int, ...], support: str = "real", levels: int = 1) -> VAE | MHVAE:
    torch.manual_seed(1)
    spec = DataSpec(shape, 0, support)
    return VAE(spec, 2, NET, Gaussian) if levels == 1 else MHVAE(spec, [3, 2], NET, NET, Gaussian)


def examples(shape: tuple[int, ...], num: int = 9) -> Batch:
    return Batch(torch.rand(num, *shape, generator=torch.Generator().manual_seed(2)))


def small(shape: tuple[int, ...]) -> Album:
    return Album(examples(shape), num_samples=4, num_reconstructions=3, num_interpolations=1)


@pytest.mark.parametrize("support", ["real", "unit"])
@pytest.mark.parametrize("shape", SHAPES)
def test_examples_of_every_kind_are_small_pictures(shape: tuple[int, ...], support: str) -> None:
    x = examples(shape).x
    drawn = tiles_of(x, DataSpec(shape, 0, support))
    assert len(drawn.pictures) == 9
    assert drawn.pictures.shape[1] in (1, 3)
    assert 0 <= drawn.pictures.min() <= drawn.pictures.max() <= 1
    assert drawn.pictures.std() > 0.01, "all of one grey"
    assert torch.equal(tiles_of(x, DataSpec(shape, 0, support)).pictures, drawn.pictures)


@pytest.mark.parametrize("shape", [(5,), (2, 7), (2, 4, 5), (1, 3, 4, 5)])
def test_every_kind_has_every_picture(shape: tuple[int, ...]) -> None:
    pictures = dict(small(shape).full(model(shape)))
    assert list(pictures) == ["samples", "reconstructions", "traversals", "interpolations", "codes", "manifold"]
    for picture in pictures.values():
        assert picture.dim() == 3
        assert picture.shape[0] == 3
        assert 0 <= picture.min() <= picture.max() <= 1


@pytest.mark.parametrize("shape", [(5,), (2, 7), (1, 3, 4, 5)])
def test_a_hierarchy_of_every_kind_shows_its_levels(shape: tuple[int, ...]) -> None:
    pictures = small(shape).others(model(shape, levels=2))
    assert [next(pictures)[0] for _ in range(3)] == ["progressive", "levels", "kl_by_level"]


def test_of_data_that_cannot_be_drawn_the_codes_are() -> None:
    shape = (2, 2, 2, 2, 2)
    album = small(shape)
    assert not album.drawable
    assert [tag for tag, _ in album.full(model(shape))] == ["codes"]
    assert [tag for tag, _ in album.full(model(shape, levels=2))] == ["kl_by_level", "codes"]
    with pytest.raises(ValueError, match=r"data of shape \(2, 2, 2, 2, 2\) cannot be drawn"):
        samples(model(shape), 4).draw()


def test_values_that_are_not_finite_stop_no_picture() -> None:
    for shape in ((5,), (2, 7), (2, 4, 5), (1, 3, 4, 5)):
        x = examples(shape).x
        x[0], x[1].view(-1)[0] = torch.nan, torch.inf
        assert tiles_of(x, DataSpec(shape, 0, "real")).pictures.isfinite().all()


def test_each_channel_stands_in_its_place() -> None:
    x = torch.rand(2, 4, 64, 64)
    drawn = tiles_of(x)
    assert drawn.note == "4 channels in grey, in rows of 2"
    for channel, (top, left) in enumerate([(3, 3), (3, 68), (68, 3), (68, 68)]):
        assert torch.equal(drawn.pictures[:, 0, top : top + 64, left : left + 64], x[:, channel])
    assert tiles_of(torch.rand(2, 9, 8, 8)).note.startswith("the first 8 of 9 channels")


def test_real_pixels_are_shown_between_their_extremes() -> None:
    x = torch.tensor([-2.0, 0.0, 6.0]).reshape(3, 1, 1, 1).expand(3, 1, 64, 64)
    drawn = tiles_of(x, DataSpec((1, 64, 64), 0, "real"))
    torch.testing.assert_close(drawn.pictures[:, 0, 0, 0], torch.tensor([0.0, 0.25, 1.0]), atol=1e-3, rtol=0)
    assert drawn.note == "from -2, black, to 6, white"
    assert tiles_of(x.clamp(0, 1), DataSpec((1, 64, 64))).note == "", "pictures in [0, 1] say nothing"


def test_the_middle_slices_of_a_volume() -> None:
    x = torch.rand(2, 1, 66, 64, 68)
    drawn = tiles_of(x)
    assert drawn.note == "middle slices at depth 33, height 32 and width 34"
    parts = drawn.pictures[:, 0, 3:]
    assert torch.equal(parts[:, :64, 3:71], x[:, 0, 33])
    assert torch.equal(parts[:, :66, 72:140], x[:, 0, :, 32])
    assert torch.equal(parts[:, :66, 141:205], x[:, 0, :, :, 34])
    assert (parts[:, 64:66, 3:71] == PADDING_GREY).all()
    stacked = tiles_of(torch.rand(2, 5, 8, 8, 8))
    assert stacked.note.startswith("middle slices at depth 4")
    assert "the first 4 of 5 channels" in stacked.note


def test_a_curve_stands_where_its_values_are() -> None:
    values = torch.tensor([[0.0, 1.0, 0.5]]).T[..., None].expand(3, 1, 30)
    dark = curve_pictures(values, torch.tensor([[0.0, 1.0]])).mean(1) < 0.9
    rows = [torch.nonzero(picture.any(1)).double().mean().item() for picture in dark]
    assert rows == pytest.approx([60.5, 2.5, 31.5], abs=1.5)  # 64 pixels from the top, 3 of them the margin
    two = torch.stack((torch.zeros(30), torch.ones(30)))[None]
    dark = curve_pictures(two, torch.tensor([[0.0, 1.0]] * 2))[0].mean(0) < 0.9
    rows = torch.nonzero(dark.any(1)).flatten()
    assert (rows.min().item(), rows.max().item()) == pytest.approx((28, 35), abs=1.5), "channel 0 on top"


def test_a_long_curve_keeps_its_extremes() -> None:
    x = torch.zeros(1, 1, 100_000)
    x[..., 51_234] = 1.0
    dark = curve_pictures(x, torch.tensor([[0.0, 1.0]]))[0].mean(0) < 0.9
    assert dark[4:8].any()


def test_the_reconstruction_of_a_signal_is_drawn_over_the_original() -> None:
    low, high = torch.zeros(1, 1, 9), torch.ones(1, 1, 9)
    picture = curve_pictures(high, torch.tensor([[0.0, 1.0]]), under=low)[0]
    colourful = (picture.amax(0) - picture.amin(0)) > 0.3
    dark = picture.mean(0) < 0.9
    assert colourful[:32].any()
    assert not dark[8:56].any()
    assert dark[56:].any()
    assert not colourful[32:].any()
    vae, batch = model((2, 7)), examples((2, 7))
    sheet = reconstructions(vae, batch)
    drawn = tiles_of(sheet.arrays["images"], vae.spec, under=batch.x)
    assert torch.equal(sheet.draw(), image_grid(drawn.pictures, 8, note=drawn.note))
    assert drawn.note.startswith("blue over grey: reconstruction over original")


def test_the_cells_of_a_strip_say_how_far_a_value_is_from_the_mean() -> None:
    x = torch.tensor([[-1.0, 10.0], [0.0, 20.0], [1.0, 30.0]])
    picture = tiles_of(x, DataSpec((2,), 0, "real")).pictures
    blue_to_red = (picture[:, 0] - picture[:, 2])[:, 4::8, 0]
    assert (blue_to_red[0] < -0.2).all()
    assert (blue_to_red[1].abs() < 0.05).all()
    assert (blue_to_red[2] > 0.2).all()
    known = tiles_of(torch.tensor([[0.0, torch.nan]]), DataSpec((2,), 0, "real")).pictures[0, :, 12]
    assert (known == PADDING_GREY).all(), "a missing value is grey"


def test_the_cells_of_categories_show_their_shares() -> None:
    x = torch.tensor([[-1.0, 0.0, 1.0], [1.0, 0.4, 0.6]])
    for scaling in (None, Scaling((0.0,) * 3, (1.0,) * 3)):
        spec = DataSpec((3,), 0, "real", categories=(2,), scaling=scaling)
        picture, note = tiles_of(x, spec)
        cells = (picture[:, 0] - picture[:, 2])[:, 4::8, 0]
        assert cells[0, 1].abs() < 0.05, "a share of 0 is grey"
        assert cells[0, 1] < cells[1, 1] < cells[1, 2] < cells[0, 2], "not their distance from a mean"
        assert (picture[0, :, 20, 0] - torch.tensor(colormaps["coolwarm"](1.0)[:3])).abs().max() < 0.01
        assert "grey, to 1, red" in note
        assert ("of these rows" in note) == (scaling is None)


def test_a_table_lists_means_and_deviations_of_what_is_known() -> None:
    data = np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0]])
    lines = _lines({"data": data, "samples": data + 1}, ["alcohol", "hue"])
    assert lines[2].split() == ["alcohol", "3", "±", "1.63", "4", "±", "1.63"]
    assert lines[3].split() == ["hue", "20", "±", "10", "21", "±", "10"]
    assert _lines({"data": np.full((2, 1), np.nan)}, ["empty"])[2].split() == ["empty", "none"]


def test_a_scatter_shows_the_columns_with_most_variance_or_those_named() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)) * [1, 5, 0.1, 3]
    x[0, 0] = np.nan
    names = ["a", "b", "c", "d"]
    assert columns_shown(x, names) == [1, 3]
    assert columns_shown(x, names, ["c", "a"]) == [2, 0]
    assert columns_shown(x[:, :1], names[:1]) == [0]


@pytest.mark.parametrize(
    ("shape", "shown", "wrong"),
    [
        ((4,), ["e"], "the data have no column e; the columns are column 0, column 1, column 2, column 3"),
        ((4,), ["column 0", "column 1", "column 2"], "name one or two columns"),
        ((2, 4), ["a"], "only tables have them"),
    ],
)
def test_columns_that_cannot_be_shown_are_refused(shape: tuple[int, ...], shown: list[str], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        check_columns(DataSpec(shape), shown)
    check_columns(DataSpec((4,)), ["column 3"])


def test_a_table_is_compared_with_as_many_samples() -> None:
    sheet = small((5,))._samples(model((5,)))
    assert {name: len(rows) for name, rows in sheet.compared.items()} == {"data": 9, "samples": 9}
    assert torch.equal(sheet.compared["data"], examples((5,)).x)


def test_a_note_is_written_below_and_the_images_are_untouched() -> None:
    images = torch.rand(4, 3, 64, 64)
    plain, noted = image_grid(images, 2), image_grid(images, 2, note="how it is drawn " * 10)
    assert torch.equal(noted[:, : plain.shape[1], : plain.shape[2]], plain)
    assert (noted[:, plain.shape[1] :] < 0.5).any()
    assert torch.equal(displayable(displayable(images[..., :10, :7])), displayable(images[..., :10, :7]))


def test_numbers_are_written_as_an_array_and_as_a_table(tmp_path) -> None:
    sheet = samples(model((2,)), 3)
    path = save_array(sheet.arrays["images"], tmp_path, "samples")
    assert np.array_equal(np.load(path), sheet.arrays["images"].numpy())
    with save_table(sheet.table(), tmp_path, "samples").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head == ["column 0", "column 1"]
    assert np.array_equal(np.array(rows, np.float32), sheet.arrays["images"].numpy())
    assert samples(model((2, 7)), 3).table() == {}


def test_a_table_names_categories_and_classes() -> None:
    names = ("weight", "sound=moo", "sound=meow", "a=b=c")
    spec = DataSpec((4,), 2, "real", ("cow", "cat"), columns=names, categories=(2, 1))
    x = torch.tensor([[1 / 3, 0.4, 0.6, 1.0], [2.0, 1.0, 0.0, 1.0]])
    sheet = Sheet(x, 1, {"images": x, "y": torch.tensor([1, 0])}, spec=spec)
    assert sheet.table() == {
        "weight": [0.333333343, 2.0],
        "sound": ["meow", "moo"],
        "a=b": ["c", "c"],
        "class": ["cat", "cow"],
    }
