"""vae_lab.fit and vae_lab.compose: runs of a Python program, composed as on the command line."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from omegaconf import OmegaConf

from vae_lab.cli.check import ConfigError, check_config
from vae_lab.cli.compose import Composition, assemble, composed, name_whole_root
from vae_lab.cli.overrides import refuse_sweeps
from vae_lab.cli.paths import quoted
from vae_lab.cli.remedies import formatted_warning, naming_keys
from vae_lab.cli.repeated_words import completed_words
from vae_lab.cli.resume import refuse_to_overwrite
from vae_lab.errors import RunError
from vae_lab.nested import key_of, value_at
from vae_lab.runs.build import usual_defaults
from vae_lab.runs.folder import CHECKPOINTS, make_unique_folder, remove_if_empty
from vae_lab.runs.locks import locked
from vae_lab.runs.reading import saved_config
from vae_lab.threads import one_thread
from vae_lab.train import train_in_folder

if TYPE_CHECKING:
    from vae_lab.data import ImageDataModule
    from vae_lab.data.given import GivenData
    from vae_lab.runs.run import Run
    from vae_lab.training import VariationalModule

_COMMAND = "use python -m vae_lab.train -m"


def fit(
    data: Any,
    model: str | None = None,
    latent_dim: int | None = None,
    overrides: Sequence[str] = (),
    *,
    val: Any = None,
    test: Any = None,
    folder: str | Path | None = None,
    resume: str | Path | None = None,
    verbose: bool = True,
) -> Run:
    """Trains a model as ``python -m vae_lab.train`` does, and returns the run with its best weights.

    The run folder is that of the command. Random numbers, signal handlers and warning filters of the program are
    afterwards what they were. Ctrl-C, or the stop button of a notebook, saves the run and returns it as it stands.
    Runs in several threads are trained one after the other.

    Args:
        data: examples, or a pair of examples and labels, as arrays, tensors, data frames or lists; a torch Dataset; a
            DataLoader; a LightningDataModule; or the name of a data set, such as mnist.
        model: option of the group model, such as cvae; None: vae, or the model of the resumed run.
        latent_dim: size of the latent space; None: the default of the model.
        overrides: further words of the command line, such as ``["trainer.max_epochs=20", "likelihood=gaussian"]``.
        val, test: validation and test set, like data; None: parts of the training set, as ``data.val_size`` and
            ``data.images.test_fraction`` (of a Dataset ``data.test_size``) say. A DataLoader needs ``val``.
        folder: run folder; None: a new one under outputs.
        resume: folder of a run that goes on with the same data.
        verbose: False: prints nothing and shows no progress.

    Raises:
        ValueError, RunError: in one line, before training, for what is wrong with data, words or folder.

    >>> import numpy as np, tempfile, vae_lab
    >>> x = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    >>> y = np.array(["cat", "dog"] * 30)
    >>> words = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "network.widths=[8]", "callbacks.pictures=null"]
    >>> run = vae_lab.fit((x, y), "cvae", 2, words, folder=tempfile.mkdtemp(), verbose=False)
    >>> run  # doctest: +ELLIPSIS
    Run(conditional VAE on array (1 x 8 x 8, 2 classes), test ELBO -... nats per example, folder ...)
    >>> run.sample(3, y="dog").shape
    (3, 1, 8, 8)
    """
    given: GivenData | None = None
    state = random.getstate()  # from which rich takes a number when it is first imported
    if not isinstance(data, str):
        from vae_lab.data.given import given_data  # noqa: PLC0415  (torch takes seconds to import)

        given = given_data(data, val, test)
    elif val is not None or test is not None:
        raise ConfigError(f"val, test: data={data} has its own; leave them out")
    words = _words(given.option if given else data, model, latent_dim, overrides, folder, resume, verbose)
    with one_thread, _usual_torch(), _restored_process(verbose, state), composed(*words) as composition:
        refuse_sweeps(composition.cfg, composition.choices, _COMMAND)
        check_config(composition.cfg)
        _show_one_bar_in_a_notebook(composition)
        path, discard = _made_folder(composition, words)
        try:
            with locked(path), naming_keys(composition.cfg):
                return _trained(composition, given, path)
        finally:
            discard()


class ComposedRun(NamedTuple):
    """The objects of a run: ``run.trainer.fit(run.module, datamodule=run.data)`` trains it.

    Attributes:
        data: data module.
        module: the model with its objective and optimizer.
        trainer: Lightning's Trainer, with callbacks and logger.
        config: the whole config, as config.yaml records it.
    """

    data: ImageDataModule
    module: VariationalModule
    trainer: Any
    config: dict[str, Any]


def compose(*words: str) -> ComposedRun:
    """Returns the objects of the run that ``python -m vae_lab.train`` with these words would train.

    Seeds and prepares the process as the command does, so that the first weights are the same. The run writes to
    ``hydra.run.dir``, or to a new folder under outputs; one that stays empty is removed with the Trainer.

    Args:
        words: overrides of the command line, such as ``model=cvae`` and ``latent_dim=8``.

    Raises:
        ConfigError: for a word, a key or a value that is wrong.
        RunError: for parts that do not fit together, for a folder that holds a run already, and for ``resume``,
            ``init_from`` and the options of a sweep, which only the command has.
    """
    from vae_lab.training import prepare_process  # noqa: PLC0415  (it takes seconds to import)

    if lists := [word for word in words if not isinstance(word, str)]:
        raise ConfigError(f"{lists[0]!r}: must be a string such as 'model=cvae'; compose(*words) takes a list of them")
    with _usual_torch(), composed(*words) as composition:
        cfg = composition.cfg
        refuse_sweeps(cfg, composition.choices, _COMMAND)
        check_config(cfg)
        for key in ("resume", "init_from"):
            if cfg[key] is not None:
                raise RunError(f"{key}={cfg[key]}: only for python -m vae_lab.train; use vae_lab.load_run")
        path, discard = _made_folder(composition, words)
        try:
            refuse_to_overwrite(path)
            name_whole_root(cfg)
            prepare_process(cfg.seed)
            with naming_keys(cfg):
                data, module, trainer = assemble(composition)
        except BaseException:
            discard()
            raise
        weakref.finalize(trainer, discard)
        return ComposedRun(data, module, trainer, composition.record())


def _words(
    data: str,
    model: str | None,
    latent_dim: int | None,
    overrides: Sequence[str],
    folder: str | Path | None,
    resume: str | Path | None,
    verbose: bool,
) -> list[str]:
    """Returns the words of the command line that say the same."""
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        raise ConfigError(f"overrides={overrides!r}: must be a list of words, such as ['trainer.max_epochs=20']")
    if not isinstance(model, str | None):
        raise ConfigError(
            f"model: a {type(model).__name__}, must be a name such as cvae; labels belong to data: fit((x, y))"
        )
    if folder is not None and resume is not None:
        raise ConfigError(f"folder={folder}: resume={resume} goes on in its own folder; leave folder out")
    arguments = {"model": model, "latent_dim": latent_dim, "hydra.run.dir": folder}
    taken = {"resume", "data", *(key for key, value in arguments.items() if value is not None)}
    if word := next((word for word in overrides if key_of(word) in taken), None):
        raise ConfigError(f"overrides: {word}: is an argument of fit; leave it out of overrides")
    words = [f"data={data}"]
    words += [f"{key}={value}" for key, value in (("model", model), ("latent_dim", latent_dim)) if value is not None]
    words += overrides
    words += [] if verbose else ["trainer.enable_progress_bar=false"]
    if folder is not None:
        words.append(f"hydra.run.dir={quoted(os.path.expanduser(folder))}")
    if resume is None:
        return words
    completed = completed_words([f"resume={quoted(os.fspath(resume))}", *words])
    _refuse_other_data(Path(resume).expanduser(), data)
    return completed


def _refuse_other_data(run: Path, data: str) -> None:
    """Raises RunError for data of another kind than those that a resumed run began with."""
    before = value_at(saved_config(run), "choices.data", data)
    if before != data:
        raise RunError(f"resume={run}: was trained on data={before}, not {data}; give the same, or start a new run")


def _made_folder(composition: Composition, words: Sequence[str]) -> tuple[Path, Callable[[], None]]:
    """Makes the run folder: the one that the words name, or a new one of a name that no other run has.

    Returns:
        The folder, and a function that removes it again if it was made here and is empty.
    """
    path = Path(composition.cfg.run_dir)
    made = not path.exists()
    if any(key_of(word) == "hydra.run.dir" for word in words):
        path.mkdir(parents=True, exist_ok=True)
    else:
        path, made = make_unique_folder(path), True
    composition.cfg.run_dir = str(path).replace("${", "\\${")
    return path, partial(remove_if_empty, path) if made else lambda: None


def _show_one_bar_in_a_notebook(composition: Composition) -> None:
    """Replaces the usual progress bar in a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    usual = OmegaConf.select(composition.cfg, "callbacks.progress._target_")
    if hasattr(shell, "kernel") and usual == "vae_lab.training.callbacks.Progress":
        OmegaConf.update(composition.cfg, "callbacks.progress._target_", "vae_lab.training.callbacks.NotebookBar")


def _trained(composition: Composition, given: GivenData | None, path: Path) -> Run:
    """Trains, and returns the run as it stands at the end, or where it was interrupted."""
    from vae_lab.runs.loading import load_run  # noqa: PLC0415
    from vae_lab.runs.run import Run  # noqa: PLC0415

    try:
        module = train_in_folder(composition, given)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # of a run without checkpoints
            raise KeyboardInterrupt from None
        if stop.code != 128 + signal.SIGINT or not (path / CHECKPOINTS).is_dir():
            raise
        print(f"interrupted; vae_lab.fit(data, resume={str(path)!r}) goes on")
        return load_run(path)
    if (path / CHECKPOINTS).is_dir():
        return load_run(path)
    return Run(module.model.cpu().eval(), saved_config(path), path)  # with callbacks=none nothing was saved


class _QuietThread(io.TextIOBase):
    """Standard output without what this thread writes."""

    def __init__(self, output: TextIO) -> None:
        self.output, self.thread = output, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self.thread else self.output.write(text)


@contextlib.contextmanager
def _usual_torch() -> Iterator[None]:
    """Context manager in which torch computes as in the command, whatever the program has set."""
    import torch  # noqa: PLC0415

    with usual_defaults(), torch.inference_mode(False), torch.enable_grad():
        yield


@contextlib.contextmanager
def _restored_process(verbose: bool, python: Any) -> Iterator[None]:
    """Context manager after which random numbers, signal handlers, warnings and threads are as they were.

    Args:
        verbose: False: this thread prints nothing.
        python: state of Python's random numbers that is restored.
    """
    import torch  # noqa: PLC0415

    from vae_lab.training.resume import interrupts  # noqa: PLC0415
    from vae_lab.training.resume.content import random_states, set_random_states  # noqa: PLC0415

    in_main_thread = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in interrupts.SIGNALS} if in_main_thread else {}
    states, hook, format_warning = random_states(), threading.excepthook, warnings.formatwarning
    deterministic = torch.get_deterministic_debug_mode()
    flushes = not bool(torch.tensor(1e-310, dtype=torch.float64) * 1 > 0)
    output = contextlib.nullcontext() if verbose else contextlib.redirect_stdout(_QuietThread(sys.stdout))
    with warnings.catch_warnings(), output:
        warnings.formatwarning = formatted_warning
        try:
            yield
        finally:
            interrupts.restore_handlers()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            set_random_states({**states, "python": python})
            torch.set_flush_denormal(flushes)
            torch.set_deterministic_debug_mode(deterministic)
            threading.excepthook, warnings.formatwarning = hook, format_warning
