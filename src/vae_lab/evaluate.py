"""python -m vae_lab.evaluate run=outputs/vae-mnist/...: likelihood by importance sampling, ELBO, active units, MIG."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from vae_lab.cli import command
from vae_lab.cli.trainers import open_run
from vae_lab.collapse import collapse_lines
from vae_lab.errors import RunError, naming_data_root
from vae_lab.settings import EvaluationSettings

if TYPE_CHECKING:
    from vae_lab.core import LatentVariableModel
    from vae_lab.types import Batch

_NUM_EXAMPLES = 1000
"""Examples of which the picture shows the one in the middle."""
_NOT_SHOWN = ("split", "seed", "num_examples", "mig_by_factor", "disentanglement_codes", "disentanglement_level")
"""Results that are in the title, in rows of their own, or as the user has set them."""


def evaluate(cfg: DictConfig) -> None:
    """Evaluates a run; writes its numbers as `evaluation_path` says and, of disentanglement, a picture beside them."""
    # Here and not above: --help and a wrong key must not wait for torch.
    from vae_lab import evaluation  # noqa: PLC0415
    from vae_lab.runs import folder as runs  # noqa: PLC0415
    from vae_lab.runs.data import is_own_data  # noqa: PLC0415
    from vae_lab.runs.evaluations import beside_better, evaluation_path  # noqa: PLC0415
    from vae_lab.runs.loading import find_run  # noqa: PLC0415
    from vae_lab.screen import print_lines  # noqa: PLC0415

    settings = command.settings_of(EvaluationSettings, cfg)
    run = find_run(cfg.run)
    model, step, data, trainer = open_run(cfg, run)
    started = time.monotonic()
    with naming_data_root():
        result = evaluation.evaluate(model, data, trainer, settings)
    if trainer.is_global_zero:
        _refuse_non_finite(result)
        total = len(data.split(settings.split).rows)
        data_root = str(Path(data.images.root).expanduser().absolute())
        own = is_own_data(run, cfg.data_root, data, settings.split)
        record = result | {
            "step": step,
            "precision": trainer.precision,
            "data_root": data_root,
            "own_data": own,
            "data": run.config["data"] | {"root": data_root},
        }
        path = evaluation_path(run, None if own else data_root, settings.split, cfg.weights)
        path = beside_better(path, record, total)
        seconds = time.monotonic() - started
        show(result)  # before the writing, which a full or read-only disk ends
        runs.save_evaluation(path, record, run.summary(), run.checkpoint.name, seconds)
        if "mig_by_factor" in result:
            draw(model, data.examples(_NUM_EXAMPLES, settings.split), result, path)
        print_lines([*collapse_lines(result, run.config), f"written to   {path}"])
        if not own and not cfg.data_root:
            print(f"             {data_root}: no longer the {settings.split} set that the run was trained with")
        if path.name != runs.EVALUATION:
            read = "the run's own weights on its whole test set, with the most samples"
            print(f"             reports read {runs.EVALUATION} alone: {read}")


def _refuse_non_finite(result: dict[str, Any]) -> None:
    """Raises RunError for numbers that would be written over those of a good evaluation."""
    broken = [key for key in ("nll", "elbo", "log_likelihood", "kl") if not math.isfinite(result[key])]
    if broken:
        raise RunError(f"{', '.join(broken)}: not finite on the {result['split']} set; nothing is written")


def draw(model: LatentVariableModel, examples: Batch, result: dict[str, Any], path: Path) -> None:
    """Writes figures/traversals_by_factor.png beside evaluation.json, with the same ending for other splits."""
    from vae_lab.pictures import save_picture, traversals_by_factor  # noqa: PLC0415
    from vae_lab.runs.folder import FIGURES  # noqa: PLC0415

    best = {name: (of["dimension"], of["mutual_information"]) for name, of in result["mig_by_factor"].items()}
    sheet = traversals_by_factor(model, examples, best, result["disentanglement_level"])
    if sheet.drawable:
        save_picture(sheet.draw(), path.parent / FIGURES, path.stem.replace("evaluation", "traversals_by_factor", 1))


def show(result: Mapping[str, Any]) -> None:
    """Prints the table."""
    from vae_lab.screen import print_results  # noqa: PLC0415

    of_factors = [
        (f"mig of {name}", f"{best['mig']:.3f}", f"z[{best['dimension']}]: {best['mutual_information']:.2f} nats")
        for name, best in result.get("mig_by_factor", {}).items()
    ]
    title = f"{result['split']} set, {result['num_examples']} examples"
    print_results(title, {name: result[name] for name in result if name not in _NOT_SHOWN}, of_factors)


def main() -> None:
    """Runs the command."""
    command.run(evaluate, "evaluate")


if __name__ == "__main__":
    main()
