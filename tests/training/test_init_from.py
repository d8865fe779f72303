"""``init_from=RUN`` starts a new run from the weights of another one, says what it took, and leaves that run alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Outcome, trained_run

from tests.training import processes
from tests.training.same_run import assert_same, state_of
from tests.training.test_resume_changed import QUICK, files_of

STILL = ("optimizer=sgd", "optimizer.lr=0", "trainer.limit_train_batches=1")
"""A run whose weights stay as they were at its start."""


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def lines_of(outcome: Outcome) -> list[str]:
    return [line for line in outcome.out.splitlines() if line.startswith("init_from: ")]


def refused(outcome: Outcome) -> str:
    assert outcome.code == 1
    assert len(outcome.error_lines) == 1, outcome.err
    return outcome.error_lines[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(tmp_path_factory.mktemp("trained"), *QUICK)


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, which a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "old run (1), ü's=2"))


@pytest.mark.parametrize("name", [".", "checkpoints/last.ckpt"])
def test_a_new_run_starts_from_the_weights_of_another(
    train: Callable[..., Outcome], source: Path, tmp_path: Path, name: str
) -> None:
    new, before = tmp_path / "new", files_of(source)
    checkpoint = source / ("checkpoints/best.ckpt" if name == "." else name)
    outcome = train(*QUICK, *STILL, "seed=1", f"init_from={source / name}", f"hydra.run.dir={new}")
    assert outcome.code == 0, outcome.err
    expected, found = weights_of(checkpoint), weights_of(new / "checkpoints" / "last.ckpt")
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    count = sum(key.startswith("model.") for key in expected)
    epoch = torch.load(checkpoint, weights_only=True)["epoch"]
    assert lines_of(outcome) == [f"init_from: {count} tensors of {checkpoint} (epoch {epoch})"]
    assert state_of(new)["global_step"] == 1
    assert yaml.safe_load((new / "config.yaml").read_text())["init_from"] == str(source / name)
    assert files_of(source) == before


def test_what_does_not_fit_is_refused_and_leaves_nothing(
    train: Callable[..., Outcome], source: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"

    def tried(path: Path, *words: str) -> str:
        line = refused(train(*QUICK, *words, f"init_from={path}", f"hydra.run.dir={new}"))
        assert not new.exists()
        return line

    line = tried(source, "latent_dim=3")
    assert f"error: init_from={source / 'checkpoints' / 'best.ckpt'}: the weights of another model (" in line
    assert "is (4, 4) real, the config makes it (6, 4) real" in line
    assert "latent_dim" in line.partition("); ")[2]
    assert "is not there, the config makes it" in tried(source, "network.widths=[4,4]")
    assert tried(tmp_path / "nowhere") == f"error: init_from={tmp_path / 'nowhere'}: no such file or folder"
    assert "init_from=" in tried(tmp_path)
    assert "decoder_bias=data_mean: would replace a part of the weights" in tried(source, "decoder_bias=data_mean")
    checkpoint = source / "checkpoints" / "best.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    name = next(key for key in content["state_dict"] if key.startswith("model."))
    content["state_dict"][name] *= float("nan")
    torch.save(content, checkpoint)
    assert "not finite" in tried(source)
    content["state_dict"][name] = torch.zeros_like(content["state_dict"][name], dtype=torch.complex64)
    torch.save(content, checkpoint)
    assert "complex, the config makes it" in tried(source)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert "best.ckpt: truncated" in tried(source)


def test_such_a_run_goes_on_when_the_other_one_is_gone(
    train: Callable[..., Outcome], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, requeued, planned = tmp_path / "run", tmp_path / "requeued", tmp_path / "planned"
    words = (*QUICK, f"init_from={source.name}")
    assert train(*words, "trainer.max_epochs=2", f"hydra.run.dir={planned}").code == 0
    assert len(lines_of(train(*words, "resume=auto", f"hydra.run.dir={run}"))) == 1
    shutil.copytree(run, requeued)
    shutil.rmtree(source)
    again = train(*words, "trainer.max_epochs=2", "resume=auto", f"hydra.run.dir={requeued}")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = files_of(run)
    for other in (f"init_from={planned}", "init_from=null"):
        line = refused(train(f"resume={run}", "trainer.max_epochs=2", other, "resume_changed=true"))
        assert "keeps" in line
        assert "it acts on the first weights only" in line
        assert files_of(run) == before
    outcome = train(f"resume={run}", "trainer.max_epochs=2")
    for done, folder in ((again, requeued), (outcome, run)):
        assert done.code == 0, done.err
        assert lines_of(done) == []
        assert_same(folder, planned)
        assert yaml.safe_load((folder / "config.yaml").read_text())["init_from"] == str(source)


def test_a_run_that_had_other_first_weights_is_not_given_new_ones(
    train: Callable[..., Outcome], source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(*QUICK, f"hydra.run.dir={run}").code == 0
    before = files_of(run)
    words = (f"init_from={source}", "trainer.max_epochs=2", "resume_changed=true")
    assert f"resume={run} keeps None" in refused(train(f"resume={run}", *words))
    assert "keeps None" in refused(train(*QUICK, *words, "resume=auto", f"hydra.run.dir={run}"))
    assert files_of(run) == before


@pytest.mark.slow
def test_a_sweep_over_runs_to_start_from(train: Callable[..., Outcome], source: Path, tmp_path: Path) -> None:
    other, sweep = tmp_path / "other", tmp_path / "sweep"
    assert train(*QUICK, "seed=3", f"hydra.run.dir={other}").code == 0
    shutil.copytree(source, tmp_path / "first")
    words = (*QUICK, *STILL, f"init_from={tmp_path / 'first'},{other}", f"hydra.sweep.dir={sweep}")
    outcome = train("-m", *words)
    assert outcome.code == 0, outcome.err
    assert len(lines_of(outcome)) == 2
    started = [yaml.safe_load(path.read_text())["init_from"] for path in sorted(sweep.glob("*/config.yaml"))]
    assert sorted(started) == sorted([str(tmp_path / "first"), str(other)])
    for path in sweep.glob("*/config.yaml"):
        origin = Path(yaml.safe_load(path.read_text())["init_from"])
        expected = weights_of(origin / "checkpoints" / "best.ckpt")
        found = weights_of(path.parent / "checkpoints" / "last.ckpt")
        assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.slow
def test_classes_of_other_names_and_other_settings_of_the_model_are_told(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    assert train(*QUICK, "model=cvae", f"hydra.run.dir={source}").code == 0
    config = yaml.safe_load((source / "config.yaml").read_text())
    config["spec"]["class_names"] = [f"class {number}" for number in range(10)]
    (source / "config.yaml").write_text(yaml.safe_dump(config))
    words = (*QUICK, *STILL, "model=cvae", "network.activation=tanh", f"init_from={source}")
    outcome = train(*words, f"hydra.run.dir={tmp_path / 'new'}")
    assert outcome.code == 0, outcome.err
    _, classes, settings = lines_of(outcome)
    assert f"the classes of {source} are class 0, class 1" in classes
    assert "those of the data are 0, 1" in classes
    assert "activation was relu, is tanh" in settings


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_several_processes_start_from_the_same_weights(
    train: Callable[..., Outcome], source: Path, tmp_path: Path, kind: str
) -> None:
    several = (f"trainer={kind}", "trainer.accelerator=cpu", "trainer.devices=2", "optimizer.fused=false")
    words = (word for word in (*QUICK, *STILL) if not word.startswith("trainer=cpu"))
    processes.run(tmp_path / "new", *words, *several, f"init_from={source}")
    expected = weights_of(source / "checkpoints" / "best.ckpt")
    found = weights_of(tmp_path / "new" / "checkpoints" / "last.ckpt")
    assert all(torch.equal(found[key], value) for key, value in expected.items())
