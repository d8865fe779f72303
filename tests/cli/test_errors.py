"""A user's mistake ends in one line that names the key, the value and what is allowed, before any data is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import BARE, FAST, Outcome

import vae_lab
from vae_lab.cli.compose import config_dir

MISTAKES = [
    (["latnt_dim=4"], ["latnt_dim", "did you mean latent_dim"]),
    (["network.width=[3]"], ["network.width", "network.widths"]),
    (["model=deep", "network=conv"], ["network=conv: vae_lab.models.Deep does not use it"]),
    (["model=deep", "network.widths=[3]"], ["network"]),
    (
        ["model=mhvae", "latent_dim=2", "model.latent_dims=[4,3]"],
        ["latent_dim=2: the sizes of the model are set to [4,3]; leave one of the two out"],
    ),
    (
        ["scheduler=cosine", "~scheduler.final_lr", "scheduler._target_=torch.optim.lr_scheduler.StepLR"],
        ["scheduler: StepLR.__init__() missing", "step_size"],
    ),
    (["model.latent_dim=3", "latent_dim=2"], ["latent_dim=2: the sizes of the model are set to [3]"]),
    (["network=none"], ["network=null: must be Architecture"]),
    (["model=vea"], ["model=vea", "did you mean vae", "cvae, deep, ladder, mhvae, vae"]),
    (["latent_dim=0"], ["latent_dim=0", "at least 1"]),
    (["latent_dim=-3"], ["latent_dim=-3", "at least 1"]),
    (["latent_dim=abc"], ["latent_dim=abc", "an integer"]),
    (["latent_dim=2.5"], ["latent_dim=2.5", "an integer"]),
    (["latent_dim=true"], ["latent_dim=true", "an integer"]),
    (["latent_dim=["], ["latent_dim=[: not of the form KEY=VALUE; quote a word with spaces"]),
    (["network.widths=8,4"], ["network.widths=8,4: several values; write a list as [a,b], or add -m"]),
    (["likelihood=poisson"], ["likelihood=poisson: no such option; choose from auto", "by --config-dir FOLDER"]),
    (["data=MNIST"], ["data=MNIST: no such option; did you mean mnist?"]),
    (["trainer.epochs=3"], ["did you mean trainer.max_epochs or trainer.min_epochs?"]),
    (["lr=1e-3"], ["lr: no such key; did you mean optimizer.lr?"]),
    (["model=mhvae", "model.latent_dims=[]"], ["latent_dims=[]", "at least one level"]),
    (["model=mhvae", "model.latent_dims=[4,0]"], ["4, 0", "at least 1"]),
    (["model=ladder", "model.features=[8]"], ["features=[8]", "3 levels"]),
    (["model=cvae", "data=image_folder"], ["data.root=", "data"]),
    (["prior=label_conditional"], ["model.conditional=true"]),
    (["likelihood=gaussian"], ["binary", "likelihood=bernoulli"]),
    (["likelihood=gaussian", "likelihood.scale=0", "data.binarization=none"], ["scale=0", "positive"]),
    (["likelihood=gaussian", "likelihood.scale=wide", "data.binarization=none"], ["likelihood.scale=wide", "shared"]),
    (["network.activation=rlu"], ["network.activation=rlu", "relu, tanh"]),
    (["network.widths=[0]"], ["widths", "at least 1"]),
    (["network.widths=3"], ["network.widths=3", "a list"]),
    (["+network.depth=3"], ["network.depth", "no such option"]),
    (["objective.beta=-1"], ["beta=-1", "0 or more"]),
    (["objective=iwae", "objective.num_samples=0"], ["num_samples=0", "at least 1"]),
    (["objective=beta_tcvae", "model=mhvae"], ["BetaTcvae", "one level, this one has 3", "model=vae or cvae"]),
    (["objective=iwae_dreg", "model=ladder"], ["IwaeDreg", "one level, this one has 3", "model=vae or cvae"]),
    (["objective=wae_mmd", "objective.kernel=imk"], ["objective.kernel=imk", "imq, rbf"]),
    (["warmup=linear", "warmup.steps=0"], ["warmup.steps=0", "at least 1"]),
    (["warmup=linear", "objective=iwae"], ["warmup=linear", "objective=iwae", "warmup=none"]),
    (["optimizer.lr=fast"], ["optimizer.lr=fast", "a number"]),
    (["data.batch_size=0"], ["batch_size=0", "1 or more"]),
    (["data.binarization=dynamik"], ["binarization=dynamik", "dynamic"]),
    (["data.val_size=60000"], ["val_size=60000", "60000"]),
    (["trainer.precision=17"], ["trainer.precision=17", "bf16-mixed"]),
    (["eval_samples=0"], ["eval_samples=0", "at least 1"]),
    (["steps_per_pass=0"], ["steps_per_pass=0", "1 or more, or auto"]),
    (["steps_per_pass=-2"], ["steps_per_pass=-2", "1 or more, or auto"]),
    (["steps_per_pass=all"], ["steps_per_pass=all", "an integer or auto"]),
    (["test_checkpoint=worst"], ["test_checkpoint=worst", "best, last"]),
    (["seed=x"], ["seed=x", "an integer"]),
    (["hydra.run.dir=/dev/null/x"], ["/dev/null"]),
]


@pytest.mark.parametrize(("words", "named"), MISTAKES, ids=lambda words: " ".join(words)[:60])
def test_one_line(train: Callable[..., Outcome], tmp_path: Path, words: list[str], named: list[str]) -> None:
    outcome = train("debug=fast", "trainer.max_epochs=0", "data.root=nowhere", *words)
    assert outcome.code != 0
    assert len(outcome.error_lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    for text in named:
        assert text in outcome.error_lines[0]
    assert not list(tmp_path.glob("outputs/*/*/*")), "nothing half-written stays"


def test_full_error_shows_the_trace(train: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="latent_dim=0"):
        train("latent_dim=0")


@pytest.mark.filterwarnings("default:.*skipped and counted")
def test_a_diverging_run_names_the_term_and_keeps_the_checkpoint(train: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = train(*FAST, "optimizer=sgd", "optimizer.lr=1e30")
    assert outcome.code != 0
    (line,) = outcome.error_lines
    assert re.search(r"/(log_likelihood|kl_level_1) is not finite at step 3; ", line)
    assert "no checkpoint had been written yet" in line


UNREAD = [
    (["+foo=1"], ["foo: no such key"]),
    (["++foo.bar=1"], ["foo.bar: no such key"]),
    (["+eval_sample=5"], ["eval_sample", "did you mean eval_samples"]),
    (["+checkpoint.x=5"], ["checkpoint.x: no such key"]),
    (["+trainer.profilr=simple"], ["trainer.profilr", "did you mean trainer.profiler"]),
    (["trainer.profilr=simple"], ["trainer.profilr", "did you mean trainer.profiler"]),
    (["optimizer.maximise=true"], ["optimizer.maximise", "did you mean optimizer.maximize"]),
    (["trainer.strategy.x=1"], ["trainer.strategy.x", "trainer.strategy=auto holds no keys"]),
    (["logger=none", "logger.x=1"], ["logger.x", "logger=null holds no keys"]),
    (["logger.flush_sec=3"], ["logger.flush_sec", "did you mean logger.flush_secs"]),
    (["model.likelihood.x=1"], ["model.likelihood.x: no such key"]),
    (["+trainer.logger=false"], ["trainer.logger", "use logger=none"]),
    (["trainer.logger.x=1"], ["trainer.logger.x", "use logger=none"]),
    (["+trainer.enable_checkpointing=false"], ["trainer.enable_checkpointing", "use callbacks=none"]),
    (["++trainer.callbacks=[]"], ["trainer.callbacks", "use callbacks=none"]),
    (["+hydra.foo=1"], ["hydra.foo"]),
    (["++hydra.run.foo=1"], ["hydra.run.foo"]),
    (["run_dir=other"], ["run_dir", "use hydra.run.dir"]),
    (["data.images.root=x"], ["data.images.root", "use data.root"]),
    (["model.spec=null"], ["model.spec", "follows from data"]),
    (["~seed"], ["~seed", "seed=VALUE"]),
    (["~logger"], ["~logger", "use logger=none"]),
    (["~model"], ["~model", "choose one of cvae, deep, ladder"]),
    (["~experiment"], ["~experiment", "use experiment=null"]),
    (["optimizer.amsgrad=1"], ["optimizer.amsgrad=1", "true or false"]),
    (["experiment=deep_mnist", "callbacks=none"], ["callbacks.pictures", "~callbacks.pictures leaves it out"]),
    (["callbacks=early_stopping", "callbacks.early_stopping.min_delta=abc"], ["min_delta=abc", "a number"]),
    (["optimizer.foreach=true"], ["optimizer", "fused"]),
]


@pytest.mark.parametrize(("words", "named"), UNREAD, ids=lambda words: " ".join(words)[:60])
def test_a_key_that_nothing_reads_is_refused(
    train: Callable[..., Outcome], tmp_path: Path, words: list[str], named: list[str]
) -> None:
    test_one_line(train, tmp_path, words, named)


LIGHTNING = (
    "trainer.val_check_interval=2",
    "trainer.max_time.hours=1",
    "callbacks=early_stopping",
    "callbacks.early_stopping.min_delta=0.5",
    "optimizer.maximize=false",
    "logger.flush_secs=5",
)


def test_every_key_of_a_constructor_is_taken_and_recorded(train: Callable[..., Outcome], tmp_path: Path) -> None:
    assert train(*FAST, "trainer.max_epochs=1", *LIGHTNING, "hydra.run.dir=run").code == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["trainer"]["val_check_interval"] == 2
    assert config["trainer"]["max_time"] == {"hours": 1}
    assert config["callbacks"]["early_stopping"]["min_delta"] == 0.5
    assert config["optimizer"]["maximize"] is False
    assert train("resume=run", "trainer.max_epochs=2").code == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["val_check_interval"] == 2


@pytest.mark.parametrize(
    "search",
    [
        pytest.param((), id="grid"),
        pytest.param(("search=optuna", "search.trials=2"), id="search", marks=pytest.mark.slow),
    ],
)
def test_sweeps_over_keys_that_no_yaml_lists(
    train: Callable[..., Outcome], tmp_path: Path, search: tuple[str, ...]
) -> None:
    fast = FAST if search else (*BARE, "trainer.max_epochs=0")
    outcome = train("-m", *fast, *search, "optimizer.amsgrad=true,false", "hydra.sweep.dir=sweep")
    assert outcome.code == 0, outcome.err
    configs = [yaml.safe_load(path.read_text()) for path in (tmp_path / "sweep").glob("*/config.yaml")]
    assert len(configs) == 2
    assert {config["optimizer"]["amsgrad"] for config in configs} <= {True, False}
    assert train("-m", *FAST, "optimizer.amsgrd=true,false").error_lines == [
        "error: optimizer.amsgrd: torch.optim.Adam has no such option; did you mean optimizer.amsgrad?"
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("objective.free_bits=-2", "objective.free_bits=-2: must be a finite number, 0 or more"),
        ("warmup=cyclic warmup.period=1", "warmup.period=1: must be at least 2"),
        ("warmup=linear warmup.steps=0", "warmup.steps=0: must be at least 1; warmup=none switches it off"),
        ("prior=mixture prior.num_components=0", "prior.num_components=0: must be at least 1"),
        (
            "likelihood=logistic_mixture likelihood.num_components=0 prior=mixture data.binarization=none",
            "likelihood.num_components=0: must be at least 1",
        ),
        ("model=mhvae model.latent_dims=[4,0]", "model.latent_dims=[4, 0]: every level needs at least 1 dimension"),
        (
            "decoder_bias=data_mean likelihood=categorical data.binarization=none data.root=data",
            "likelihood Categorical has no parameter for the mean; leave out decoder_bias=data_mean",
        ),
        ("data.batch_size=0", "data.batch_size=0: must be 1 or more"),
    ],
)
def test_the_argument_of_a_component_gets_its_key(train: Callable[..., Outcome], words: str, line: str) -> None:
    outcome = train("debug=fast", "trainer.max_epochs=0", *words.split())
    assert outcome.code == 1
    assert outcome.error_lines == [f"error: {line}"]


MATHS = ("core", "distributions", "models", "networks", "objectives")


def test_the_mathematics_names_no_key() -> None:
    package = Path(vae_lab.__file__).parent
    groups = "|".join(path.name for path in config_dir().iterdir() if path.is_dir())
    key = re.compile(rf'"[^"\n]*?\b(?:{groups})(?:\.[\w{{}}]+=|=(?!model|network)\w)')
    files = [file for part in MATHS for file in (package / part).glob("*.py")]
    assert len(files) > 25
    assert not [file.name for file in files if key.search(file.read_text(encoding="utf-8"))]
