"""A user's mistake ends in one line that names the key, the value and what is allowed, before any data is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FAST, Outcome

MISTAKES = [
    (["latnt_dim=4"], ["latnt_dim", "did you mean latent_dim"]),
    (["network.width=[3]"], ["network.width", "network.widths"]),
    (["model=vea"], ["model=vea", "did you mean vae", "cvae, ladder, mhvae, vae"]),
    (["latent_dim=0"], ["latent_dim=0", "at least 1"]),
    (["latent_dim=-3"], ["latent_dim=-3", "at least 1"]),
    (["latent_dim=abc"], ["latent_dim=abc", "an integer"]),
    (["latent_dim=2.5"], ["latent_dim=2.5", "an integer"]),
    (["latent_dim=true"], ["latent_dim=true", "an integer"]),
    (["latent_dim=["], ["latent_dim=["]),
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
    outcome = train(*FAST, "callbacks.pictures=null", "callbacks.projector=null", "optimizer=sgd", "optimizer.lr=1e30")
    assert outcome.code != 0
    (line,) = outcome.error_lines
    assert re.search(r"/(log_likelihood|kl_level_1) is not finite at step 3; ", line)
    assert "no checkpoint had been written yet" in line
