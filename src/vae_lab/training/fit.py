"""A whole run: train, test the best (or the last) weights, leave the numbers where TensorBoard and people find them."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import shlex
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from rich.console import Console
from rich.table import Table
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from vae_lab.collapse import collapse_lines, shown_name, unit_title
from vae_lab.data import ImageDataModule
from vae_lab.data.summary import summary
from vae_lab.errors import NonFiniteLossError, RunError
from vae_lab.files import remove_unfinished
from vae_lab.runs import folder as runs
from vae_lab.runs.checkpoints import non_finite, other_weights, read_checkpoint
from vae_lab.training import curves, interrupts
from vae_lab.training.averaging import end_averaging, prepare_averaging
from vae_lab.training.callbacks import LastCheckpoint
from vae_lab.training.callbacks.last_checkpoint import how_to_resume
from vae_lab.training.callbacks.writer import report_thread_error, tensorboard_writer
from vae_lab.training.module import VariationalModule
from vae_lab.training.opening import Opening
from vae_lab.training.plan import check_plan
from vae_lab.training.processes import disband, lost_a_process
from vae_lab.training.resumed_callbacks import check_saves, fresh_callbacks
from vae_lab.training.resumed_optimizer import why_fresh
from vae_lab.training.sharding import refuse_own_parameters
from vae_lab.training.stopping import why_nothing_is_left
from vae_lab.training.trainer_checks import dtype_of
from vae_lab.types import SplitName

TestCheckpoint = Literal["best", "last"]
T = TypeVar("T")
DecoderBias = Literal["default", "data_mean"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


class Record(NamedTuple):
    """Where a run is written down, and what is written beside its metrics.

    Attributes:
        run: the run folder.
        seed: of the run.
        config: the whole config, for config.yaml.
        hparams: the settings that TensorBoard's HPARAMS tab shows.
    """

    run: Path
    seed: int
    config: Mapping[str, Any]
    hparams: Mapping[str, Any]


def prepare_process(seed: int) -> None:
    """Seeds everything and quiets what a user can do nothing about. Before threads start and anything is built."""
    torch.set_flush_denormal(True)  # saturated pixels make denormals, which slow CPUs down
    _keep_freed_memory()
    # Lightning would have every optimizer step ask for an NVIDIA driver by opening its library.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)  # its tips
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)  # a deprecation inside it
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # when compiling: that there is no GPU
    warnings.filterwarnings("ignore", message=".*dataloader_iter.*experimental.*")  # tests/training/test_insides.py
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")  # the checkpoints of a run that goes on
    # Said in a line of ours (`check_plan`), or the run has no such metric and is refused (`check_monitor`).
    warnings.filterwarnings("ignore", message=r".*ModelCheckpoint\(monitor='val/.*could not find the monitored key.*")
    warnings.filterwarnings("ignore", message=".*using the WeightAveraging callback.*")  # it shards nothing
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*WeightAveraging")
    threading.excepthook = report_thread_error
    atexit.register(disband)
    seed_everything(seed, workers=True, verbose=False)


def _keep_freed_memory() -> None:
    """Large arrays come and go at every step; glibc would hand each back to the kernel and fault it in again."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(parameter, 2**30)


def fit(
    trainer: Trainer,
    module: VariationalModule,
    data: ImageDataModule,
    record: Record,
    test_checkpoint: TestCheckpoint = "best",
    decoder_bias: DecoderBias = "default",
    resume: Path | None = None,
) -> dict[str, float]:
    """Trains, tests, and records the result.

    Args:
        trainer, module, data: of the run.
        record: where and what to write down.
        test_checkpoint: the weights that are tested: best by val/elbo, or last.
        decoder_bias: where the decoder's output starts: as PyTorch initialises it, or at the mean of the training
            images (Burda et al. 2016, arXiv:1509.00519).
        resume: the checkpoint to go on from; None: from the start.

    Returns:
        The test metrics by tag.

    Raises:
        NonFiniteLossError: naming the term, the step and the last good checkpoint.
        RunError: where something cannot be written, or another process of the run has died; it says how to go on.
    """
    prepare_averaging(trainer)
    refuse_own_parameters(trainer, module.objective)
    if _callback(trainer, LastCheckpoint):
        interrupts.listen()
    # What is wrong with the data must show before the run folder is written to.
    data.prepare_data()
    data.setup("fit")
    if trainer.is_global_zero:
        print(_description(module, data, selects=_selects(trainer, test_checkpoint)))
    data.dtype = dtype_of(trainer.precision, module.model)
    plan = check_plan(trainer, module, data)
    saved = read_checkpoint(resume, resume=True) if resume else None
    if resume and saved is not None:
        refuse_to_resume(trainer, module, saved, resume)
        if trainer.is_global_zero:
            print("".join(f"{line}\n" for line in fresh_callbacks(trainer, saved)), end="")
    elif decoder_bias == "data_mean":
        module.model.likelihood.start_at(data.mean_image())  # type: ignore[operator]

    def write_beginning(earlier: frozenset[Path]) -> None:
        if trainer.is_global_zero:
            _clear_up(record.run, earlier, saved)
            config = runs.with_found(record.config, data.images.found())
            runs.save_config(record.run, {**config, "spec": module.spec.plain()})

    opening = Opening(record.run, write_beginning)
    trainer.callbacks.insert(0, opening)  # type: ignore[attr-defined]
    started = time.monotonic()
    with _saying_what_is_left(trainer), opening.undone_on_failure():
        trainer.fit(module, datamodule=data, ckpt_path=resume)
        opening.open()  # where there was nothing to train
    if saved is not None and trainer.global_step == saved["progress"]["step"] and trainer.is_global_zero:
        print(f"nothing was left to train: {why_nothing_is_left(trainer)}")
    end_averaging(trainer)
    last = _callback(trainer, LastCheckpoint)
    seconds = last.seconds if last else time.monotonic() - started

    best = _callback(trainer, ModelCheckpoint)
    weights = best.best_model_path if best and test_checkpoint == "best" else None
    with _saying_what_is_left(trainer):
        metrics = _test(trainer, module, data, weights or None) if plan.tests else {}
    if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
        selection = data.selection if _selects(trainer, test_checkpoint) else "none"
        read: tuple[SplitName, ...] = ("train", "val", "test") if plan.tests else ("train", "val")
        prints: dict[str, str] = {name: data.fingerprint(name) for name in read}
        runs.save_metrics(record.run, metrics, record.seed, seconds, module.guard.skipped, selection, prints)
        log_hparams(trainer, record.hparams, metrics)
        compiling = f" ({module.compile_seconds:.0f} s of it compiling)" if module.compile_seconds else ""
        duration, tested = f"{seconds:.0f} s of training{compiling}", "best" if weights else "last"
        print_summary(metrics, record, duration, tested)
        if module.guard.skipped:
            print(f"steps skipped, as their gradient was not finite: {module.guard.skipped}")
    return metrics


def _description(module: VariationalModule, data: ImageDataModule, selects: bool) -> str:
    """Returns the lines that say what is trained, and on what."""
    own = sum(parameter.numel() for parameter in module.objective.parameters())
    line = f"\nobjective    {own} parameters of its own, trained with those of the model" if own else ""
    return f"{summary(data, selects=selects)}{line}"


def _selects(trainer: Trainer, test_checkpoint: TestCheckpoint) -> bool:
    """True if the validation has a part in which weights are tested."""
    best = _callback(trainer, ModelCheckpoint)
    chooses = test_checkpoint == "best" and best is not None and str(best.monitor).startswith("val/")
    stops = any(
        isinstance(callback, EarlyStopping) or getattr(callback, "stops_by_validation", False)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
    )
    return chooses or stops


def _test(trainer: Trainer, module: VariationalModule, data: ImageDataModule, weights: str | None) -> dict[str, float]:
    (result,) = trainer.test(module, datamodule=data, ckpt_path=weights, verbose=False)
    return {name: float(value) for name, value in result.items()}


def _clear_up(run: Path, earlier: frozenset[Path], saved: Mapping[str, Any] | None) -> None:
    """Takes away what earlier attempts left in the run folder after their checkpoint, or without one."""
    if runs.is_run(run):  # otherwise the folder may be anybody's
        curves.rewind(run, {} if saved is None else saved["curves"], earlier)
        remove_unfinished(run)
        for name in runs.OUTCOMES:
            (run / name).unlink(missing_ok=True)


def refuse_to_resume(trainer: Trainer, module: VariationalModule, saved: Mapping[str, Any], checkpoint: Path) -> None:
    """Raises RunError where a run cannot go on from its checkpoint as it is asked to.

    Args:
        trainer, module: as they are asked for.
        saved: the run's checkpoint.
        checkpoint: path of that checkpoint.
    """
    run = checkpoint.parent.parent
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise RunError(f"trainer.fast_dev_run: a trial keeps nothing of a run; resume={run} without it")
    epochs = saved["progress"]["epoch"]
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs < epochs:
        raise RunError(
            f"trainer.max_epochs={trainer.max_epochs}: resume={run} has finished epoch {epochs} already; "
            "give as many or more, or leave trainer.max_epochs out"
        )
    check_saves(trainer, checkpoint)
    if reason := other_weights(module.state_dict(), saved["state_dict"]):
        raise RunError(
            f"resume={run}: the weights of another model ({reason}); "
            "model, network, prior, likelihood, latent_dim and the data's shape must stay"
        )
    if reason := non_finite(module, saved["state_dict"]):
        raise RunError(
            f"resume={run}: {checkpoint}: {reason}; init_from={checkpoint.with_name(runs.BEST)} starts a new run "
            "from the best weights"
        )
    reason = why_fresh(module.optimization.optimizer, saved)
    if reason and isinstance(trainer.strategy, ModelParallelStrategy):
        raise RunError(f"optimizer: {reason}, and sharded weights cannot leave it out; resume with strategy=ddp")


def log_hparams(trainer: Trainer, hparams: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """The run's row in TensorBoard's HPARAMS tab: its settings with its final metrics."""
    plain = {
        key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in hparams.items()
    }
    writer = tensorboard_writer(trainer)
    if writer is not None:
        # The writer's own `add_hparams` would add each metric to its curve a second time.
        for part in hparams_summaries(plain, dict(metrics)):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(part)  # type: ignore[no-untyped-call]
        writer.close()


def print_summary(metrics: Mapping[str, float], record: Record, duration: str, tested: str) -> None:
    """Prints the final numbers, what carries no information, where everything lies, and how to look at it."""
    found = {name.removeprefix("test/"): value for name, value in metrics.items()}
    tested = f"{tested} weights" if metrics else "not tested, because trainer.limit_test_batches=0"
    table = Table(title=f"test set, {tested}, after {duration}", title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for name, value in found.items():
        count = unit_title(name)
        unit = count or ("bits" if "bits" in name else "nats an example")
        table.add_row(shown_name(name), f"{value:.0f}" if count else f"{value:.3f}", unit)
    console = Console(soft_wrap=True)
    console.print(table)
    for remark in collapse_lines(found, record.config):
        console.print(remark, highlight=False, markup=False)
    console.print(f"run folder   {record.run}", highlight=False, markup=False)
    console.print(
        f"look at it   tensorboard --logdir {shlex.quote(str(_outputs(record.run)))}", highlight=False, markup=False
    )


def _outputs(run: Path) -> Path:
    """The folder of all runs: `outputs` above the run, or the run itself if it lies elsewhere."""
    return next((folder for folder in run.parents if folder.name == "outputs"), run)


def _callback(trainer: Trainer, kind: type[T]) -> T | None:
    return next((callback for callback in trainer.callbacks if isinstance(callback, kind)), None)  # type: ignore[attr-defined]


@contextmanager
def _saying_what_is_left(trainer: Trainer) -> Iterator[None]:
    """Adds to what ends a run where its last good checkpoint lies."""
    try:
        yield
    except NonFiniteLossError as error:
        raise NonFiniteLossError(f"{error}; {_last_good(trainer)}") from error
    except OSError as error:
        raise RunError(f"{error}; {_last_good(trainer)}{_how_to_resume(trainer)}") from error
    except RuntimeError as error:
        if not lost_a_process(error):
            raise
        reason = "another process of the run has ended"
        raise RunError(f"{reason}; {_last_good(trainer)}{_how_to_resume(trainer)}") from error


def _last_good(trainer: Trainer) -> str:
    last, best = _callback(trainer, LastCheckpoint), _callback(trainer, ModelCheckpoint)
    if last and last.path.is_file():
        return f"the last good checkpoint is {last.path}"
    if best and os.path.isfile(best.best_model_path):
        return f"the last good checkpoint is {best.best_model_path}"
    return "no checkpoint had been written yet"


def _how_to_resume(trainer: Trainer) -> str:
    last = _callback(trainer, LastCheckpoint)
    return f"; {how_to_resume(last.path.parent.parent)}" if last and last.path.is_file() else ""
