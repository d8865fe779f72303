"""python -m vae_lab.evaluate run=outputs/vae-mnist/...: likelihood by importance sampling, ELBO, active units."""

from __future__ import annotations

import time
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from vae_lab.config import command

UNITS = {
    "effective_samples": "samples",
    "bits_per_dim": "bits",
    "num_samples": "",
    "num_examples": "",
    "split": "",
    "seed": "",
}


def evaluate(cfg: DictConfig) -> None:
    """Evaluates a run and writes evaluation.json into its folder."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab import evaluation, runs  # noqa: PLC0415
    from vae_lab.loading import find_run  # noqa: PLC0415
    from vae_lab.training import prepare_process  # noqa: PLC0415

    settings = evaluation.Settings(**{name: cfg[name] for name in evaluation.Settings.__dataclass_fields__})
    run = find_run(cfg.run)
    prepare_process(cfg.seed)
    model = run.model(cfg.packages)
    root = {"root": cfg.data_root} if cfg.data_root else {}
    data = run.data(cfg.packages, batch_size=cfg.batch_size, **root)
    trainer = instantiate(cfg.trainer, logger=False, enable_checkpointing=False, _convert_="all")
    started = time.monotonic()
    result = evaluation.evaluate(model, data, trainer, settings)
    if trainer.is_global_zero:
        path = run.folder / f"evaluation{'' if settings.split == 'test' else '_' + settings.split}.json"
        runs.save_evaluation(path, result, run.checkpoint.name, time.monotonic() - started)
        show(result, str(path))


def show(result: dict[str, Any], path: str) -> None:
    """The table on the screen."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"{result['split']} set, {result['num_examples']} examples", title_justify="left")
    for column in ("metric", "value", "unit"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, value in result.items():
        if name.endswith("_error") or name in ("split", "seed", "num_examples"):
            continue
        error = result.get(f"{name}_error")
        shown = f"{value:.3f}" if isinstance(value, float) else str(value)
        unit = "dimensions" if name.startswith("active_units") else UNITS.get(name, "nats an example")
        table.add_row(name, shown if error is None else f"{shown} ± {error:.3f}", unit)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"written to   {path}", highlight=False)


def main() -> None:
    """The command."""
    command.run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
