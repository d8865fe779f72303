"""2-D shapes with known factors, in the manner of dSprites, rendered here.

L. Matthey, I. Higgins, D. Hassabis, A. Lerchner, "dSprites: Disentanglement testing Sprites dataset" (2017). The
factors and their ranges are theirs; the pictures are ours. One difference: their 40 orientations count 0 and 2 pi as
two, ours are 40 different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vae_lab.data.arrays import Arrays, Images, Indices, allocate
from vae_lab.data.conditions import Rows, condition_rows
from vae_lab.data.framing import ImageSize
from vae_lab.data.image_set import ImageSet
from vae_lab.data.splits import train_and_test_rows

Floats = NDArray[np.float64]

SHAPES = ("square", "ellipse", "heart")
_CANVAS = 64
"""The side of a picture in the units of this file."""
_POSITIONS = 32
"""A shape's centre moves over this many units, 16 away from every edge; no shape reaches further than 16."""
_FactorValues = Mapping[str, Floats]
_ATTRIBUTES: Mapping[str, Callable[[_FactorValues], NDArray[np.bool_]]] = {
    **{name: partial(lambda of, shape: of["shape"] == shape, shape=shape) for shape, name in enumerate(SHAPES)},
    "large": lambda of: of["scale"] > 0.75,
    "right": lambda of: of["x"] > 0.5,
    "low": lambda of: of["y"] > 0.5,
}
"""Attributes that a condition may name; y points down the picture."""
_NUMBERS = ("scale", "orientation", "x", "y")
"""Factors that a condition may name as numbers."""


class Sprites(ImageSet):
    """White shapes on black, 64 x 64: every combination of shape (3), scale, orientation and position (x, y).

    The label of an example is its shape. Every pixel is 0 or 255. A tenth, chosen by chance, is the test set.
    By default 46,080 images; ``num_orientations=40, num_positions=32`` gives all 737,280 of dSprites (3 GB).

    Args:
        root: folder of data, which is not used.
        image_size: height and width in pixels: 64 (None) times or divided by a whole number.
        memory_limit_gb: see `ImageSet`.
        num_scales: 1 to 6 values evenly spaced in [0.5, 1].
        num_orientations: values evenly spaced in [0, 2 pi).
        num_positions: 2 to 32 values of x and of y, evenly spaced in [0, 1] but for rounding to whole pixels of 64.
        condition: parts of the condition: ``shape``, which is the class; the numbers ``scale``, ``orientation``, ``x``
            and ``y``; the attributes ``square``, ``ellipse``, ``heart``, ``large``, ``right`` and ``low``.

    Raises:
        ValueError: for a number outside its range, an image size that does not divide, or an unknown part.
    """

    reads_root = False
    name = "sprites"
    licence = "none needed: drawn by vae_lab, after dSprites (Matthey et al. 2017)"
    binary = True
    factor_names = ("shape", "scale", "orientation", "x", "y")

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = None,
        memory_limit_gb: float = 4.0,
        num_scales: int = 6,
        num_orientations: int = 10,
        num_positions: int = 16,
        condition: Sequence[str] = ("shape",),
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb)
        counts = (("num_scales", num_scales, 1, 6), ("num_orientations", num_orientations, 1, 40))
        for key, value, least, most in (*counts, ("num_positions", num_positions, 2, _POSITIONS)):
            if not least <= value <= most:
                raise ValueError(f"{key}={value}: must lie in {least}..{most}")
        if image_size is not None and not isinstance(image_size, int):
            raise ValueError(f"image_size={list(image_size)}: sprites are square; give one number")
        if image_size is not None and image_size % _CANVAS and _CANVAS % image_size:
            raise ValueError(f"image_size={image_size}: must be 64 times or divided by a whole number")
        self.num_scales, self.num_orientations, self.num_positions = num_scales, num_orientations, num_positions
        self.condition = _checked_parts(condition)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        return SHAPES if "shape" in self.condition else ()

    @property
    def attributes(self) -> tuple[str, ...]:
        return tuple(name for name in self.condition if name in _ATTRIBUTES)

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(name for name in self.condition if name in _NUMBERS)

    @property
    def native_shape(self) -> tuple[int, int, int]:
        side = _CANVAS if self.sides is None else self.sides.width
        return (1, side, side)

    @property
    def factor_values(self) -> Mapping[str, Floats]:
        """The values that each factor takes, in the order in which `Arrays.factors` counts them."""
        position = np.linspace(0, 1, self.num_positions)
        return {
            "shape": np.arange(len(SHAPES), dtype=np.float64),
            "scale": np.linspace(0.5, 1, self.num_scales),
            "orientation": np.arange(self.num_orientations) * 2 * np.pi / self.num_orientations,
            "x": position,
            "y": position,
        }

    def read(self, train: bool) -> Arrays:
        rows = self._rows[0 if train else 1]
        factors = np.stack(np.unravel_index(rows, self._grid), axis=1).astype(np.int64)
        images = allocate((len(rows), *self.native_shape), self.memory_limit_gb)
        per_appearance = self.num_positions**2
        # All positions of one appearance (shape, scale, orientation) are windows of one drawing.
        for appearance in range(int(np.prod(self._grid[:3]))):
            start, stop = np.searchsorted(rows, [appearance * per_appearance, (appearance + 1) * per_appearance])
            images[start:stop, 0] = self._all_positions(appearance)[rows[start:stop] - appearance * per_appearance]
        return Arrays(images, self._condition(factors), factors)

    def _condition(self, factors: Indices) -> Indices | Rows | None:
        """Returns y of examples with these factors."""
        of = {
            name: values[column] for (name, values), column in zip(self.factor_values.items(), factors.T, strict=True)
        }
        columns = [*(_ATTRIBUTES[name](of) for name in self.attributes), *(of[name] for name in self.numbers)]
        return condition_rows(factors[:, 0] if self.num_classes else None, self.num_classes, columns)

    @property
    def _grid(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self.factor_values.values())

    @cached_property
    def _rows(self) -> tuple[Indices, Indices]:
        return train_and_test_rows(int(np.prod(self._grid)), test_fraction=0.1, seed=0)

    def _all_positions(self, appearance: int) -> Images:
        """Returns one appearance at every position, (x * y, H, W)."""
        shape, scale, orientation = np.unravel_index(appearance, self._grid[:3])
        values = self.factor_values
        side = self.native_shape[1]
        fine = max(side // _CANVAS, 1)  # pixels of the drawing in a unit
        drawing = _draw(SHAPES[shape], values["scale"][scale], values["orientation"][orientation], fine)
        windows = sliding_window_view(drawing, (_CANVAS * fine, _CANVAS * fine))
        coarse = _CANVAS * fine // side
        # A window further to the right shows the shape further to the left, so the windows are taken in reverse.
        offsets = np.round((1 - values["x"]) * (_POSITIONS - 1)).astype(np.int64) * fine
        picked = windows[np.ix_(offsets, offsets)][..., ::coarse, ::coarse]
        return picked.swapaxes(0, 1).reshape(-1, side, side)


def _draw(shape: str, scale: float, orientation: float, fine: int) -> Images:
    """Returns a shape on a canvas so large that every position is a window of it."""
    side = _CANVAS + _POSITIONS - 1
    points = (np.arange(side * fine) + 0.5) / fine - side / 2
    x, y = points[None, :], points[:, None]
    u = (np.cos(orientation) * x + np.sin(orientation) * y) / scale
    v = (np.cos(orientation) * y - np.sin(orientation) * x) / scale
    return np.where(_inside(shape, u, v), np.uint8(255), np.uint8(0))


def _checked_parts(condition: Sequence[str]) -> tuple[str, ...]:
    known = ("shape", *_NUMBERS, *_ATTRIBUTES)
    for name in condition:
        if name not in known:
            raise ValueError(f"condition={list(condition)}: {name} is unknown; choose from {', '.join(known)}")
    if "shape" in condition and set(SHAPES) & set(condition):
        raise ValueError(
            f"condition={list(condition)}: shape is the class {', '.join(SHAPES)} already; name one of both"
        )
    return tuple(dict.fromkeys(condition))


def _inside(shape: str, u: Floats, v: Floats) -> NDArray[np.bool_]:
    """Returns True for points, in units from the centre, that lie in the shape; v points down the picture."""
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 11
    if shape == "ellipse":
        return (u / 15) ** 2 + (v / 8) ** 2 <= 1
    u, v = u / 12, -v / 12
    # The sextic heart curve; its points are at most 1.31 from the origin.
    return (u**2 + v**2 - 1) ** 3 <= u**2 * v**3
