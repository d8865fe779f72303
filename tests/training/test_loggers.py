"""Every logger gets curves, pictures, settings and final metrics, and a resumed run goes on in each of them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import DRAWN, FAST, Outcome
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from vae_lab.training.logs.csv_logger import CsvLogger, keep_rows, num_rows
from vae_lab.training.logs.loggers import publish_image

LENGTH = ("trainer.limit_train_batches=3", "model=vae", "latent_dim=2")


_OF_NO_CURVE = ("step", "train/examples_per_second")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curves(run: Path) -> list[tuple[str, str, str]]:
    """Every point of a file, but for those of the test, which is repeated after each part."""
    return [
        (row["step"], key, value)
        for row in rows(run)
        for key, value in row.items()
        if value and not key.startswith("test/") and not row["test/elbo"] and key not in _OF_NO_CURVE
    ]


def test_the_curve_of_the_rate_has_that_of_each_step(train: Callable[..., Outcome], tmp_path: Path) -> None:
    """The rate of the next step was beside the loss of this one."""
    words = ("logger=csv", "scheduler=cosine", "optimizer.lr=0.01", "trainer.log_every_n_steps=1")
    outcome = train(*FAST, *LENGTH, *words, "trainer.max_epochs=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.code == 0, outcome.err
    found = [float(row["train/lr"]) for row in rows(tmp_path / "run") if row.get("train/lr")]
    assert found == pytest.approx([0.01 * (math.cos(math.pi * step / 6) / 2 + 0.5) for step in range(6)], abs=1e-6)


@pytest.mark.parametrize("words", [("logger=csv",), ("logger=many", "logger.tensorboard=null")])
def test_a_resumed_run_goes_on_with_its_rows(
    train: Callable[..., Outcome], tmp_path: Path, words: tuple[str, ...]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(*FAST, *LENGTH, *words, "trainer.max_epochs=3", f"hydra.run.dir={whole}").code == 0
    outcome = train(*FAST, *LENGTH, *words, "trainer.max_epochs=2", f"hydra.run.dir={parts}")
    assert outcome.code == 0, outcome.err
    assert f"look at it   {parts / 'metrics.csv'}" in outcome.out
    assert "tensorboard" not in outcome.out
    with (parts / "metrics.csv").open("a") as file:  # what a process writes after its checkpoint and is killed
        file.write("99,1.0\n100,")
    assert train(f"resume={parts}", "trainer.max_epochs=3").code == 0
    assert curves(parts) == curves(whole)
    assert sum(bool(row["test/elbo"]) for row in rows(parts)) == 1


def test_a_run_resumed_for_its_test_writes_the_row_that_it_had(train: Callable[..., Outcome], tmp_path: Path) -> None:
    """The epoch in which the training was cut off counts: the row says that two were begun."""
    for end in ("trainer.max_steps=3", "trainer.max_epochs=2"):
        run = tmp_path / end
        words = (*FAST, "trainer.max_epochs=2", "trainer.limit_train_batches=2", end, "logger=csv")
        assert train(*words, f"hydra.run.dir={run}").code == 0
        before = rows(run)
        assert before[-1]["epoch"] == "2"
        assert train(f"resume={run}").code == 0
        assert rows(run) == before


def test_new_columns_rewrite_the_header(tmp_path: Path) -> None:
    first = CsvLogger(str(tmp_path))
    first.log_metrics({"a": 1.0}, 1)
    first.save()
    later = CsvLogger(str(tmp_path))
    later.log_metrics({"b": 2.0}, 2)
    later.finalize("success")
    assert rows(tmp_path) == [{"step": "1", "a": "1.0", "b": ""}, {"step": "2", "a": "", "b": "2.0"}]
    assert num_rows(tmp_path / "metrics.csv") == 2


def test_no_row_outside_the_run_is_changed(tmp_path: Path) -> None:
    outside, link = tmp_path / "outside.csv", tmp_path / "metrics.csv"
    outside.write_text("step,a\n1,1\n2,2\n")
    link.symlink_to(outside)
    keep_rows(link, 1)
    assert not link.exists()
    assert num_rows(outside) == 2


def test_a_checkpoint_of_before_keeps_a_file_of_this_name(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*FAST, *LENGTH, "trainer.max_epochs=1", f"hydra.run.dir={run}").code == 0
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["curves"]["metrics.csv"]
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    (run / "metrics.csv").write_text("mine\n1\n")
    assert train(f"resume={run}", "trainer.max_epochs=2").code == 0
    assert (run / "metrics.csv").read_text() == "mine\n1\n"


class Recorder:
    """A stand-in for a logger's class that keeps what it is given."""

    def __init__(self, kind: type[Logger]) -> None:
        self.calls: list[tuple[object, ...]] = []
        add = lambda *args, **options: self.calls.append((*args, *options.values()))  # noqa: E731
        experiment = SimpleNamespace(add_image=add, log_image=add)
        members = {"experiment": experiment, "log_image": staticmethod(add), "run_id": "id", "__init__": lambda _: None}
        self.logger = type(kind.__name__, (kind,), members)()


@pytest.mark.parametrize("kind", [TensorBoardLogger, WandbLogger, MLFlowLogger])
def test_every_logger_of_pictures_gets_them(kind: type[Logger]) -> None:
    recorder = Recorder(kind)
    publish_image(recorder.logger, "samples/level_1", torch.full((1, 4, 6), 1.5), 7)
    (call,) = recorder.calls
    if kind is TensorBoardLogger:
        assert (call[0], call[2]) == ("samples/level_1", 7)
    elif kind is WandbLogger:
        assert (call[0], call[1][0].size, call[1][0].getpixel((0, 0)), call[2]) == ("samples/level_1", (6, 4), 255, 7)
    else:
        assert (call[0], call[1].size, call[2]) == ("id", (6, 4), "figures/samples_level_1/00000007.png")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("logger=[tensorboard,csv]",), "logger=[tensorboard,csv]: takes one option; several are logger=many"),
        (
            ("logger=[csv,wandb]",),
            "logger=[csv,wandb]: takes one option; several are logger=many +logger@logger.wandb=wandb",
        ),
        (("logger=many", "logger.tensorboard.flush_sec=1"), "did you mean logger.tensorboard.flush_secs?"),
        (("logger=many", "+logger.mine.x=1"), "logger.mine"),
    ],
)
def test_a_wrong_word_ends_in_one_line(train: Callable[..., Outcome], words: tuple[str, ...], line: str) -> None:
    outcome = train(*FAST, *words)
    assert outcome.code == 1
    assert line in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_names_its_extra(
    train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"pytorch_lightning.loggers.{name}._{name.upper()}_AVAILABLE", False)
    outcome = train(*FAST, f"logger={name}")
    assert outcome.code == 1
    assert outcome.err.startswith("error: logger._target_=")
    assert outcome.err.endswith(f"its package is missing; pip install 'vae-lab[{name}]'\n")


def test_broken_ids_are_named(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*FAST, *LENGTH, f"hydra.run.dir={run}").code == 0
    (run / "loggers.json").write_text("[1]")
    outcome = train(f"resume={run}", "trainer.max_epochs=2")
    assert outcome.code == 1
    assert f"{run / 'loggers.json'}: must hold one id for each logger; delete it" in outcome.err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_goes_on_in_the_same_run(train: Callable[..., Outcome], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = tmp_path / "run"
    words = (*DRAWN, *LENGTH, "logger=wandb", "logger.offline=true", "callbacks.projector=null")
    outcome = train(*words, "trainer.max_epochs=1", f"hydra.run.dir={run}")
    assert outcome.code == 0, outcome.err
    assert f"look at it   wandb sync {run}/wandb/offline-run-" in outcome.out
    (first,) = json.loads((run / "loggers.json").read_text()).values()
    outcome = train(f"resume={run}", "trainer.max_epochs=2")
    assert outcome.code == 0, outcome.err
    assert json.loads((run / "loggers.json").read_text()) == {"WandbLogger": first}
    parts = [path for path in (run / "wandb").iterdir() if path.name.startswith("offline-run-")]
    assert len(parts) == 2
    assert all(path.name.endswith(first) for path in parts)
    assert list((run / "wandb").rglob("*.png"))
    another = train(*words, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path / 'another'}")  # in the same process
    assert another.code == 0
    assert json.loads((tmp_path / "another" / "loggers.json").read_text()) != {"WandbLogger": first}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_goes_on_in_the_same_run(
    train: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    server = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    run = tmp_path / "run"
    words = (*DRAWN, *LENGTH, "logger=mlflow", "callbacks.projector=null")
    outcome = train(*words, "trainer.max_epochs=1", f"hydra.run.dir={run}")
    assert outcome.code == 0, outcome.err
    assert f"look at it   mlflow ui --backend-store-uri {server}" in outcome.out
    outcome = train(f"resume={run}", "trainer.max_epochs=2", "optimizer.lr=0.01", "resume_changed=true")
    assert outcome.code == 0, outcome.err
    (number,) = json.loads((run / "loggers.json").read_text()).values()
    client = MlflowClient(server)
    (experiment,) = (e for e in client.search_experiments() if e.name == "vae_lab")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == number
    assert found.data.params["latent_dim"] == "2"
    assert found.data.metrics["test/elbo"] == json.loads((run / "metrics.json").read_text())["metrics"]["test/elbo"]
    assert [point.step for point in client.get_metric_history(number, "val/elbo")] == [2, 5]
    assert {path.path for path in client.list_artifacts(number, "figures")} >= {"figures/samples"}
