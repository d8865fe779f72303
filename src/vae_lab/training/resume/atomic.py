"""Writes checkpoints that are whole or absent, whatever happens meanwhile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from vae_lab.errors import RunError
from vae_lab.files import write_bytes
from vae_lab.runs.checkpoints import read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, makes it safe on disk and moves it there; reads tensors and nothing else.

    Raises:
        OSError: if it cannot be written, for example on a full disk; an earlier checkpoint stays.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch.save would turn a full disk into an error without its name
        torch.save(checkpoint, content)
        write_bytes(Path(path), content.getbuffer(), sync=True)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        # Lightning takes the names from the checkpoint of a resumed run, which may be a stranger's, and makes sure that
        # they begin with the folder of checkpoints.
        if ".." in Path(path).parts or "://" in str(path):
            raise RunError(f"{path}: not removed, as it may lie outside of the run")
        super().remove_checkpoint(path)
