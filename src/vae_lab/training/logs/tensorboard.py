"""Arranges what a run writes to TensorBoard: charts side by side, settings and results as text, one row in HPARAMS."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

KL_OF_DIMENSIONS = "val_kl_by_dimension"
_OF_HPARAMS = "values_of_hparams"
"""Group of the test metrics, which HPARAMS reads from scalars: the last one of SCALARS."""


class TensorBoard(TensorBoardLogger):
    """Lightning's logger without the chart of ``epoch``, and without those of one point for each test metric.

    The test metrics are in HPARAMS and in TEXT, and below all other charts, because HPARAMS reads scalars.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        curves = {tag: value for tag, value in metrics.items() if tag != "epoch" and not tag.startswith("test/")}
        if curves:
            super().log_metrics(curves, step)


def tensorboard_writer(trainer: Trainer) -> SummaryWriter | None:
    """Returns the writer of the first TensorBoard logger; None without one."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def write_beginning(writer: SummaryWriter, config: Mapping[str, Any], groups: Sequence[str]) -> None:
    """Writes the config as text, and the charts of the tab CUSTOM SCALARS.

    Args:
        writer: writer of the run.
        config: whole config, as plain containers.
        groups: group of each level, as `LatentVariableModel.level_groups`.
    """
    writer.add_text("config", f"```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}\n```")
    names = list(dict.fromkeys(groups))
    parts = [f"^val/kl_{name}$" for name in names] if len(names) > 1 else [f"^{KL_OF_DIMENSIONS}/"]
    charts = {
        "ELBO": ["^train/elbo$", "^val/elbo$"],
        "log-likelihood": ["^train/log_likelihood$", "^val/log_likelihood$"],
        "KL": ["^train/kl$", "^val/kl$"],
        "KL by level" if len(names) > 1 else "KL by dimension": parts,
    }
    layout = {"bound, in nats per example": {title: ["Multiline", tags] for title, tags in charts.items()}}
    writer.add_custom_scalars(layout)


def write_result(
    writer: SummaryWriter,
    settings: Mapping[str, Any],
    swept: Collection[str],
    metrics: Mapping[str, float],
    remarks: Iterable[str],
) -> None:
    """Writes the run's row in HPARAMS, its settings with its final metrics, and the metrics as text.

    Args:
        writer: writer of the run, which is closed.
        settings: settings by name.
        swept: names of the settings that vary in a sweep, which TensorBoard shows first.
        metrics: test metrics by tag.
        remarks: lines below the metrics.
    """
    plain = {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
    }
    values = {f"{_OF_HPARAMS}/{tag.removeprefix('test/')}": value for tag, value in metrics.items()}
    experiment, *session = hparams_summaries(plain, values)  # type: ignore[no-untyped-call]
    content = experiment.value[0].metadata.plugin_data
    described = HParamsPluginData.FromString(content.content)
    for setting in described.experiment.hparam_infos:
        setting.differs = setting.name in swept
    for metric in described.experiment.metric_infos:
        metric.display_name = metric.name.tag.replace(_OF_HPARAMS, "test")
    content.content = described.SerializeToString()
    for part in (experiment, *session):
        writer._get_file_writer().add_summary(part)  # type: ignore[no-untyped-call]
    for tag, value in values.items():
        writer.add_scalar(tag, value)
    rows = [f"| {tag.removeprefix('test/')} | {value:.3f} |" for tag, value in metrics.items()]
    lines = ["| test metric | value |", "|---|---|", *rows, "", *(f"- {remark}" for remark in remarks)]
    writer.add_text("result", "\n".join(lines))
    writer.close()
