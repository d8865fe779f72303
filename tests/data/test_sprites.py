"""The factors of a sprite determine its picture, and nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vae_lab.data import Arrays, ImageDataModule, Sprites


def whole(sprites: Sprites) -> tuple[np.ndarray, np.ndarray]:
    parts = [sprites.load(train) for train in (True, False)]
    factors = [part.factors for part in parts if part.factors is not None]
    return np.concatenate([part.x for part in parts]), np.concatenate(factors)


@pytest.fixture(scope="module")
def small() -> Sprites:
    return Sprites(num_scales=3, num_orientations=4, num_positions=4)


def test_every_combination_of_factors_appears_once_in_one_split(small: Sprites) -> None:
    images, factors = whole(small)
    assert images.shape == (3 * 3 * 4 * 4 * 4, 1, 64, 64)
    assert len(np.unique(factors, axis=0)) == len(factors)
    sizes = [len(values) for values in small.factor_values.values()]
    assert factors.max(0).tolist() == [size - 1 for size in sizes]
    assert len(small.load(train=False)) == round(0.1 * len(factors))


def test_the_default_set_has_tens_of_thousands_of_images() -> None:
    assert len(Sprites()._rows[0]) + len(Sprites()._rows[1]) == 46_080
    assert np.prod(Sprites(num_orientations=40, num_positions=32)._grid) == 737_280


def test_pixels_are_binary_and_labels_are_shapes(small: Sprites) -> None:
    arrays: Arrays = small.load(train=True)
    assert np.unique(arrays.x).tolist() == [0, 255]
    assert small.binary
    assert arrays.factors is not None
    np.testing.assert_array_equal(arrays.y, arrays.factors[:, 0])
    assert small.num_classes == 3


def test_position_is_where_the_shape_is(small: Sprites) -> None:
    images, factors = whole(small)
    squares_and_ellipses = factors[:, 0] < 2  # a heart's centre of mass is not its centre
    mass = images[squares_and_ellipses, 0] / 255.0
    for axis, name, column in ((2, "x", 3), (1, "y", 4)):
        centre = (mass.sum(3 - axis) * (np.arange(64) + 0.5)).sum(1) / mass.sum((1, 2))
        position = small.factor_values[name][factors[squares_and_ellipses, column]]
        np.testing.assert_allclose(centre, 16.5 + 31 * position, atol=0.75)


def test_area_grows_with_the_square_of_the_scale_and_ignores_the_rest(small: Sprites) -> None:
    images, factors = whole(small)
    area = (images > 0).sum((1, 2, 3)) / small.factor_values["scale"][factors[:, 1]] ** 2
    for shape in range(3):
        of_shape = area[factors[:, 0] == shape]
        assert of_shape.std() / of_shape.mean() < 0.05


def test_no_shape_touches_the_edge_and_so_none_is_cut(small: Sprites) -> None:
    full = Sprites(num_scales=1, num_orientations=40, num_positions=2)
    for sprites in (small, full):
        images, _ = whole(sprites)
        assert not images[..., [0, -1], :].any()
        assert not images[..., [0, -1]].any()


def test_a_quarter_turn_turns_the_picture() -> None:
    sprites = Sprites(num_scales=1, num_orientations=4, num_positions=2)
    images, factors = whole(sprites)
    look = {tuple(f): image[0] for f, image in zip(factors.tolist(), images, strict=True)}
    for shape in range(3):
        upright, turned = look[shape, 0, 0, 0, 0], look[shape, 0, 1, 1, 0]  # clockwise, so from top left to top right
        assert (np.rot90(upright, -1) != turned).sum() <= 8  # points exactly on the outline fall either way
    assert (look[2, 0, 0, 0, 0] != look[2, 0, 1, 0, 0]).any()


def test_the_pictures_are_the_same_every_time_and_on_disk() -> None:
    options: dict[str, Any] = {"num_scales": 2, "num_orientations": 2, "num_positions": 2}
    for train in (True, False):
        first, again = Sprites(**options).load(train), Sprites(memory_limit_gb=0, **options).load(train)
        np.testing.assert_array_equal(first.x, again.x)
        assert isinstance(again.x, np.memmap)


@pytest.mark.parametrize("size", [16, 32, 128])
def test_other_sizes_show_the_same(size: int) -> None:
    options: dict[str, Any] = {"num_scales": 1, "num_orientations": 3, "num_positions": 2}
    scaled, usual = Sprites(image_size=size, **options), Sprites(**options)
    images, reference = scaled.load(train=True).x, usual.load(train=True).x
    assert images.shape[1:] == scaled.shape == (1, size, size)
    assert np.unique(images).tolist() == [0, 255]
    larger, smaller = (images, reference) if size > 64 else (reference, images)
    step = larger.shape[-1] // smaller.shape[-1]
    assert (larger[..., ::step, ::step] != smaller).mean() < 0.01


@pytest.mark.parametrize("binarization", ["none", "dynamic"])
def test_factors_are_those_of_the_examples(binarization: Any) -> None:
    def images(**options: Any) -> Sprites:
        return Sprites(**options, num_scales=1, num_orientations=1, num_positions=8)

    data = ImageDataModule(images, val_size=50, binarization=binarization)
    assert data.images.factor_names == tuple(Sprites().factor_values)
    for split, num in (("train", 30), ("val", 30), ("test", 15)):
        examples, factors = data.examples(num, split), data.factors(num, split)
        assert factors is not None
        assert factors.shape == (num, 5)
        assert examples.y is not None
        np.testing.assert_array_equal(factors[:, 0], examples.y)
        ink = examples.x[:, 0].numpy()
        for column, axis in ((3, 1), (4, 2)):  # nothing tells more of a place than the middle of the shape's extent
            rows = [np.flatnonzero(image.any(axis - 1)) for image in ink]
            middle = np.array([(row[0] + row[-1]) / 2 for row in rows])
            np.testing.assert_allclose((middle - 15.5) / 31 * 7, factors[:, column], atol=0.75)


def test_factors_without_names_are_refused() -> None:
    class Nameless(Sprites):
        factor_names = ()

    with pytest.raises(ValueError, match=r"sprites: \d+ examples and factors \(\), but an array"):
        Nameless(num_scales=1, num_orientations=1, num_positions=2).load(train=True)


@pytest.mark.parametrize(
    "bad", [{"num_scales": 0}, {"num_scales": 7}, {"num_orientations": 41}, {"num_positions": 33}, {"image_size": 48}]
)
def test_bad_values_are_named(bad: dict[str, Any]) -> None:
    ((key, value),) = bad.items()
    with pytest.raises(ValueError, match=f"{key}={value}"):
        Sprites(**bad)
