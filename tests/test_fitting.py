"""`vae_lab.fit` trains what the command would train, on data in memory, and leaves the program as it was."""

from __future__ import annotations

import contextlib
import doctest
import io
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from PIL import Image

import vae_lab
import vae_lab.fitting
from tests.conftest import Outcome
from vae_lab.errors import RunError
from vae_lab.evaluate import main as evaluate
from vae_lab.runs.checkpoints import read_checkpoint
from vae_lab.sample import main as sample
from vae_lab.training import VariationalModule

TINY = ("trainer=cpu", "network.widths=[8]", "callbacks.pictures=null", "callbacks.projector=null", "logger=none")
RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (60, 4, 4), np.uint8), np.array(["cat", "dog", "eel"] * 20)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fitted(folder: str | None = None, epochs: int = 2, **options: Any) -> vae_lab.Run:
    words = [] if "resume" in options else list(TINY)
    return vae_lab.fit(
        options.pop("data", (X, Y)),
        overrides=[*words, *options.pop("words", []), f"trainer.max_epochs={epochs}"],
        folder=folder,
        **{"verbose": False, **options},
    )


def weights(folder: str, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = read_checkpoint(Path(folder) / "checkpoints" / name)["state_dict"]
    return state


def same_weights(one: str, other: str) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_threads_fit_and_draw_as_one_does_and_leave_the_program_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    output = sys.stdout
    with ThreadPoolExecutor(3) as pool:
        fits = [pool.submit(fitted, str(number), 1) for number in range(2)]
        while not all(fit.done() for fit in fits):
            print("heard", flush=True)
            time.sleep(0.01)
        runs = [fitted("alone", 1), *(fit.result() for fit in fits)]
        seeds = [0, None] * 30
        drawn = list(pool.map(lambda seed: runs[0].sample(64, seed=seed, draw="sample"), seeds))
    scores = [run.log_prob(X, num_samples=10) for run in runs]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])
    assert all(np.array_equal(each, drawn[0]) for each in drawn[::2]), "draws without a seed take no numbers of a seed"
    assert sys.stdout is output
    heard = capfd.readouterr().out.split()
    assert len(heard) > 10
    assert set(heard) == {"heard"}, "of what all threads write, only the fits' own is dropped"


def test_quiet_is_quiet_in_a_notebook_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    displayed: list[Any] = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *parts: displayed.append(parts))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for place, picture in enumerate(X[:20]):
        Image.fromarray(picture).save(folder / f"{place}.png")
    words = ["network=mlp", *TINY, "trainer.max_epochs=1", "data.root=pictures"]
    vae_lab.fit("image_folder", overrides=words, verbose=False)
    assert displayed == []
    assert "decoding" not in "".join(capfd.readouterr())


def test_the_example_of_the_documentation_runs() -> None:
    assert doctest.testmod(vae_lab.fitting, raise_on_error=True).attempted > 4


def test_it_trains_what_the_command_trains_from_files(train: Callable[..., Outcome], tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", X)
    np.save(tmp_path / "train_labels.npy", Y)
    words = (*TINY, "trainer.max_epochs=2", "model=cvae", "latent_dim=3", "seed=4")
    assert train(*words, "data=array", f"data.root={tmp_path}", "hydra.run.dir=theirs").code == 0
    run = fitted("mine", model="cvae", latent_dim=3, words=["seed=4"])
    assert same_weights("mine", "theirs")
    assert run.metrics["elbo"] == vae_lab.load_run("theirs").metrics["elbo"]
    assert sorted(path.name for path in Path("mine").iterdir()) == sorted(
        path.name for path in Path("theirs").iterdir()
    )
    config = yaml.safe_load(Path("mine/config.yaml").read_text())
    assert config["data"]["root"] == "(in memory)"
    assert config["in_memory"].keys() == {"x", "y", "fingerprint"}
    assert (config["in_memory"]["x"], config["in_memory"]["y"]) == ("uint8 (60, 4, 4)", "<U3 (60,)")
    assert run.spec.class_names == ("cat", "dog", "eel")


def test_a_resumed_run_is_the_same_as_one_that_was_never_interrupted() -> None:
    fitted("whole", 4)
    fitted("parts", 2)
    assert not same_weights("whole", "parts")
    run = fitted(epochs=4, resume="parts")
    assert same_weights("whole", "parts")
    assert run.metrics["elbo"] == vae_lab.load_run("whole").metrics["elbo"]


def test_ctrl_c_returns_the_run_so_far_which_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted("whole", 4)
    log_steps = VariationalModule.log_steps

    def interrupted(self: VariationalModule, *args: Any) -> None:
        log_steps(self, *args)
        if self.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(VariationalModule, "log_steps", interrupted)
        run = fitted("parts", 4)
    assert run.encode(X)[0].mean.shape == (60, 10)
    assert read_checkpoint(Path("parts/checkpoints/last.ckpt"))["progress"]["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fitted(epochs=4, resume=Path("parts"))
    assert same_weights("whole", "parts")


def test_ctrl_c_without_checkpoints_is_a_keyboard_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VariationalModule, "log_steps", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        vae_lab.fit(X, overrides=["trainer=cpu", "callbacks=none"], folder="run", verbose=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X[::-1], Y), "other data than the run began with: other values; give the same, or start a new run"),
        ((X[:30], Y[:30]), r"other data .*: x was uint8 \(60, 4, 4\), is uint8 \(30, 4, 4\)"),
        (X, r"other data .*: y was <U3 \(60,\), is None|num_classes=3, but the data have num_classes=0"),
        ("mnist", "resume=run: was trained on data=array, not mnist"),
    ],
)
def test_other_data_than_the_run_began_with_are_refused(data: Any, message: str) -> None:
    fitted("run", 1)
    with pytest.raises(RunError, match=message) as raised:
        fitted(epochs=2, resume="run", data=data)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", ["tensors", "lists", "tuple of one", "one-hot", "channels last", "three splits"])
def test_data_come_in_the_forms_in_which_people_hold_them(form: str) -> None:
    pairs: dict[str, Any] = {
        "tensors": (torch.from_numpy(X), torch.arange(60) % 3),
        "lists": (X, Y.tolist()),
        "tuple of one": (X,),
        "one-hot": (X, np.eye(3)[np.arange(60) % 3]),
        "channels last": (np.stack([X] * 3, -1), Y),
        "three splits": (X[:40], Y[:40]),
    }
    others = {"val": (X[40:50], Y[40:50]), "test": (X[50:], Y[50:])} if form == "three splits" else {}
    run = fitted("run", 1, data=pairs[form], **others)
    shape = (3, 4, 4) if form == "channels last" else (1, 4, 4)
    assert (run.spec.shape, run.spec.num_classes) == (shape, 0 if form == "tuple of one" else 3)
    assert run.encode(pairs[form][0])[0].mean.shape == (len(pairs[form][0]), 10)


def test_columns_of_a_data_frame_are_known_by_name() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(RNG.normal(size=(60, 3)), columns=["size", "age", "mass"])
    run = fitted("run", 1, data=(frame, pandas.Series(Y)))
    assert run.spec.columns == ("size", "age", "mass")
    expected = run.encode(frame.to_numpy())[0].mean
    assert np.array_equal(run.encode(frame[["mass", "size", "age"]])[0].mean, expected)
    with pytest.raises(ValueError, match="x: no column age; the model was trained on size, age, mass"):
        run.encode(frame[["mass", "size"]])
    with pytest.raises(ValueError, match=r"x: column kind holds .* and not numbers; save the table and use data=table"):
        fitted("other", data=frame.assign(kind="a"))
    assert fitted("frames", data=(frame, pandas.DataFrame({"kind": Y}))).spec.class_names == ("cat", "dog", "eel")
    with pytest.raises(ValueError, match="y: 1 of 60 values are missing, the first in row 3"):
        fitted("other", data=(frame, pandas.Series(Y).mask(np.arange(60) == 3)))


KINDS: dict[str, tuple[Any, Any]] = {
    "bytes": (X, X[:, None] / 255),
    "bytes up to 15": (X // 16, (X[:, None] // 16 * 17) / 255),
    "16 bits": (16 * X.astype(np.uint16) + 15, (16 * X[:, None].astype(float) + 15) / 4095),
    "truth values": (X > 127, X[:, None] > 127),
    "masks": ((X > 127).astype(np.uint8), X[:, None] > 127),
    "floats": (X / 256, X[:, None] / 256),
    "table": (X.reshape(60, 16)[:, :5] - 3.5, X.reshape(60, 16)[:, :5] - 3.5),
    "signals": (RNG.normal(size=(60, 2, 16)),) * 2,
}
"""Arrays as people hold them, and as a model reads them."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_reads_arrays_as_it_was_trained_on_them(kind: str) -> None:
    given, read = KINDS[kind]
    run = fitted("run", 1, data=given, words=["data.images.max_value=15"] if kind == "bytes up to 15" else [])
    expected = run.model.encode(torch.from_numpy(np.asarray(read, np.float32)))[0]
    assert np.allclose(run.encode(given)[0].mean, expected, atol=1e-5)
    assert run.reconstruct(given).shape == read.shape


def archive() -> Any:
    file = io.BytesIO()
    np.savez(file, images=X, labels=Y)
    file.seek(0)
    return np.load(file)


RAGGED = np.empty(2, object)
RAGGED[:] = [X[0], X[0, :3]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fitted("run", data=(X, Y[:50])), "y: 50 labels for 60 examples"),
        (lambda: fitted("run", val=(X, Y[:50])), "val y: 50 labels for 60 examples"),
        (lambda: fitted("run", data=(X, Y, Y)), r"a tuple of 3, must be \(x, y\)"),
        (lambda: fitted("run", data=None), r"data=None: must be x, \(x, y\), or the name"),
        (lambda: fitted("run", data={"x": X}), "x: a dict of object"),
        (
            lambda: fitted("run", data={"x": X, "y": Y}),
            r"x: a dict of objects x, y; give the arrays in it, x or \(x, y\)",
        ),
        (lambda: fitted("run", data=archive()), "x: a NpzFile of objects images, labels; give the arrays in it"),
        (
            lambda: fitted("run", data=list(zip(X, Y, strict=True))),
            r"\(examples of different shapes\); .* a pair \(x, y\)",
        ),
        (lambda: fitted("run", data=[X, Y]), r"\(examples of different shapes\); .* are a pair \(x, y\) of two arrays"),
        (
            lambda: fitted("run", data=(X, [date(2020, 1, 1)] * 60)),
            "y: a list of .* numbers or strings; date is neither",
        ),
        (lambda: fitted("run", data=[X[0], X[0, :3]]), r"x: a list, must be an array \(examples of different shapes\)"),
        (lambda: fitted("run", data=scipy.sparse.eye(9, format="csr")), r"x: a csr_matrix .*; give x\.toarray\(\)"),
        (lambda: fitted("run", data=torch.rand(9, 2).bfloat16()), r"x: a Tensor, must .*BFloat16; give x\.float\(\)"),
        (lambda: fitted("run", data=Path("my")), r"; fit\('array', overrides=\['data\.root=my'\]\) reads arrays"),
        (lambda: fitted("run", data=RAGGED), r"x: a list, must be an array \(examples of different shapes\)"),
        (lambda: fitted("run", test=(X, np.array(["cow"] * 60))), "test y: label cow is not one of the 3 classes"),
        (lambda: fitted("run", data="mnits"), "data=mnits: no such option; did you mean mnist"),
        (lambda: fitted("run", data="mnist", val=X), "val, test: data=mnist has its own"),
        (
            lambda: vae_lab.fit(X, Y),
            r"model: a ndarray, must be a name such as cvae; .*: fit\(\(x, y\)\)",
        ),
        (lambda: fitted("run", data=(X, [None, "cat"] * 30)), "y: 30 of 60 values are missing, the first in row 0"),
        (lambda: fitted("run", data=(X, ["cat", np.nan] * 30)), "y: 30 of 60 values are missing, the first in row 1"),
        (lambda: fitted("run", data=(X, np.array(["cat", np.nan] * 30, object))), "y: 30 of 60 values are missing"),
        (lambda: fitted("run", model="cave"), "model=cave: no such option; did you mean cvae"),
        (lambda: fitted("run", model="cvae", data=X), "conditional"),
        (lambda: fitted("run", latent_dim=0), "latent_dim"),
        (lambda: fitted("run", words=["latnt_dim=3"]), "latnt_dim: no such key; did you mean latent_dim"),
        (lambda: fitted("run", words=["data=mnist"]), "overrides: data=mnist: is an argument of fit"),
        (lambda: fitted("run", resume="run"), "folder=run: resume=run goes on in its own folder"),
        (lambda: fitted(resume="nowhere"), "resume=nowhere: no such file or folder"),
        (lambda: fitted("run", words=["launcher=joblib"]), "launcher=joblib: runs the jobs of a sweep; use python -m"),
        (lambda: vae_lab.fit(X, overrides="latent_dim=3"), "overrides='latent_dim=3': must be a list of words"),
    ],
)
def test_wrong_input_is_named_in_one_line_before_training(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, RunError), match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert not list(Path().iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("argument", "word"),
    [({"latent_dim": 2}, "latent_dim=3"), ({"model": "vae"}, "model=cvae"), ({"folder": "a"}, "hydra.run.dir=b")],
)
def test_an_argument_and_a_word_that_say_the_same_are_refused(argument: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=f"overrides: {word}: is an argument of fit; leave it out of overrides"):
        vae_lab.fit(X, overrides=[*TINY, word], verbose=False, **argument)


def test_a_run_without_checkpoints_returns_what_was_trained() -> None:
    words = ["trainer=cpu", "network.widths=[8]", "logger=none", "trainer.max_epochs=2"]
    kept = vae_lab.fit(X, overrides=[*words, *TINY[2:4]], folder="kept", verbose=False)
    bare = vae_lab.fit(X, overrides=[*words, "callbacks=none"], folder="bare", verbose=False)
    last = vae_lab.load_run("kept/checkpoints/last.ckpt")
    assert not Path("bare/checkpoints").exists()
    assert np.array_equal(bare.encode(X)[0].mean, last.encode(X)[0].mean)
    assert bare.metrics.keys() == kept.metrics.keys()


def test_a_run_is_never_written_over() -> None:
    fitted("run", 1)
    with pytest.raises(RunError, match="run: holds a run already"):
        fitted("run", 1)


def test_runs_of_the_same_second_have_folders_of_their_own() -> None:
    folders = {fitted(None, 1).folder for _ in range(2)}
    assert len(folders) == 2
    assert {folder.parent for folder in folders if folder} == {Path.cwd() / "outputs" / "vae-array"}


@pytest.fixture
def hydra_of_somebody_else(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "theirs.yaml").write_text("answer: 42\n")
    with initialize_config_dir(str(tmp_path), job_name="theirs", version_base="1.2"):
        HydraConfig.instance().set_config(hydra_compose("theirs", return_hydra_config=True))
        yield
    HydraConfig.instance().cfg = None


@pytest.mark.usefixtures("hydra_of_somebody_else")
def test_the_program_is_as_it_was() -> None:
    def state() -> list[Any]:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
        of_hydra = [GlobalHydra.instance().hydra, HydraConfig.instance().cfg]
        denormal = float(torch.tensor(1e-310, dtype=torch.float64) * 1)
        of_python = [list(warnings.filters), warnings.formatwarning, threading.excepthook, sys.stdout]
        randoms = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
        return [*handlers, *of_hydra, denormal, torch.get_deterministic_debug_mode(), *of_python, *randoms]

    signal.signal(signal.SIGTERM, own := lambda *_: None)
    try:
        before = state()
        fitted("run", 1, words=["trainer.deterministic=true"])
        with pytest.raises(ValueError, match="latent_dim"):
            fitted("other", latent_dim=0)
        assert state() == before
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_it_is_silent_if_asked_and_never_advertises(capfd: pytest.CaptureFixture[str]) -> None:
    fitted("quiet", 1)
    assert "".join(capfd.readouterr()) == ""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        fitted("loud", 1, verbose=True)
    out, err = capfd.readouterr()
    assert "2 classes" not in out
    assert "3 classes (cat, dog, eel)" in out
    assert "nats per example" in out
    lines = [line for line in err.replace("\r", "\n").splitlines() if line.strip("\x1b[A ")]
    assert all(line.startswith(("Training", "Epoch", "Validation", "Testing")) for line in lines), lines


def test_a_notebook_sees_one_bar_and_no_cursor_moves(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for in_notebook in (False, True):
        if in_notebook:
            monkeypatch.setitem(sys.modules, "IPython", kernel)
            monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
        fitted(f"run {in_notebook}", 3, verbose=True)
        shown = "".join(capfd.readouterr())
        assert "Epoch 2" in shown
        assert ("Validation" not in shown) == ("\x1b[A" not in shown) == in_notebook


def test_the_commands_say_what_they_need(command: Callable[..., Outcome], tmp_path: Path) -> None:
    fitted("run", 1, model="cvae")
    few = ("run=run", "trainer=cpu", "num_samples=2", "trainer.enable_progress_bar=false")
    assert command(sample, "run=run", "y=dog", "num=3").code == 0
    for main, words in ((evaluate, few), (sample, ["run=run", "what=reconstructions"])):
        outcome = command(main, *words)
        assert outcome.code == 1
        (line,) = outcome.error_lines
        assert "arrays in memory" in line
        assert "data_root=FOLDER" in line
    (tmp_path / "saved").mkdir()
    np.savez(tmp_path / "saved" / "all.npz", x_train=X, y_train=Y)
    with contextlib.suppress(UserWarning):
        assert command(evaluate, *few, "data_root=saved").code == 0
    found = vae_lab.load_run("run").metrics
    assert {"nll", "elbo"} <= found.keys()
