"""A user's own picture, dropped on the page, as an example of the model's data."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageOps

from vae_lab.data.picture.depth import USUAL
from vae_lab.data.picture.files import over_white
from vae_lab.explorer.guard import RefusedError
from vae_lab.types import Batch, DataSpec

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Formats that are read: those of browsers, none of which runs a program."""
MAX_PIXELS = 40_000_000


def read_picture(content: bytes, spec: DataSpec, inverted: bool) -> Batch:
    """Returns a picture in the shape of the data: a centre crop, resampled; for binary data black and white.

    Args:
        inverted: exchange dark and bright, for ink on paper.

    Raises:
        RefusedError: for data that are not pictures, a file that cannot be read, or too many pixels.
    """
    if len(spec.shape) != 3 or spec.shape[0] not in (1, 3) or spec.support == "real":
        raise RefusedError(400, f"picture: this model's data have shape {spec.shape}, which a picture file cannot give")
    channels, height, width = spec.shape
    flat = _opened(content).convert("L" if channels == 1 else "RGB")
    small = ImageOps.fit(flat, (width, height), Image.Resampling.BILINEAR)
    if inverted:
        small = ImageOps.invert(small)
    pixels = np.array(small).reshape(height, width, channels)
    x = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    return Batch((x > 0.5).float(), grey=x) if spec.support == "binary" else Batch(x)


def _opened(content: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # before anything is decoded
                raise RefusedError(413, f"picture: {image.width} x {image.height}, more than {MAX_PIXELS} pixels")
            # Pillow would clip greys of 16 bits at 255.
            return over_white(USUAL.scaled(ImageOps.exif_transpose(image)))
    except RefusedError:
        raise
    except Exception as error:  # a broken file makes Pillow's plugins fail in dozens of ways
        raise RefusedError(400, f"picture: cannot be read as one of {', '.join(FORMATS)}") from error
