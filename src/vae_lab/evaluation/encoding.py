"""Codes, ELBO and, where asked, log p(x) of every example of a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from vae_lab import noise
from vae_lab.core import LatentVariableModel
from vae_lab.core.codes import code_of
from vae_lab.core.inputs import check_spec
from vae_lab.data import ImageDataModule
from vae_lab.data.source import readable
from vae_lab.data.summary import summary
from vae_lab.errors import RunError
from vae_lab.evaluation.code_table import Array, CodeTable, check_format, write_table
from vae_lab.files import unfinished_folder
from vae_lab.settings import EncodingSettings
from vae_lab.training.trainer_checks import dtype_of
from vae_lab.types import Batch, DataSpec, SplitName


def encode(
    model: LatentVariableModel, data: ImageDataModule, trainer: Trainer, path: Path, settings: EncodingSettings
) -> int:
    """Writes a table of codes, in bounded memory, and returns the number of its rows.

    Each example has its ``split``, ``row``, ``file`` where it has one and ``label`` by name; ``elbo``, ``kl`` of each
    level and ``log_prob`` where asked, in nats; and mean and scale of the posterior of each level, as
    `vae_lab.core.codes.code_of` defines them.

    Args:
        model: model with the ``spec`` of its data.
        trainer: trainer of one process, which chooses the device.
        path: file that is written; its ending names the format.

    Raises:
        RunError: for another format, more than one process, a limit of batches, or a table that cannot be written.
        ValueError: for data that do not fit the model.
    """
    check_format(path)
    if trainer.world_size > 1:
        raise RunError(f"trainer.devices={trainer.world_size}: a table of codes is written by one process; set 1")
    if trainer.limit_predict_batches != 1.0 or isinstance(trainer.limit_predict_batches, int):
        limit = trainer.limit_predict_batches
        raise RunError(f"trainer.limit_predict_batches={limit}: a table has every example of a split; leave it out")
    check_spec(model, data.spec, f"data_root={data.images.root}: ")
    data.prepare_data()
    splits: Sequence[SplitName] = ("train", "val", "test") if settings.split == "all" else (settings.split,)
    if settings.split == "all" and data.selection == "test set":
        splits = ("train", "test")
    print(summary(data, splits))
    data.dtype = dtype_of(trainer.precision, model)
    with unfinished_folder(path.with_name(f"{path.name}.columns")) as folder:
        described = _described(data, splits)
        table = CodeTable(folder, len(described["row"]))
        module = _EncodingModule(model, settings, table, described)
        for split in splits:
            data.test_split = split
            with torch.no_grad():
                trainer.predict(module, datamodule=data, return_predictions=False)
        write_table(table, path)
    return table.size


def _described(data: ImageDataModule, splits: Sequence[SplitName]) -> dict[str, Array]:
    """Returns the columns that say which example each row is, for all splits one after another."""
    parts = [_described_split(data, split) for split in splits]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _described_split(data: ImageDataModule, split: SplitName) -> dict[str, Array]:
    arrays, rows = data.original(split)
    described: dict[str, Array] = {"split": np.full(len(rows), split)}
    described["row"] = rows if arrays.rows is None else arrays.rows[rows]
    if arrays.names is not None:
        described["file"] = np.array([readable(name) for name in arrays.names[rows].tolist()])
    return described if arrays.y is None else described | _conditions(data.spec, arrays.y[rows])


def _conditions(spec: DataSpec, y: Array) -> dict[str, Array]:
    """Returns the class of each example by name, and each attribute and number in a column of its name."""
    named: dict[str, Array] = {}
    if spec.num_classes:
        names = np.array([spec.name_of(label) for label in range(spec.num_classes)])
        named["label"] = names[y if y.ndim == 1 else y[:, : spec.num_classes].argmax(1)]
    for column, name in list(enumerate(spec.context_names))[spec.num_classes :]:
        named[f"condition_{name}"] = y[:, column]
    return named


def _array(values: Tensor) -> Array:
    values = values.cpu()
    found: Array = (values if values.dtype == torch.int64 else values.float()).numpy()
    return found


class _EncodingModule(LightningModule):
    """Computes the columns of a table of codes, and adds them to it beside those that say which example each row is."""

    def __init__(
        self, model: LatentVariableModel, settings: EncodingSettings, table: CodeTable, described: dict[str, Array]
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.table = table
        self.described = described

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        y = batch.y if self.model.conditional else None
        columns: dict[str, Tensor] = {}
        settings, seed = self.settings, noise.seed_of_batch(self.settings.seed, batch_idx)
        if settings.num_samples is not None:
            with noise.fixed_seed(seed, self.device):
                columns["log_prob"] = self.model.log_marginal(batch.x, y, settings.num_samples, settings.chunk)
        with noise.fixed_seed(seed, self.device):  # again, so that codes do not depend on whether log p(x) is asked for
            terms = self.model(batch.x, y, settings.elbo_samples)
        columns["elbo"] = terms.elbo
        for number, level in enumerate(terms.levels, start=1):
            code = code_of(level)
            columns[f"kl_{number}"] = level.kl.mean(0)
            if self.model.discrete:
                columns[f"code_{number}"] = code.mean.long()
            else:
                columns[f"mean_{number}"], columns[f"scale_{number}"] = code
        return columns

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        some = slice(self.table.filled, self.table.filled + len(outputs["elbo"]))
        described = {name: values[some] for name, values in self.described.items()}
        self.table.add(described | {name: _array(values) for name, values in outputs.items()})
