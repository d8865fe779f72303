"""Runs a whole training: trains, tests the best (or the last) weights and records the numbers.

A run is checked before its first step in this order, each part as soon as what it needs is known:

1. `vae_lab.cli.check` and `vae_lab.cli.compose`: each key by itself, then keys that contradict each other;
2. `check_trainer`: the Trainer, with its callbacks and processes;
3. `check_monitor`: the metrics that callbacks monitor;
4. `check_plan`, once the data are read: limits, intervals and the sizes of batches;
5. `check_resume`, if the run goes on: the checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from vae_lab.collapse import collapse_lines
from vae_lab.data.protocol import DataModule
from vae_lab.errors import NonFiniteLossError, RunError
from vae_lab.files import remove_unfinished
from vae_lab.runs import folder as runs
from vae_lab.runs.checkpoints import read_checkpoint
from vae_lab.screen import print_lines, print_results
from vae_lab.training.averaging import averages, end_averaging
from vae_lab.training.callbacks import LastCheckpoint
from vae_lab.training.callbacks.further_curves import FurtherCurves
from vae_lab.training.callbacks.last_checkpoint import how_to_resume
from vae_lab.training.description import description
from vae_lab.training.lightning_loop import count_cut_epoch
from vae_lab.training.logs import curves, tensorboard
from vae_lab.training.logs.loggers import close, record_beginning, where_to_look
from vae_lab.training.logs.opening import Opening
from vae_lab.training.module import VariationalModule
from vae_lab.training.own_noise import warn_of_own_noise
from vae_lab.training.plan import Plan, check_plan
from vae_lab.training.processes import lost_a_process
from vae_lab.training.resume import interrupts
from vae_lab.training.resume.checks import check_resume, fresh_callbacks
from vae_lab.training.resume.stopping import why_nothing_is_left
from vae_lab.training.sharding import refuse_own_parameters
from vae_lab.training.trainer_checks import dtype_of
from vae_lab.training.trainer_parts import all_callbacks, callbacks_of, first_callback, is_trial
from vae_lab.types import SplitName

TestCheckpoint = Literal["best", "last"]
DecoderBias = Literal["default", "data_mean"]


class Record(NamedTuple):
    """Place of a run, and settings that are recorded there.

    Attributes:
        run: path of the run folder.
        seed: seed of the run.
        config: the whole config, for config.yaml.
        hparams: settings for TensorBoard's HPARAMS tab and the tracking servers.
        swept: names of the settings that vary in a sweep.
    """

    run: Path
    seed: int
    config: Mapping[str, Any]
    hparams: Mapping[str, Any]
    swept: Collection[str] = ()


def fit(
    trainer: Trainer,
    module: VariationalModule,
    data: DataModule,
    record: Record,
    test_checkpoint: TestCheckpoint = "best",
    decoder_bias: DecoderBias = "default",
    resume: Path | None = None,
) -> dict[str, float]:
    """Trains, tests, and records the result.

    Args:
        trainer, module, data: Trainer, module and data of the run.
        record: where the run is recorded.
        test_checkpoint: weights that are tested: the best by val/elbo, or the last.
        decoder_bias: start of the decoder's output: as PyTorch initialises it, or the mean of the training images
            (Burda et al. 2016, arXiv:1509.00519).
        resume: path of the checkpoint to go on from; None: a new run.

    Returns:
        The test metrics by tag.

    Raises:
        NonFiniteLossError: naming the term, the step and the last good checkpoint.
        RunError: if something cannot be written, or another process of the run has ended; it says how to go on.
    """
    try:
        plan, seconds = _train(trainer, module, data, record, test_checkpoint, decoder_bias, resume)
        return _finish(trainer, module, data, record, test_checkpoint, seconds, plan.tests)
    finally:
        close(trainer)


def _train(
    trainer: Trainer,
    module: VariationalModule,
    data: DataModule,
    record: Record,
    test_checkpoint: TestCheckpoint,
    decoder_bias: DecoderBias,
    resume: Path | None,
) -> tuple[Plan, float]:
    """Checks and trains; returns the plan and the seconds of training."""
    _save_before_averaging(trainer)
    refuse_own_parameters(trainer, module.objective)
    if first_callback(trainer, LastCheckpoint):
        interrupts.listen()
    # Read the data first: a data error must not leave a run folder behind.
    data.prepare_data()
    data.setup("fit")
    if trainer.is_global_zero:
        print(description(trainer, module, data, record.run, selects=_selects(trainer, test_checkpoint)))
    data.dtype = dtype_of(trainer.precision, module.model)
    plan = check_plan(trainer, module, data)
    if trainer.is_global_zero:
        warn_of_own_noise(module.model, trainer.world_size)
    saved = read_checkpoint(resume, resume=True) if resume else None
    if resume and saved is not None:
        check_resume(trainer, module, saved, resume)
        if trainer.is_global_zero:
            print("".join(f"{line}\n" for line in fresh_callbacks(trainer, saved)), end="")
    elif decoder_bias == "data_mean":
        module.model.start_at(data.mean_example())

    def write_beginning(earlier: frozenset[Path]) -> None:
        if trainer.is_global_zero:
            goes_on = saved is not None and trainer.global_step > saved["progress"]["step"]
            _clear_up(record.run, earlier, saved, goes_on)
            if saved is not None and goes_on:
                runs.set_aside_results(record.run, saved["progress"]["step"])
            config = runs.with_found(record.config, data.found())
            runs.save_config(record.run, {**config, "spec": module.spec.plain()})
            runs.save_fingerprints(record.run, _fingerprints(data, ("train", "val")))
            record_beginning(trainer, record.run, record.hparams)
            if writer := tensorboard.tensorboard_writer(trainer):
                tensorboard.write_beginning(writer, runs.relative_to_run(config), module.model.level_groups)

    opening = Opening(record.run, write_beginning)
    further = FurtherCurves(sum(plan.train) / max(len(plan.train), 1) * module.optimization.accumulate_grad_batches)
    all_callbacks(trainer)[:0] = [opening, further]
    started = time.monotonic()
    with _naming_last_checkpoint(trainer), opening.undone_on_failure():
        trainer.fit(module, datamodule=cast(Any, data), ckpt_path=resume)
        opening.open()  # if there was nothing to train
    if saved is not None and trainer.global_step == saved["progress"]["step"]:
        if trainer.is_global_zero:
            print(f"nothing was left to train: {why_nothing_is_left(trainer)}")
        count_cut_epoch(trainer, saved["progress"])
    end_averaging(trainer, module)
    last = first_callback(trainer, LastCheckpoint)
    return plan, last.seconds if last else time.monotonic() - started


def _finish(
    trainer: Trainer,
    module: VariationalModule,
    data: DataModule,
    record: Record,
    test_checkpoint: TestCheckpoint,
    seconds: float,
    tests: bool,
) -> dict[str, float]:
    """Tests the weights, records and prints the result; returns the test metrics by tag."""
    best = first_callback(trainer, ModelCheckpoint)
    weights = best.best_model_path if best and test_checkpoint == "best" else None
    with _naming_last_checkpoint(trainer):
        metrics = _test(trainer, module, data, weights or None) if tests else {}
    if trainer.is_global_zero and not is_trial(trainer):
        selection = data.selection if _selects(trainer, test_checkpoint) else "none"
        prints = _fingerprints(data, ("train", "val", "test") if tests else ("train", "val"))
        skipped, step = module.guard.skipped, _step(weights) if weights else trainer.global_step
        runs.save_metrics(record.run, metrics, record.seed, seconds, skipped, selection, prints, step)
        compiling = f" ({module.compile_seconds:.0f} s of it compiling)" if module.compile_seconds else ""
        duration, tested = f"{seconds:.0f} s of training{compiling}", "best" if weights else "last"
        _print_summary(trainer, metrics, record, duration, tested)
        if skipped:
            print(f"steps skipped because of a non-finite gradient: {skipped}")
    return metrics


def _step(checkpoint: str) -> int | None:
    """Returns the step after which a checkpoint was saved; None for a folder of sharded weights."""
    return read_checkpoint(Path(checkpoint))["global_step"] if os.path.isfile(checkpoint) else None


def _fingerprints(data: DataModule, splits: Collection[SplitName]) -> dict[str, str]:
    """Returns the digest of each split that has one."""
    return {name: digest for name in splits if (digest := data.fingerprint(name)) is not None}


def _save_before_averaging(trainer: Trainer) -> None:
    """Has the last checkpoint written before the average replaces the weights: a longer run goes on from those.

    The last pictures still come before it: they would be lost if the run is killed between the two.
    """
    callbacks = all_callbacks(trainer)
    last = first_callback(trainer, LastCheckpoint)
    if last and (average := averages(trainer)):
        callbacks.remove(last)
        callbacks.insert(callbacks.index(average[0]), last)


def _selects(trainer: Trainer, test_checkpoint: TestCheckpoint) -> bool:
    """True if the validation has a part in which weights are tested."""
    best = first_callback(trainer, ModelCheckpoint)
    chooses = test_checkpoint == "best" and best is not None and str(best.monitor).startswith("val/")
    stops = any(
        isinstance(callback, EarlyStopping) or getattr(callback, "stops_by_validation", False)
        for callback in callbacks_of(trainer, Callback)
    )
    return chooses or stops


def _test(trainer: Trainer, module: VariationalModule, data: DataModule, weights: str | None) -> dict[str, float]:
    (result,) = trainer.test(module, datamodule=cast(Any, data), ckpt_path=weights, verbose=False)
    return {name: float(result[name]) for name in sorted(result, key=_place)}


def _place(name: str) -> int:
    """Returns the place of a metric among others: the ELBO first, then its parts; all others behind, in their order."""
    first = ("elbo", "log_likelihood", "kl", "iw_bound", "bits_per_dim")
    name = name.removeprefix("test/")
    return first.index(name) if name in first else len(first)


def _clear_up(run: Path, earlier: frozenset[Path], saved: Mapping[str, Any] | None, goes_on: bool) -> None:
    """Removes what earlier attempts left in the run folder after their checkpoint, or without one.

    A run that ended within an epoch keeps the last points and pictures of its curves unless it goes on.
    """
    if runs.is_run(run):  # otherwise the folder may be anybody's
        sizes = {runs.CSV: 0} if saved is None else saved["curves"]
        ended = None if saved is None or goes_on else saved.get("ended_curves")
        curves.rewind(run, ended or sizes, earlier)
        remove_unfinished(run)
        for name in runs.OUTCOMES:
            (run / name).unlink(missing_ok=True)


def _print_summary(trainer: Trainer, metrics: Mapping[str, float], record: Record, duration: str, tested: str) -> None:
    """Prints the final numbers, which dimensions carry no information, where the run lies, and how to look at it."""
    found = {name.removeprefix("test/"): value for name, value in metrics.items()}
    tested = f"{tested} weights" if metrics else "not tested, because trainer.limit_test_batches=0"
    print_results(f"test set, {tested}, after {duration}", found)
    places = filter(None, (where_to_look(logger, _outputs(record.run)) for logger in trainer.loggers))
    looks = [f"look at it   {place}" for place in places]
    remarks = collapse_lines(found, record.config)
    print_lines([*remarks, f"run folder   {record.run}", *looks])
    if writer := tensorboard.tensorboard_writer(trainer):
        tensorboard.write_result(writer, record.hparams, record.swept, metrics, remarks)


def _outputs(run: Path) -> Path:
    """Returns the folder of all runs: `outputs` above the run, or the run itself if it lies elsewhere."""
    return next((folder for folder in run.parents if folder.name == "outputs"), run)


@contextmanager
def _naming_last_checkpoint(trainer: Trainer) -> Iterator[None]:
    """Context manager that adds to an error of a run the path of its last good checkpoint."""
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
    last, best = first_callback(trainer, LastCheckpoint), first_callback(trainer, ModelCheckpoint)
    if last and last.path.is_file():
        return f"the last good checkpoint is {last.path}"
    if best and os.path.isfile(best.best_model_path):
        return f"the last good checkpoint is {best.best_model_path}"
    return "no checkpoint had been written yet"


def _how_to_resume(trainer: Trainer) -> str:
    last = first_callback(trainer, LastCheckpoint)
    return f"; {how_to_resume(last.path.parent.parent)}" if last and last.path.is_file() else ""
