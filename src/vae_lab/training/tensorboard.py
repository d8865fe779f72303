"""Arranges what a run writes to TensorBoard: charts side by side, settings and results as text, one row in HPARAMS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from vae_lab.collapse import shown_name

KL_OF_DIMENSIONS = "kl_by_dimension"


class TensorBoard(TensorBoardLogger):
    """Lightning's logger without the chart of ``epoch``, and without charts of one point for each test metric.

    The test metrics are in the HPARAMS tab and in TEXT.
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
    writer: SummaryWriter, settings: Mapping[str, Any], metrics: Mapping[str, float], remarks: Iterable[str]
) -> None:
    """Writes the run's row in HPARAMS, its settings with its final metrics, and the metrics as text.

    Args:
        writer: writer of the run, which is closed.
        settings: settings by name; the first ones are shown first.
        metrics: test metrics by tag.
        remarks: lines below the metrics.
    """
    plain = {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
    }
    # The writer's own `add_hparams` would add each metric to its curve a second time.
    for part in hparams_summaries(plain, dict(metrics)):  # type: ignore[no-untyped-call]
        writer._get_file_writer().add_summary(part)  # type: ignore[no-untyped-call]
    rows = [f"| {shown_name(tag.removeprefix('test/'))} | {value:.3f} |" for tag, value in metrics.items()]
    lines = ["| test metric | value |", "|---|---|", *rows, "", *(f"- {remark}" for remark in remarks)]
    writer.add_text("result", "\n".join(lines))
    writer.close()
