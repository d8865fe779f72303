"""Any command line gives a config with every value that was asked for, or one line that says what is wrong with it."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf, open_dict

from vae_lab.cli import command
from vae_lab.cli.check import check_config
from vae_lab.cli.compose import assemble, composition_of, config_dir, groups
from vae_lab.cli.messages import fail, printable
from vae_lab.cli.overrides import check_words
from vae_lab.cli.remedies import naming_keys
from vae_lab.nested import value_at, walk

QUICK = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(QUICK, max_examples=600)

GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml") if file.stem != "default" or folder.name != "data")
    for folder in sorted(config_dir().iterdir())
    if folder.is_dir() and folder.name not in ("launcher", "search", "sweep")  # those are of sweeps
}


def composed(*words: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=list(words))


VARIANTS = (
    (),
    ("model=ladder", "likelihood=gaussian", "prior=mixture", "optimizer=sgd", "scheduler=multistep", "warmup=cyclic"),
    ("network=conv", "data=image_folder", "objective=capacity", "optimizer=rmsprop", "scheduler=burda"),
    ("data=sprites", "objective=info_vae", "warmup=linear", "scheduler=cosine", "callbacks=early_stopping"),
    ("data=celeba", "objective=beta_tcvae", "prior=vamp"),
)
CONFIGS = [OmegaConf.to_container(composed(*words), resolve=False) for words in VARIANTS]
KEYS = sorted(
    {key for config in CONFIGS for key, _ in walk(config) if "[" not in key}
    - {"", "run_dir", "resume", "sweep", "sweep.resume"}
)

# Sizes either small or so large that no machine has the memory: what lies between might be granted.
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "5",
    "-1",
    "-2",
    "7.5",
    "-0.5",
    "0.1",
    "1.0",
    "1e-3",
    "1e400",
    "nan",
    "inf",
    "-inf",
    ".inf",
    "-1e300",
    "1_000",
    "007",
    "0x10",
    "1e12",
]
HUGE = ["1000000000000", "9223372036854775808", "-9223372036854775809", "1180591620717411303424"]
TEXTS = [
    "abc",
    "auto",
    "none",
    "relu",
    "shared",
    "all",
    "best",
    "32-true",
    "cpu",
    "unit",
    "2020-01-01",
    "12:30",
    "a/b",
    "../x",
    ".",
    "~",
    "日本",
    "naïve",
    "x\u200by",
]
NULLS = ["null", "true", "false", "None", "True", "", "''", '""', "' '", "'null'", "'1'"]
LISTS = [
    "[]",
    "[1]",
    "[0]",
    "[-1]",
    "[2,3]",
    "[[1]]",
    "[null]",
    "[a,b]",
    "[nan]",
    "[0.5,0.9]",
    "[true]",
    "[1.5]",
    "[''," * 3,
]
DICTS = ["{}", "{a:1}", "{_target_:os.getcwd}", "{lr:1}", "{1:2}", "{null:1}", "[{a:1}]", "{a:{b:[]}}", "{"]
INTERPOLATIONS = [
    "${seed}",
    "${latent_dim}",
    "${model}",
    "${nothing}",
    "${model.nothing}",
    "${oc.env:NOPE}",
    "${",
    "${}",
    "${.x}",
    "${oc.env:NOPE,3}",
    "${nosuch:1}",
    "${oc.select:seed}",
    "${network.widths}",
    "x${seed}",
    "${data}",
    "${..seed}",
]
BROKEN = [
    "'",
    '"',
    "\\",
    "a'b",
    "(",
    ")",
    "]",
    "}",
    "a b",
    "a=b",
    "=",
    ",",
    "1,2",
    "range(3)",
    "choice(1)",
    "sort(3)",
    "!",
    "#",
    "%s",
]
VALUES = st.sampled_from([*NUMBERS, *HUGE, *TEXTS, *NULLS, *LISTS, *DICTS, *INTERPOLATIONS, *BROKEN]) | st.integers(
    -10, 300
).map(str)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@st.composite
def near(draw: Callable[..., Any], names: Sequence[str]) -> str:
    """A name with a letter lost, doubled or changed."""
    name = draw(st.sampled_from(names))
    at = draw(st.integers(0, len(name) - 1))
    return name[:at] + draw(st.sampled_from(["", name[at] * 2, "x", ".", "_", "-"])) + name[at + 1 :]


def option(group: str) -> st.SearchStrategy[str]:
    names = st.sampled_from(GROUPS[group])
    return st.one_of(names, names, names, near(GROUPS[group]), VALUES).map(lambda name: f"{group}={name}")


CHOICES = st.sampled_from(list(GROUPS)).flatmap(option)
ASSIGNMENTS = st.builds(
    lambda prefix, key, value: f"{prefix}{key}={value}",
    st.sampled_from(["", "", "", "", "", "+", "++"]),
    st.sampled_from(KEYS),
    VALUES,
)
DELETIONS = st.sampled_from([*KEYS, *GROUPS]).map(lambda key: f"~{key}")
STRANGE = st.one_of(
    near(KEYS).flatmap(lambda key: VALUES.map(lambda value: f"{key}={value}")),
    st.builds("{}={}".format, st.sampled_from(KEYS), ANY_TEXT),
    st.sampled_from(KEYS),
    ANY_TEXT.filter(lambda text: not text.startswith("-")),
    st.sampled_from(
        [
            "hydra.job.name=x",
            "hydra.verbose=false",
            "hydra.nothing=1",
            "hydra.run.dir=runs/a",
            "hydra.output_subdir=null",
            "+new=1",
            "+new.key=${seed}",
            "++model.new=1",
            "+trainer.fast_dev=1",
            "trainer.inference_mode=false",
            "trainer.profiler=simple",
            "trainer.plugins=[]",
            "+trainer.logger=false",
            "optimizer.foreach=null",
            "optimizer.maximize=true",
            "logger.max_queue=3",
            "data.images.root=x",
            "hydra.job.chdir=false",
            "hydra.run=3",
            "hydra=null",
            "hydra.job=[]",
            "model@x=vae",
            "+model@x=vae",
            "hydra/job_logging=none",
        ]
    ),
)
SOUND = st.sampled_from([f"{group}={name}" for group, names in GROUPS.items() for name in names])
WILD = st.one_of(CHOICES, ASSIGNMENTS, ASSIGNMENTS, ASSIGNMENTS, DELETIONS, STRANGE)
WORDS = st.builds(
    lambda words, random: [word for word in random.sample(words, len(words)) if not word.startswith("-")],
    st.builds(list.__add__, st.lists(SOUND, max_size=3), st.lists(WILD, max_size=2)),
    st.randoms(use_true_random=False),
)


class Result:
    """Result of a command line: the config that was built, or the lines of the error."""

    def __init__(self) -> None:
        self.cfg: DictConfig | None = None
        self.choices: dict[str, Any] = {}
        self.code: Any = 0
        self.err = ""


def run(words: Sequence[str], whole: bool, monkeypatch: pytest.MonkeyPatch) -> Result:
    """The command, which builds everything and then stops; or, in a third of the time, without Hydra's own run."""
    result = Result()

    def build(cfg: DictConfig) -> None:
        torch.manual_seed(0)
        assemble(composition_of(cfg, HydraConfig.get()))
        result.cfg, result.choices = cfg, dict(HydraConfig.get().runtime.choices)

    monkeypatch.setattr(sys, "argv", ["train", *words])
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()), quiet():
        try:
            command.run(build, "train") if whole else compose_and(build, words)
        except SystemExit as stop:
            result.code = stop.code
        finally:
            GlobalHydra.instance().clear()
    result.err = err.getvalue()
    return result


def compose_and(build: Callable[[DictConfig], None], words: Sequence[str]) -> None:
    """Does the work of `command.run` with a config, without the run folder and Hydra's callbacks and logs."""
    try:
        check_words(words, groups())
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("train", overrides=list(words), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
            cfg.run_dir = "run"
        check_config(cfg)
        with naming_keys(cfg):
            build(cfg)
    except Exception as error:
        fail(error)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ignores Lightning's advice, which pytest would take for errors."""
    kept = warnings.formatwarning, random.getstate()
    with warnings.catch_warnings(action="ignore"):
        yield
    warnings.formatwarning = kept[0]
    random.setstate(kept[1])
    logging.getLogger().handlers = [h for h in logging.getLogger().handlers if "pytest" in type(h).__module__]


def check(words: Sequence[str], whole: bool, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Holds one command line to the promise."""
    for name in ("HYDRA_FULL_ERROR", "VAE_LAB_FULL_ERROR"):
        monkeypatch.setenv(name, "0")
    monkeypatch.chdir(folder)
    result = run(words, whole, monkeypatch)
    if result.cfg is not None:
        assert result.code == 0
        assert_obeyed(words, result)
        return "built"
    assert result.code == 1, (words, result.code, result.err)
    lines = [line for line in result.err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, (words, result.err)
    assert lines[0].startswith("error: "), (words, result.err)
    assert names_the_culprit(words, lines[0]), (words, lines[0])
    assert not [path for path in folder.rglob("*") if path.is_file()], (words, lines[0])
    return "refused"


def names_the_culprit(words: Sequence[str], line: str) -> bool:
    """True if the line has a key, a part of a key, or a value of one of the words."""
    if not words:
        return False
    parts = [part for word in words for part in re.split(r"[=.@\s]+", word.lstrip("+~"))]
    return any(printable(part).lower() in line.lower() for part in parts)


def assert_obeyed(words: Sequence[str], result: Result) -> None:
    """Every value that was given is in the config, but for those that a later word replaced."""
    parser = OverridesParser.create()
    overrides = parser.parse_overrides(list(words))
    for number, override in enumerate(overrides):
        key, later = override.key_or_group, [other.key_or_group for other in overrides[number + 1 :]]
        if key in GROUPS and isinstance(override.value(), str) and not override.is_delete():
            if key not in later and not override.package:
                assert result.choices[key] == override.value(), (words, key)
            continue
        values_after = [other for other in overrides[number + 1 :] if other.key_or_group not in GROUPS]
        if key.startswith("hydra") or override.package or any(related(key, o.key_or_group) for o in values_after):
            continue
        found = value_at(OmegaConf.to_container(result.cfg, resolve=False), key, "absent")
        if override.is_delete():
            assert found == "absent", (words, key, found)
        else:
            assert same(found, override.value()), (words, key, found)


def related(key: str, other: str) -> bool:
    return f"{other}.".startswith(f"{key}.") or f"{key}.".startswith(f"{other}.")


def same(found: Any, wanted: Any) -> bool:
    if isinstance(found, dict) and isinstance(wanted, dict):  # a mapping is merged into what was there
        return all(same(found.get(name, "absent"), wanted[name]) for name in wanted)
    return type(found) is type(wanted) and found == wanted


@QUICK
@given(words=WORDS)
def test_any_command_line_is_obeyed_or_refused_in_one_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(words, False, monkeypatch, tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
@LONG
@given(words=WORDS)
def test_the_whole_command_obeys_or_refuses_in_one_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(words, True, monkeypatch, tmp_path_factory.mktemp("fuzz"))


LATE = [
    "optimizer.lr=inf",
    "optimizer.lr=nan",
    "optimizer.betas=[1,2]",
    "optimizer.alpha=2 optimizer=rmsprop",
    "seed=4294967296",
    "data.memory_limit_gb=nan",
    "data.image_size=1000000000000",
    "data.batch_size=9223372036854775808",
    "latent_dim=1000000000000",
    "network.widths=[1000000000000]",
    "network=conv network.blocks=1000000000000",
    "prior=mixture prior.num_components=1000000000000",
    "trainer.max_steps=0",
    "trainer.max_epochs=-5",
    "trainer.devices=1000000000000",
    "trainer.gradient_clip_val=nan",
    "trainer.check_val_every_n_epoch=0",
    "trainer.log_every_n_steps=0",
    "trainer.num_sanity_val_steps=-3",
    "checkpoint.every_minutes=nan",
    "scheduler=cosine scheduler.final_lr=-1",
    "scheduler=cosine optimizer.lr=0",
    "scheduler=multistep scheduler.gamma=-1",
    "scheduler=burda scheduler.stages=1000000000000",
    "data=sprites data.images.num_scales=0",
    "model=null",
    "objective=[-1]",
    "hydra=null",
    "~model.likelihood",
    "~optimizer._partial_",
    "model._partial_='null'",
    "~data.images._partial_",
    "~experiment experiment=burda_cvae",
    "callbacks=${oc.select:seed}",
    "callbacks.checkpoint.auto_insert_metric_name=${network.widths}",
    "+scheduler.final_lr=0",
    "+scheduler._partial_=0",
    "logger=none +logger.x=1",
]
"""Command lines that fuzzing found to be refused late, in many lines or not at all."""


@pytest.mark.parametrize("words", LATE)
def test_what_fuzzing_found_stays_mended(words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert check(words.split(), False, monkeypatch, tmp_path) == "refused"


def test_a_refused_run_leaves_nothing_of_its_logger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    assert check(["logger=mlflow", "trainer=gpu"], True, monkeypatch, tmp_path) == "refused"
