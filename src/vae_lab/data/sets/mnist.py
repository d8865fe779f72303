"""MNIST, embedded in the package, so that it needs neither a network nor a folder.

``mnist.xz`` holds the four IDX files one after another. The data are by Y. LeCun, C. Cortes and C. J. C. Burges, "The
MNIST database of handwritten digits" (1998), under the licence CC BY-SA 3.0
(https://creativecommons.org/licenses/by-sa/3.0/); recompressed by benchmarks/pack_mnist.py, otherwise unchanged.
"""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from vae_lab.data.arrays import Arrays
from vae_lab.data.image_set import DIGITS, ImageSet
from vae_lab.data.sets.idx import as_arrays, parse_idx

EMBEDDED = Path(__file__).with_name("mnist.xz")

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The files in the order in which they are embedded, with the digest of each."""

_SIZES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


class Mnist(ImageSet):
    """Handwritten digits: 60,000 and 10,000 grey images of 28 x 28, 10 classes. ``root`` is not used."""

    reads_root = False
    name = "mnist"
    licence = "CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/), Y. LeCun, C. Cortes, C. Burges"
    native_shape = (1, 28, 28)
    num_classes = 10
    class_names = DIGITS

    def read(self, train: bool) -> Arrays:
        return _embedded_split("train" if train else "t10k")


@cache
def _embedded_split(split: str) -> Arrays:
    files = _embedded_files()
    images, labels = files[f"{split}-images-idx3-ubyte"], files[f"{split}-labels-idx1-ubyte"]
    return as_arrays(parse_idx(images, 3), parse_idx(labels, 1))


@cache
def _embedded_files() -> Mapping[str, bytes]:
    return unpack(EMBEDDED)


def unpack(path: Path) -> dict[str, bytes]:
    """Returns the four IDX files by name, byte for byte as published.

    Raises:
        ValueError: naming the file, if it is truncated or differs in any byte.
    """
    try:
        content = memoryview(lzma.decompress(path.read_bytes()))
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path}: corrupt or truncated ({error}); install vae_lab again") from error
    files, start = {}, 0
    for name, size in _SIZES.items():
        part = content[start : start + size]
        if hashlib.sha256(part).hexdigest() != SHA256[name]:
            raise ValueError(f"{path}: the sha256 of {name} in it is not the published one; install vae_lab again")
        files[name] = bytes(part)
        start += size
    return files
