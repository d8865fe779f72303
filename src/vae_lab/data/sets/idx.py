"""IDX, the format of MNIST and its relatives: a magic number, big-endian sizes, then the bytes, often gzipped.

Format: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from vae_lab.data.arrays import Arrays, Images

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, ndim: int) -> Images:
    """Returns the array of ``ndim`` dimensions in an IDX file of unsigned bytes, gzipped or plain.

    Raises:
        ValueError: naming the file, if it is corrupt, truncated or of another format.
    """
    try:
        content = path.read_bytes()
        return parse_idx(gzip.decompress(content) if content.startswith(_GZIP) else content, ndim)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: corrupt or truncated ({error})") from error


def parse_idx(content: bytes, ndim: int) -> Images:
    """Returns the array of ``ndim`` dimensions in the bytes of an IDX file, without a copy (so it is read-only).

    Raises:
        ValueError: if the bytes are not exactly one IDX array of unsigned bytes.
    """
    if content[:4] != bytes([0, 0, _UNSIGNED_BYTE, ndim]):
        raise ValueError(f"not an IDX file of unsigned bytes in {ndim} dimensions")
    start = 4 + 4 * ndim
    if len(content) < start:
        raise ValueError("the header is cut off")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{math.prod(shape)} bytes announced, {len(content) - start} present")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def as_arrays(images: Images, labels: Images) -> Arrays:
    """Returns images (N, H, W) and labels (N,) of IDX files as one grey channel and int64."""
    return Arrays(images[:, None], labels.astype(np.int64))
