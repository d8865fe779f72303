"""An evaluation of other data, weights or examples leaves that of the run's own test set as it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import FAST, Outcome
from vae_lab.encode import main as encode_main
from vae_lab.evaluate import main
from vae_lab.runs import loading
from vae_lab.runs.evaluations import beside_better
from vae_lab.runs.reading import read_run
from vae_lab.sample import main as sample_main

QUICK = ("trainer=cpu", "trainer.enable_progress_bar=false", "elbo_samples=1", "batch_size=10")


def arrays(root: Path, seed: int) -> Path:
    root.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        np.save(root / f"{split}_images.npy", rng.integers(0, 256, (40, 4, 4), np.uint8))
    return root


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_evaluation_is_filed_by_what_it_evaluated(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    run, own = tmp_path / "run", arrays(tmp_path / "own", 0)
    words = ("data=array", "latent_dim=2", f"data.root={own}", f"hydra.run.dir={run}")
    assert train(*FAST, "logger=none", *words).code == 0
    evaluate = partial(command, main, *QUICK)

    assert evaluate(f"run={run}", "num_samples=2", "trainer.limit_test_batches=1").code == 0
    (part,) = run.glob("evaluation*.json")
    assert part.name == "evaluation_10_examples.json", "the first one, too"
    part.unlink()

    outcome = evaluate(f"run={run}", "num_samples=3")
    assert outcome.code == 0, outcome.err
    assert "reports read evaluation.json alone" not in outcome.out
    first = (run / "evaluation.json").read_bytes()
    record = json.loads(first)
    assert (record["data_root"], record["own_data"], record["num_samples"]) == (str(own), True, 3)
    assert record["data"]["val_size"] == 0.1
    nll = record["nll"]

    others = [arrays(tmp_path / place / "data", seed) for seed, place in enumerate(("a", "b"), 1)]
    last = run / "checkpoints" / "last.ckpt"
    for asked in (
        [f"run={run}", f"data_root={others[0]}"],
        [f"run={run}", f"data_root={others[1]}"],
        [f"run={run}", f"data_root={others[1]}", "split=val"],
        [f"run={run}", "split=train"],
        [f"run={last}"],
        [f"run={run}", "trainer.limit_test_batches=1"],
    ):
        before = set(run.glob("evaluation*.json"))
        outcome = evaluate("num_samples=2", *asked)
        assert outcome.code == 0, outcome.err
        (new,) = set(run.glob("evaluation*.json")) - before
        assert str(new) in outcome.out
        assert "reports read evaluation.json alone" in outcome.out
        assert (run / "evaluation.json").read_bytes() == first
    (filed,) = run.glob("evaluation_data_*_val.json")
    assert json.loads(filed.read_text())["data_root"] == str(others[1])
    found = read_run(run)
    assert found is not None
    assert found.metrics["nll"] == nll

    def files(*words: str) -> set[str]:
        assert command(encode_main, *QUICK[:2], *words).code == 0
        assert command(sample_main, "what=reconstructions", "num=2", *words).code == 0
        return {path.name for path in run.glob("*/*.npz")}

    seen = files(f"run={run}")
    for asked in ([f"data_root={others[0]}", f"run={run}"], [f"run={last}"]):
        assert len(files(*asked)) == len(seen) + 2, "a table of codes and a sheet more"
        seen = files(f"run={run}")
    assert {"test.npz", "test_last.npz", "reconstructions_num2.npz", "reconstructions_num2_last.npz"} < seen

    # The same once more, by another path and with more samples: the newest replaces it.
    (tmp_path / "link").symlink_to(own)
    assert evaluate(f"run={run}", f"data_root={tmp_path / 'link'}", "num_samples=7").code == 0
    assert json.loads((run / "evaluation.json").read_text())["num_samples"] == 7


def test_an_evaluation_of_less_stays_beside_that_of_more(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    best = {"num_examples": 40, "num_samples": 5000, "precision": "32-true", "nll_unconditional": 90.0, "step": 7}
    assert beside_better(path, best, 40) == path
    path.write_text(json.dumps(best))
    for change, name in (
        ({}, "evaluation.json"),
        ({"num_samples": 6000}, "evaluation.json"),
        ({"num_samples": 64}, "evaluation_64_samples.json"),
        ({"num_examples": 10, "num_samples": 64}, "evaluation_10_examples_64_samples.json"),
        ({"precision": "bf16-mixed"}, "evaluation_bf16_mixed.json"),
        ({"precision": "64-true"}, "evaluation.json"),
        ({"num_samples": 64, "step": 8}, "evaluation.json"),  # the file there is of weights that are gone
    ):
        assert beside_better(path, best | change, 40).name == name
    del best["nll_unconditional"]
    assert beside_better(path, best, 40).name == "evaluation_given_labels.json"
    path.write_text(json.dumps({"nll": 90.0}))  # of an older version
    assert beside_better(path, best, 40) == path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_that_were_moved_are_the_runs_own_and_changed_data_are_not(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    run, own, moved = tmp_path / "run", arrays(tmp_path / "own", 0), tmp_path / "moved"
    quiet = ("callbacks.pictures=null", "callbacks.projector=null", "logger=none")
    words = (
        "data=array",
        "latent_dim=2",
        f"data.root={own}",
        f"hydra.run.dir={run}",
        "data.binarization=dynamic",
        "likelihood=bernoulli",
    )
    assert train(*FAST, *quiet, *words).code == 0
    evaluate = partial(command, main, *QUICK, f"run={run}", "num_samples=2")
    own.rename(moved)

    def filed(*words: str) -> tuple[list[str], str]:
        outcome = evaluate(*words)
        assert outcome.code == 0, outcome.err
        paths = sorted(run.glob("evaluation*.json"))
        for path in paths:
            assert json.loads(path.read_text())["own_data"] is (path.stem in ("evaluation", "evaluation_train"))
            path.unlink()
        return [path.name for path in paths], outcome.out

    for split, name in (("test", "evaluation.json"), ("train", "evaluation_train.json")):
        assert filed(f"data_root={moved}", f"split={split}")[0] == [name]

    # One value of one picture, in the folder where the run found its data: these are others.
    moved.rename(own)
    images = np.load(own / "test_images.npy")
    images[7, 0, 0] ^= 255
    np.save(own / "test_images.npy", images)
    (name,), out = filed()
    assert name.startswith("evaluation_own_")
    assert f"{own}: no longer the test set that the run was trained with" in out
    assert filed("split=train")[0] == ["evaluation_train.json"]

    # Runs of older versions know the folder only.
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "fingerprints": None}))
    assert evaluate().code == 0
    assert json.loads((run / "evaluation.json").read_text())["own_data"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_data_that_are_gone_are_named_by_the_key_of_the_command(
    train: Callable[..., Outcome], command: Callable[..., Outcome], tmp_path: Path
) -> None:
    own = arrays(tmp_path / "own", 0)
    assert train(*FAST, "logger=none", "data=array", f"data.root={own}", "hydra.run.dir=run").code == 0
    own.rename(tmp_path / "moved")
    for outcome in (
        command(main, *QUICK, "run=run", "num_samples=2"),
        command(sample_main, "run=run", "what=reconstructions"),
    ):
        assert outcome.code == 1
        (line,) = outcome.error_lines
        assert line.startswith(f"error: data_root={own}: no such file or folder")
        assert "data_root=FOLDER names where the data lie now" in line
        assert "data.root" not in line
    x = np.load(tmp_path / "moved" / "train_images.npy")
    for name, values in (("dark", x // 4), ("signed", x / 127.5 - 1)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "train.npy", values)
    dark = command(main, *QUICK, "run=run", "num_samples=2", f"data_root={tmp_path / 'dark'}", "split=train")
    assert dark.code == 0, "255 is the white of the run, however dark other data are"
    (line,) = command(main, *QUICK, "run=run", "num_samples=2", f"data_root={tmp_path / 'signed'}").error_lines
    assert line.endswith("takes any number (an option of training: this command reads data as the run did)")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_step_and_weights_of_an_evaluation_are_of_one_reading(
    train: Callable[..., Outcome], command: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A training may save other weights between two readings."""
    run, own = tmp_path / "run", arrays(tmp_path / "own", 0)
    words = ("data=array", "latent_dim=2", f"data.root={own}", f"hydra.run.dir={run}")
    assert train(*FAST, "logger=none", *words).code == 0
    read, whole = list[Path](), loading.read_checkpoint

    def read_checkpoint(path: Path, resume: bool = False) -> dict[str, Any]:
        read.append(path)
        return whole(path, resume)

    monkeypatch.setattr(loading, "read_checkpoint", read_checkpoint)
    outcome = command(main, *QUICK, f"run={run}", "num_samples=2")
    assert outcome.code == 0, outcome.err
    assert len(read) == 1
    steps = [json.loads((run / name).read_text())["step"] for name in ("evaluation.json", "metrics.json")]
    assert steps[0] == steps[1] is not None
