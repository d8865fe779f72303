"""Defaults that a model chooses: they give way to what is typed, and published protocols and old runs keep theirs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import BARE, FAST, Outcome
from omegaconf import DictConfig, OmegaConf

from tests.cli.test_options import composed
from vae_lab.cli.compose import composed_or_none, config_dir
from vae_lab.objectives.schedules import LinearOfRun

PROTOCOLS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "protocols.json").read_text())
"""Resolved values of each experiment, recorded before the models had defaults of their own (commit fa6b724)."""


@pytest.mark.parametrize("experiment", sorted(file.stem for file in (config_dir() / "experiment").glob("*.yaml")))
def test_experiments_keep_their_published_protocols(experiment: str, tmp_path: Path) -> None:
    cfg = composed(tmp_path, f"experiment={experiment}")
    for key, value in PROTOCOLS[experiment].items():
        found = OmegaConf.select(cfg, key)
        assert (OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found) == value, key
    assert cfg.objective.get("warmup", cfg.warmup) == cfg.warmup


@pytest.mark.parametrize("model", ["mhvae", "ladder"])
@pytest.mark.parametrize("conditional", ["false", "true"])
def test_hierarchies_start_with_a_warm_up(model: str, conditional: str, tmp_path: Path) -> None:
    cfg = composed(tmp_path, f"model={model}", f"model.conditional={conditional}")
    assert cfg.objective.warmup._target_.endswith("LinearOfRun")
    assert _batch_norm(cfg) is (model == "ladder")


@pytest.mark.parametrize(
    ("words", "warmup", "batch_norm"),
    [
        ("model=mhvae warmup=none", "Constant", False),
        ("model=mhvae warmup=cyclic", "Cyclic", False),
        ("model=mhvae objective=iwae", "Constant", False),
        ("model=ladder objective=capacity", "Constant", True),
        ("model=ladder warmup=linear", "Linear", True),
        ("model=ladder network=mlp", "LinearOfRun", False),
        ("model=ladder network=conv", "LinearOfRun", None),
        ("model=ladder data=image_folder", "LinearOfRun", None),
        ("model=ladder network.batch_norm=false", "LinearOfRun", False),
        ("model=ladder network.widths=[8]", "LinearOfRun", True),
        ("model=ladder prior=vamp", "LinearOfRun", False),
        ("model=mhvae network.batch_norm=true", "LinearOfRun", True),
        ("experiment=burda_vae model=ladder", "Constant", False),
        ("experiment=keras_mnist model=mhvae warmup=linear", "Linear", False),
        ("model=vae", "Constant", False),
        ("model=cvae", "Constant", False),
    ],
)
def test_what_is_typed_wins(words: str, warmup: str, batch_norm: bool | None, tmp_path: Path) -> None:
    cfg = composed(tmp_path, *words.split())
    assert cfg.warmup._target_.rpartition(".")[2] == warmup
    assert _batch_norm(cfg) is batch_norm


def _batch_norm(cfg: DictConfig) -> bool | None:
    found: bool | None = cfg.network.get("batch_norm")
    if "latent_network" in cfg.model:
        assert cfg.model.latent_network.batch_norm is bool(found)
    return found


def test_the_default_warm_up_gives_way_to_an_objective_without_one(
    train: Callable[..., Outcome], tmp_path: Path
) -> None:
    mine = tmp_path / "mine" / "objective"
    mine.mkdir(parents=True)
    (mine / "own.yaml").write_text("_target_: vae_lab.objectives.Iwae\nnum_samples: 2\n")
    words = ("--config-dir", "mine", *BARE, "logger=none", "model=mhvae", "objective=own")
    outcome = train(*words)
    assert outcome.code == 0, outcome.err
    (line,) = train(*words, "warmup=linear").error_lines
    assert line.startswith("error: warmup=linear: objective=own has none")


def _choices(run: Path) -> dict[str, str]:
    choices: dict[str, str] = yaml.safe_load((run / "config.yaml").read_text())["choices"]
    return choices


@pytest.mark.parametrize(("planned", "length"), [(12_900, 5000), (100, 40), (1, 1), (float("inf"), 5000)])
def test_the_warm_up_fits_the_run(planned: float, length: int) -> None:
    warmup = LinearOfRun(fraction=0.4, max_steps=5000)
    warmup.plan(planned)
    assert warmup(length) == 1
    assert warmup(length - 1) == pytest.approx(1 - 1 / length)


@pytest.mark.parametrize("number", [{"fraction": 0.0}, {"fraction": 1.1}, {"max_steps": 0}])
def test_no_warm_up_of_no_length(number: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(number))}="):
        LinearOfRun(**number)


def _beta(run: Path) -> list[float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    return [event.value for event in events.Scalars("train/beta")]


RESUMABLE = (
    *(word for word in FAST if not word.startswith("debug")),
    "trainer.limit_train_batches=5",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
)


def test_a_longer_run_keeps_the_warm_up_it_began_with(train: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(*RESUMABLE, "model=mhvae", "trainer.max_epochs=2", f"hydra.run.dir={run}").code == 0
    assert train(f"resume={run}", "trainer.max_epochs=4").code == 0
    assert _beta(run) == pytest.approx([0, 0.25, 0.5, 0.75] + [1] * 16)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("defaults") / "old"


@pytest.fixture
def old_run(train: Callable[..., Outcome], kept: Path, tmp_path: Path) -> Path:
    """A ladder of a version in which it had neither warm-up nor batch normalisation by default."""
    if not kept.exists():
        words = (*RESUMABLE, "trainer.max_epochs=1", "model=ladder")
        assert train(*words, "warmup=none", "network=mlp", f"hydra.run.dir={kept}").code == 0
        config = yaml.safe_load((kept / "config.yaml").read_text())
        config["overrides"] = [word for word in config["overrides"] if word not in ("warmup=none", "network=mlp")]
        (kept / "config.yaml").write_text(yaml.safe_dump(config))
    return Path(shutil.copytree(kept, tmp_path / "old"))


def test_an_old_run_goes_on_with_the_defaults_of_its_time(
    train: Callable[..., Outcome], old_run: Path, tmp_path: Path
) -> None:
    outcome = train(f"resume={old_run}", "trainer.max_epochs=2")
    assert outcome.code == 0, outcome.err
    assert set(_beta(old_run)) == {1.0}
    assert _choices(old_run)["warmup"] == "none"
    assert train(f"resume={old_run}", "trainer.max_epochs=3").code == 0, "and once more"


def test_the_same_command_over_an_old_run_says_what_moved(train: Callable[..., Outcome], old_run: Path) -> None:
    words = (*RESUMABLE, "trainer.max_epochs=2", "model=ladder", f"hydra.run.dir={old_run}", "resume=auto")
    before = (old_run / "config.yaml").read_bytes()
    outcome = train(*words)
    assert outcome.code == 1
    (line,) = outcome.error_lines
    assert "network=mlp warmup=none goes on with the defaults that the run began with" in line
    assert (old_run / "config.yaml").read_bytes() == before
    assert train(*words, "network=mlp", "warmup=none").code == 0


def test_choices_of_words_that_do_not_compose_are_none() -> None:
    assert composed_or_none(["model=nonsense"]) is None
    composition = composed_or_none(["model=ladder"])
    assert composition is not None
    assert composition.choices["network"] == "mlp_auto"
