"""A progress bar of one line, for notebooks: they cannot show a bar within another one."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

from vae_lab.training.callbacks.progress import Progress


class NotebookBar(Progress):
    """`Progress` without the bars of validation and test, which would add lines to a notebook at every epoch."""

    def init_validation_tqdm(self) -> Any:
        return Tqdm(disable=True)

    def init_test_tqdm(self) -> Any:
        return Tqdm(disable=True)
