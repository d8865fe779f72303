"""Fits pictures of any sides into those that are asked for: by a crop, by a margin, or by stretching them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2 import functional

Fit = Literal["crop", "pad", "stretch"]
ImageSize = int | tuple[int, int] | None
"""Side of square pictures, or height and width; None: as they are."""

_MAX_SIDE = 2**14
"""Side of an image in pixels."""


class Sides(NamedTuple):
    """Height and width in pixels."""

    height: int
    width: int


def sides_of(image_size: ImageSize) -> Sides | None:
    """Returns height and width; None for pictures that stay as they are.

    Raises:
        ValueError: for anything but one or two sides within the limits.
    """
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2 or not all(1 <= side <= _MAX_SIDE for side in sides):
        shown = image_size if isinstance(image_size, int) else list(image_size)
        raise ValueError(
            f"image_size={shown}: must lie in 1..{_MAX_SIDE}, be [height,width], or be null for the size of the images"
        )
    return Sides(*sides)


def check_fit(fit: Fit) -> None:
    """Raises ValueError for an unknown way to fit pictures."""
    if fit not in get_args(Fit):
        raise ValueError(f"fit={fit}: choose one of {', '.join(get_args(Fit))}")


def cropped_sides(found: Sides, wanted: Sides) -> Sides:
    """Returns the sides of the largest part of a picture that has the proportions of ``wanted``."""
    if found.width * wanted.height > found.height * wanted.width:
        return Sides(found.height, max(1, round(found.height * wanted.width / wanted.height)))
    return Sides(max(1, round(found.width * wanted.height / wanted.width)), found.width)


def inner_sides(found: Sides, wanted: Sides) -> Sides:
    """Returns the sides of the whole picture when it is resized to lie just within ``wanted``."""
    scale = min(wanted.height / found.height, wanted.width / found.width)
    return Sides(*(max(1, round(side * scale)) for side in found))


def is_changed(found: Sides, wanted: Sides) -> bool:
    """True if the proportions differ by more than a pixel, so that something is cut off, added or stretched."""
    kept = cropped_sides(found, wanted)
    return found.height - kept.height > 1 or found.width - kept.width > 1


def is_enlarged(found: Sides, wanted: Sides, fit: Fit) -> bool:
    """True if a picture has fewer pixels than those that it becomes."""
    scales = (wanted.height / found.height, wanted.width / found.width)
    return (min if fit == "pad" else max)(scales) > 1


class Fitted(NamedTuple):
    """Numbers of pictures: of other proportions than those asked for, of smaller ones, and of all."""

    changed: int
    enlarged: int
    total: int


def note(fitted: Iterable[Fitted], wanted: Sides, fit: Fit) -> str:
    """Returns what was done to the pictures of all splits; empty if they were at most reduced."""
    changed, enlarged, of = (sum(numbers) for numbers in zip((0, 0, 0), *fitted, strict=True))
    small = f"{enlarged} of {of} pictures are smaller than {wanted.height} x {wanted.width} and are enlarged"
    return "; ".join([_changed_note(changed, of, wanted, fit)] * bool(changed) + [small] * bool(enlarged))


def _changed_note(changed: int, of: int, wanted: Sides, fit: Fit) -> str:
    done = {
        "crop": "cropped to their centre",
        "pad": "given a black margin",
        "stretch": "stretched",
    }[fit]
    others = "|".join(other for other in get_args(Fit) if other != fit)
    return (
        f"{changed} of {of} pictures have other proportions than {wanted.height} x {wanted.width} and are {done};"
        f" data.images.fit={others} decides otherwise"
    )


def fitted_tensor(images: Tensor, wanted: Sides, fit: Fit) -> Tensor:
    """Returns pictures (N, C, *wanted), resampled bilinearly with antialiasing."""
    found = Sides(*images.shape[2:])
    if fit == "crop":
        images = functional.center_crop(images, list(cropped_sides(found, wanted)))
    inner = inner_sides(found, wanted) if fit == "pad" else wanted
    resized: Tensor = functional.resize(images, list(inner), antialias=True)
    top, left = ((outer - side) // 2 for outer, side in zip(wanted, inner, strict=True))
    return pad(resized, (left, wanted.width - inner.width - left, top, wanted.height - inner.height - top))


def fitted_picture(picture: Image.Image, wanted: Sides, fit: Fit, crop: int | None = None) -> Image.Image:
    """Returns a picture of the sides ``wanted``, resampled bilinearly with antialiasing, after a centre ``crop``."""
    if crop is not None:
        side = min(crop, *picture.size)
        picture = _centre(picture, Sides(side, side))
    found = Sides(picture.height, picture.width)
    if fit == "crop":
        picture = _centre(picture, cropped_sides(found, wanted))
    inner = inner_sides(found, wanted) if fit == "pad" else wanted
    small = picture.resize((inner.width, inner.height), Image.Resampling.BILINEAR)
    if inner == wanted:
        return small
    whole = Image.new(small.mode, (wanted.width, wanted.height))
    whole.paste(small, ((wanted.width - inner.width) // 2, (wanted.height - inner.height) // 2))
    return whole


def _centre(picture: Image.Image, sides: Sides) -> Image.Image:
    left, top = (picture.width - sides.width) // 2, (picture.height - sides.height) // 2
    return picture.crop((left, top, left + sides.width, top + sides.height))
