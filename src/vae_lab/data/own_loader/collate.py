"""Makes batches of a user's Dataset: as torch does it, and of pictures of Pillow, which torch refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from vae_lab.data.picture.files import pixels_of


def collated(examples: Sequence[Any]) -> Any:
    """Returns a batch of examples; raises TypeError for a masked array, of which torch would drop the mask."""
    return default_collate([readable_example(example) for example in examples])


def readable_example(example: Any) -> Any:
    """Returns an example, or one with its label, with pictures of Pillow as tensors, (C, H, W)."""
    if isinstance(example, tuple | list):
        return [readable_example(part) for part in example]
    if isinstance(example, Image.Image):
        pixels = np.atleast_3d(pixels_of(example))
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    if np.ma.is_masked(example):
        raise TypeError("a masked array")
    return example
