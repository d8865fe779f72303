"""Picture files of any kind decoded to small uint8 arrays, in parallel."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from vae_lab.data import framing
from vae_lab.data.arrays import Images, Indices
from vae_lab.data.framing import Fit, Sides, sides_of
from vae_lab.data.picture import cache as picture_cache
from vae_lab.data.picture.depth import SIXTEEN_BITS, USUAL, White, WrongWhiteError, has_deep_colour
from vae_lab.data.picture.files import open_picture, over_white, stamps
from vae_lab.data.source import readable
from vae_lab.types import listed

_ALMOST_BLACK = 15
"""A set without brighter pixels is probably not one of 8 bits."""

_MAX_NAMED = 10
"""Files that a warning names."""


@dataclass
class Findings:
    """Facts that a user should know of pictures that were decoded.

    Attributes:
        changed: number of pictures of other proportions than those asked for.
        enlarged: number of smaller pictures.
        grey: True if three channels are asked for, and equal in every picture.
        remarks: sentences for the user.
    """

    changed: int = 0
    enlarged: int = 0
    grey: bool = False
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, notes: object) -> Findings:
        """Returns the findings in the notes of a cache, without those that are missing or damaged."""
        found, usual = (notes if isinstance(notes, dict) else {}), asdict(cls())
        kept = {name: found[name] for name in usual if type(found.get(name)) is type(usual[name])}
        remarks = [each for each in kept.get("remarks", []) if isinstance(each, str) and each.isprintable()]
        return cls(**kept | {"remarks": remarks})


class _Decoded(NamedTuple):
    """A picture (channels, height, width), and facts about its file."""

    picture: Images
    changed: bool
    enlarged: bool
    has_frames: bool


@dataclass(frozen=True)
class Decoder:
    """Turns a picture file into a uint8 array.

    The first frame of an animation is taken, EXIF rotation applied, transparency laid over white, deep greys scaled to
    8 bits, every colour space converted; then it is fitted, by antialiased bilinear resampling.

    Args:
        size: side of a square result in pixels, or height and width.
        channels: number of channels, 1 for grey and 3 for RGB.
        crop: side of a centre crop in pixels of the original that comes first; None: none.
        white: values of white in grey pictures.
        fit: what happens to a picture of other proportions.
    """

    size: int | tuple[int, int]
    channels: int
    crop: int | None = None
    white: White = USUAL
    fit: Fit = "crop"

    @property
    def sides(self) -> Sides:
        sides = sides_of(self.size)
        assert sides is not None
        return sides

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.channels, *self.sides)

    def decode(self, path: Path) -> _Decoded:
        """Returns the picture and what is known of its file; raises as `open_picture`, and ValueError for values."""
        with open_picture(path) as image:
            if self.crop is None:
                # A JPEG is decoded at a fraction of its size where that leaves enough: far faster for photographs.
                image.draft(None, (2 * max(self.sides), 2 * max(self.sides)))
            _refuse_deep_colour(image, self.white)
            upright = self.white.scaled(ImageOps.exif_transpose(image))
            flat = over_white(upright).convert("L" if self.channels == 1 else "RGB")
            has_frames = _has_frames(image)
        changed = self.crop is None and framing.is_changed(Sides(flat.height, flat.width), self.sides)
        found = Sides(flat.height, flat.width) if self.crop is None else Sides(*[min(self.crop, *flat.size)] * 2)
        enlarged = framing.is_enlarged(found, self.sides, self.fit)
        small = framing.fitted_picture(flat, self.sides, self.fit, self.crop)
        picture = np.asarray(small).reshape(*self.sides, self.channels).transpose(2, 0, 1)
        return _Decoded(picture, changed, enlarged, has_frames)


def _has_frames(image: Image.Image) -> bool:
    """True for a file of several pictures, other than the preview that a camera adds (MPO)."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second picture; the first is read
        return False


def _refuse_deep_colour(image: Image.Image, white: White) -> None:
    """Raises WrongWhiteError for colours of fewer than 16 bits in 16, of which Pillow reads the upper 8."""
    if has_deep_colour(image) and white.integers != SIXTEEN_BITS:
        raise WrongWhiteError(
            f"16-bit colours are read at full range only, not at data.images.max_value={white.integers}; convert the"
            " pictures to 8 bits a channel"
        )


@dataclass(frozen=True)
class PictureSet:
    """Picture files that are decoded once, into a cache.

    Attributes:
        name: name of the data set.
        root: folder that the files are in.
        paths: picture files, in order.
        decoder: decoder that is applied to each.
        max_skipped: largest fraction of files that may be unreadable; they are skipped with one warning.
    """

    name: str
    root: str
    paths: Sequence[Path]
    decoder: Decoder
    max_skipped: float = 0

    def ensure_decoded(self) -> Path:
        """Returns the cache of the decoded files, written now if it does not exist.

        Raises:
            ValueError: naming the unreadable files, if they are more than `max_skipped`.
        """
        decoder = self.decoder
        white = [] if decoder.white == USUAL else astuple(decoder.white)
        key = [stamps(self.root, self.paths), decoder.size, decoder.channels, decoder.crop, white, decoder.fit]
        folder = picture_cache.cache_folder(self.root, self.name, key)
        if not folder.is_dir():
            findings = Findings()
            picture_cache.write(folder, self._decode_all(findings), lambda: asdict(findings))
        return folder

    def read(self, memory_limit_gb: float) -> tuple[Images, Indices, Findings]:
        """Returns the decoded files (N, *decoder.shape), the place of each in ``paths``, and findings; see above."""
        folder = self.ensure_decoded()
        images, kept = picture_cache.read(folder, self.decoder.shape, len(self.paths), memory_limit_gb)
        return images, kept, Findings.of(picture_cache.notes(folder))

    def _decode_all(self, findings: Findings) -> Iterator[tuple[int, Images]]:
        skipped, masks, brightest, frames = [], [], 0, 0
        findings.grey = self.decoder.channels == 3
        pool = ThreadPoolExecutor(os.cpu_count())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of metadata that have nothing to do with the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # refused like any other unreadable file
            try:
                results = pool.map(lambda path: _try(self.decoder, path), self.paths)
                bar = tqdm(results, f"decoding {self.name}", len(self.paths), unit="picture", file=sys.stdout)
                for place, result in enumerate(bar):
                    if isinstance(result, str):
                        skipped.append(result)
                    else:
                        picture = result.picture
                        findings.changed += result.changed
                        findings.enlarged += result.enlarged
                        frames += result.has_frames
                        findings.grey = findings.grey and bool((picture == picture[0]).all())
                        largest = int(picture.max())
                        brightest = max(brightest, largest)
                        if largest == 1 and picture.min() == 0:
                            masks.append(readable(str(self.paths[place])))
                        yield place, picture
            finally:
                pool.shutdown(cancel_futures=True)
        if brightest <= _ALMOST_BLACK and len(skipped) < len(self.paths):
            findings.remarks.append(_darkness(brightest, self.decoder.white))
        elif masks:
            findings.remarks.append(_masks_among(masks, len(self.paths) - len(skipped)))
        if frames:
            findings.remarks.append(
                f"{frames} of {len(self.paths)} files have several frames or pages; the first of each is read"
            )
        if skipped:
            self._report(skipped)

    def _report(self, skipped: Sequence[str]) -> None:
        total = len(self.paths)
        message = (
            f"{self.name}: {len(skipped)} of {total} files cannot be read as pictures: {listed(skipped, _MAX_NAMED)}"
        )
        if self.max_skipped and len(skipped) > self.max_skipped * total:
            raise ValueError(f"{message}; data.images.max_skipped={self.max_skipped} allows no more")
        if not self.max_skipped or len(skipped) == total:
            raise ValueError(message)
        warnings.warn(message, stacklevel=2)


def _darkness(brightest: int, white: White) -> str:
    if brightest == 0:
        return "every pixel is black"
    found = f"no pixel is brighter than {brightest} of 255"
    if white != USUAL:
        return f"{found}; data.images.max_value sets the value of white"
    return (
        f"{found}; if these are masks or few bits,"
        f" set data.images.max_value={brightest} (for grey pictures), or convert them"
    )


def _masks_among(masks: Sequence[str], total: int) -> str:
    return (
        f"{len(masks)} of {total} pictures hold the values 0 and 1 of 255 alone, so that they look black beside the"
        f" others: {listed(masks, _MAX_NAMED)}; if these are masks, convert them, or set data.images.max_value=1 if"
        " every grey picture of 8 bits is one (those of 1 bit stay as they are)"
    )


def _try(decoder: Decoder, path: Path) -> _Decoded | str:
    try:
        return decoder.decode(path)
    except WrongWhiteError as error:
        raise ValueError(f"{readable(str(path))}: {error}") from error
    except Exception as error:  # a broken file makes Pillow's plugins fail in dozens of ways
        return f"{readable(str(path))} ({' '.join(str(error).split()) or type(error).__name__})"
