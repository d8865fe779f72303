"""Files of tensors, perhaps a stranger's: read as plain tensors that take no more memory than the file has bytes."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_lab.files import why_not_a_file, write_bytes

_MAX_BYTES_PER_BYTE = 2
"""Bytes of tensors per byte of the file: weights that two parts of a model share are saved once and read twice."""
_SLACK_BYTES = 10**6


def load_tensors(path: Path) -> Any:
    """Returns what torch has saved in a file, with tensors on the CPU; reading it executes nothing.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is not a regular file, or if its tensors are not plain ones of the size that the file has.
        Exception: of any kind, from torch, for a file that is corrupt.
    """
    if problem := why_not_a_file(path):
        raise ValueError(problem)
    _check_archive(path)
    with warnings.catch_warnings(action="ignore"):  # of odd pickles: they are refused anyway
        # Mapped, so that nothing is read before it is checked, and nothing that lies outside of the file.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    tensors = list(_tensors(content))
    _check_plain(tensors)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    size = path.stat().st_size
    if claimed > _MAX_BYTES_PER_BYTE * size + _SLACK_BYTES:
        raise ValueError(f"its tensors claim {claimed} bytes, the file has {size}")
    for tensor in tensors:
        tensor.data = tensor.clone()  # independent of the file, which may be replaced
    return content


def save_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors as a file of safetensors, which other programs read, too.

    Raises:
        ImportError: if safetensors is not installed.
        OSError: if it cannot be written.
    """
    # Copies: two names of one tensor, and other layouts than row by row, have no place in such a file.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(path, _safetensors().save(plain, metadata={"format": "pt"}))


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors in a file of safetensors, which can hold nothing else, on the CPU.

    Raises:
        ImportError: if safetensors is not installed.
        Exception: of any kind, from safetensors, for a file that is corrupt.
    """
    tensors: dict[str, Tensor] = _safetensors().load_file(path)
    return tensors


def _safetensors() -> Any:
    try:
        import safetensors.torch as library  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ImportError("model.safetensors needs safetensors; pip install 'vae-lab[export]'") from error
    return library


def _check_archive(path: Path) -> None:
    """Raises ValueError for an archive that is packed or damaged: torch unpacks any, and compares no checksums."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not an archive of tensors")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("it is compressed, which no checkpoint is")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise ValueError("its parts are larger than the file")
        if damaged := archive.testzip():
            raise ValueError(f"its part {damaged} is damaged: the checksum differs")


def _tensors(content: Any) -> Iterator[Tensor]:
    """Yields every tensor within nested containers once, even if a container holds itself."""
    waiting, seen = [content], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Tensor):
            yield node
        elif isinstance(node, Mapping):
            waiting += [*node.keys(), *node.values()]
        elif isinstance(node, list | tuple | set | frozenset):
            waiting += node


def _check_plain(tensors: list[Tensor]) -> None:
    """Raises ValueError for a tensor that is more than numbers in memory, or that repeats its numbers."""
    for tensor in tensors:
        strange = type(tensor) not in (Tensor, nn.Parameter) or tensor.is_quantized or tensor.is_nested
        if strange or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"it has a tensor of an unusual kind ({tensor.layout}, {tensor.dtype}, {tensor.device})")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"it has a tensor of shape {tuple(tensor.shape)} with fewer numbers than that")
