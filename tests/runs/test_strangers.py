"""A stranger's run folder executes nothing, whatever opens it: no marker file appears, and one clear line does."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import FAST, Outcome

import vae_lab
from vae_lab import evaluate, report, sample
from vae_lab.errors import RunError
from vae_lab.runs.build import build
from vae_lab.training import AtomicCheckpointIO
from vae_lab.training.logs import curves

WORDS = (*FAST, "latent_dim=2")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strangers") / "run"


@pytest.fixture
def run(train: Callable[..., Outcome], kept: Path, tmp_path: Path) -> Path:
    """A run as it should be, for each test to spoil."""
    if not kept.exists():
        assert train(*WORDS, f"hydra.run.dir={kept}").code == 0
    return Path(shutil.copytree(kept, tmp_path / "run"))


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """File that a successful attack would make."""
    path = tmp_path / "exploded"
    yield path
    assert not path.exists(), "something of the stranger's was executed"


@pytest.fixture
def openings(command: Callable[..., Outcome], run: Path) -> Callable[[], Iterator[str]]:
    """Every way to open the run that rebuilds its model; gives the one line that each ends with."""

    def lines() -> Iterator[str]:
        with pytest.raises(RunError) as raised:
            vae_lab.load_run(run)
        yield str(raised.value)
        for main, words in ((evaluate.main, ["num_samples=2", "trainer=cpu"]), (sample.main, [])):
            yield one_line(command(main, f"run={run}", *words))

    return lines


def one_line(outcome: Outcome) -> str:
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    (line,) = outcome.error_lines
    return line


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


# Checkpoints


class Bomb:
    """Unpickled, it makes the marker."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


class Builder(Bomb):
    """The same by way of an object's state: a class of torch's, rebuilt, then told to update itself."""

    def __reduce__(self) -> Any:
        return eval, (f"__import__('os').system({self.command!r})",)


PICKLES: dict[str, Callable[[Any, Path], object]] = {
    "bare": lambda bomb, path: path.write_bytes(pickle.dumps(bomb)),
    "bare, old protocol": lambda bomb, path: path.write_bytes(pickle.dumps(bomb, protocol=0)),
    "weights": lambda bomb, path: torch.save({"state_dict": bomb}, path),
    "one weight": lambda bomb, path: torch.save({"state_dict": {"model.x": bomb}}, path),
    "beside the weights": lambda bomb, path: torch.save({"state_dict": {}, "callbacks": [{"x": (bomb,)}]}, path),
    "a key": lambda bomb, path: torch.save({"state_dict": {}, (1, bomb): 2}, path),
    "old torch": lambda bomb, path: torch.save(
        {"state_dict": {"model.x": [bomb]}}, path, _use_new_zipfile_serialization=False
    ),
}


@pytest.mark.parametrize(
    ("bomb", "kind"), [*((Bomb, kind) for kind in PICKLES), (Builder, "weights"), (Builder, "old torch")]
)
def test_checkpoints_are_read_as_tensors(
    run: Path, openings: Callable[[], Iterator[str]], train: Callable[..., Outcome], marker: Path, bomb: Any, kind: str
) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        PICKLES[kind](bomb(marker), run / "checkpoints" / name)
    for line in [*openings(), one_line(train(f"resume={run}", "resume_changed=true"))]:
        assert "truncated, corrupt or no checkpoint of vae_lab" in line


def test_the_bombs_are_sharp(marker: Path) -> None:
    for kind in (Bomb, Builder):
        pickle.loads(pickle.dumps(kind(marker)))
        assert marker.exists()
        marker.unlink()


def test_packed_checkpoints_are_refused(run: Path) -> None:
    path = run / "checkpoints" / "best.ckpt"
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    with pytest.raises(RunError, match="compressed"):
        vae_lab.load_run(run)


@pytest.mark.parametrize("state", [{"model.x": 3}, {"model.x": ["y"]}, {1: torch.zeros(2)}, {}, [], None, "model."])
def test_weights_that_are_none(run: Path, openings: Callable[[], Iterator[str]], state: Any) -> None:
    torch.save({"state_dict": state}, run / "checkpoints" / "best.ckpt")
    for line in openings():
        assert "best.ckpt" in line


def test_a_checkpoint_that_says_too_little_to_go_on(run: Path, train: Callable[..., Outcome]) -> None:
    path = run / "checkpoints" / "last.ckpt"
    whole = torch.load(path, weights_only=True)
    for key in ("progress", "curves", "callbacks", "optimizer_states"):
        torch.save({name: value for name, value in whole.items() if name != key}, path)
        words = (f"resume={run}", "resume_changed=true", "trainer.max_epochs=2")
        assert "last.ckpt" in one_line(train(*words))


def test_a_checkpoint_cannot_have_other_files_removed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.ckpt"
    mine.touch()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in (f"{tmp_path}/run/checkpoints/../../mine.ckpt", "memory://mine.ckpt"):
        with pytest.raises(RunError, match="not removed"):
            AtomicCheckpointIO().remove_checkpoint(name)
    assert mine.exists()


# Configs

TARGETS = [
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "builtins.__import__",
    "functools.partial",
    "importlib.import_module",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "omegaconf.OmegaConf.load",
    "torch.load",
    "torch.compile",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
    "torch.utils.cpp_extension.load_inline",
    "torch.package.PackageImporter",
    "torch.jit.CompilationUnit",
    "torch.os.system",
    "torch.nn",
    "torch.nn.os.system",
    "torch.nn.modules.module.os.system",
    "torch.nn.modules.module.functools.partial",
    "torch.nn.modules.module.OrderedDict",
    "torch.nn.functional.relu",
    "torch.nn.init.constant_",
    "torch.nn.Module.__init__",
    "torch.nn.Module.__class__",
    "vae_lab.__init__.os.system",
    "vae_lab.__builtins__.eval",
    "vae_lab.runs.build.importlib.import_module",
    "vae_lab.runs.build.partial",
    "vae_lab.runs.build.build",
    "vae_lab.runs.provenance.subprocess.Popen",
    "vae_lab.runs.folder.save_config",
    "vae_lab.files.write_text",
    "vae_lab.runs.loading.Path",
    "vae_lab.runs.loading.load_run",
    "vae_lab.train.main",
    "vae_lab.nothing.Here",
    "pathlib.Path",
    "vae_lab..loading.Path",
    "vae_lab.\0.x",
    "vae_lab",
    "vae_lab.",
    "",
    "système",
    17,
    None,
    ["os.system"],
    {"_target_": "os.system"},
]


def nodes(target: Any, marker: Path) -> Iterator[dict[str, Any]]:
    """A target with what it would need to make the marker, in all of instantiate's ways to pass it."""
    shell, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    yield {"_target_": target, "command": shell, "args": shell, "expression": code}
    yield {"_target_": target, "_args_": [shell]}
    yield {"_target_": target, "_partial_": True, "_args_": [code]}
    yield {"_target_": "vae_lab.networks.MlpArchitecture", "_recursive_": False, "widths": [{"_target_": target}]}
    yield {"_target_": "vae_lab.networks.MlpArchitecture", "widths": {"_target_": target}}
    chain = {"_target_": target, "_partial_": True, "command": shell}
    yield {"_target_": "functools.partial", "_args_": [chain]}
    yield {"_target_": "vae_lab.models.VAE", "_partial_": True, "network": chain, "likelihood": chain, "latent_dim": 2}


def test_configs_build_trusted_classes_only(marker: Path) -> None:
    for target in TARGETS:
        for node in nodes(target, marker):
            with pytest.raises(RunError, match="_target_=") as raised:
                build(node)
            assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("os.system", "model"),
        ("builtins.eval", "data"),
        ("torch.load", "model.network"),
        ("vae_lab.files.write_text", "data.images"),
    ],
)
def test_no_command_builds_what_is_not_trusted(
    run: Path, command: Callable[..., Outcome], marker: Path, target: str, key: str
) -> None:
    def poison(config: dict[str, Any]) -> None:
        place = config
        for part in key.split("."):
            place = place[part]
        place.update({"_target_": target, "command": f"touch {marker}", "path": str(marker)})

    edit(run, poison)
    name = f"_target_={target}: not a class of vae_lab, torch.nn"
    assert name in one_line(command(evaluate.main, f"run={run}", "num_samples=2", "trainer=cpu"))
    assert name in one_line(command(sample.main, f"run={run}", "what=reconstructions"))


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": 3},
        {"model": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 4}},
        {"model": {"_target_": "torch.nn.Identity", "_partial_": True}},
        {"model": {"_target_": "vae_lab.models.VAE", "_partial_": True, "_args_": [1]}},
        {"model": {"_target_": "vae_lab.models.VAE", "_partial_": True}},
        {"spec": None},
        {"spec": {"shape": [1, 28, 28]}},
        {"spec": {"shape": "wide", "num_classes": "many", "support": None}},
        {"spec": {"shape": [10**10, 10**10], "num_classes": 0, "support": "binary"}},
        {"spec": {"shape": [-1], "num_classes": -1, "support": "binary"}},
    ],
    ids=str,
)
def test_what_is_no_model_is_named_in_one_line(
    run: Path, openings: Callable[[], Iterator[str]], change: dict[str, Any]
) -> None:
    edit(run, lambda config: config.update(change))
    for line in openings():
        assert "\n" not in line
        assert "config.yaml" in line or "_target_" in line or "weights of another model" in line


@pytest.mark.parametrize("size", [10**7, 10**12, 2**63, 10**30, -1])
def test_sizes_are_compared_before_any_memory_is_taken(
    run: Path, openings: Callable[[], Iterator[str]], size: int
) -> None:
    edit(run, lambda config: config["model"].update(latent_dim=size))
    for line in openings():
        assert "weights of another model" in line or "config.yaml" in line


def test_interpolations_of_a_strangers_config_stay_text(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "password")
    node = {"_target_": "vae_lab.data.ArrayFiles", "root": "${oc.env:SECRET}"}
    assert build(node).root == "${oc.env:SECRET}"


UNREADABLE: dict[str, str] = {
    "a call": "model: !!python/object/apply:os.system ['touch MARKER']\ndata: {}\n",
    "a module": "model: !!python/module:os\ndata: {}\n",
    "a name": "? !!python/name:os.system\n: 1\n",
    "an alias bomb": "a: &a [x,x]\n"
    + "".join(
        f"{b}: &{b} [*{a},*{a}]\n" for a, b in zip("abcdefghijklmnopqrstuv", "bcdefghijklmnopqrstuvw", strict=True)
    )
    + "model: *w\ndata: *w\n",
    "too deep": "model: " + "[" * 200_000,
    "no date": "model: 2020-13-45\ndata: {}\n",
    "too many digits": f"model: {'1' * 5000}\ndata: {{}}\n",
    "not text": "\udcff\udcfe",
    "no mapping": "- model\n- data\n",
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_configs_are_plain(
    run: Path, openings: Callable[[], Iterator[str]], command: Callable[..., Outcome], marker: Path, kind: str
) -> None:
    text = UNREADABLE[kind].replace("MARKER", str(marker))
    (run / "config.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    for line in [*openings(), one_line(command(vae_lab.train.main, f"resume={run}"))]:
        assert "config.yaml" in line
    outcome = command(report.main, str(run))
    assert (outcome.code, outcome.error_lines) == (0, []) or outcome.code == 1
    assert "config.yaml" in outcome.out + outcome.err


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "evaluation.json", "checkpoints/best.ckpt"])
def test_pipes_and_endless_files_do_not_hang(run: Path, command: Callable[..., Outcome], name: str) -> None:
    for make in (os.mkfifo, lambda path: os.symlink("/dev/zero", path), os.mkdir):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        make(path)
        command(report.main, str(run))
        outcome = command(evaluate.main, f"run={run}", "num_samples=2", "trainer=cpu", "elbo_samples=1")
        assert outcome.code == 1 or name != "config.yaml"
        assert "Traceback" not in outcome.err
    os.rmdir(path)


# What resume=FOLDER takes over from the run's record

RECORDS = [
    ["+callbacks.x._target_=os.system", "+callbacks.x.command='touch MARKER'"],
    ["+callbacks.x={_target_:os.system,command:'touch MARKER'}"],
    ["+callbacks.x=[{a:{_target_:os.system}}]"],
    ["+callbacks.x='${oc.create:{_target_:os.system,command:\"touch MARKER\"}}'"],
    ["+callbacks.x=$\\{oc.create\\:\\{_target_\\:os.system\\}\\}"],
    ["+callbacks.x='${oc.decode:\"{_target_: os.system, command: touch MARKER}\"}'"],
    ["name=${oc.env:HOME}"],
    ["callbacks='../../../../../../../../../..FOLDER/evil'"],
    ["callbacks=[default,'../evil']"],
    ["callbacks=${name}/evil"],
    ["model@hydra.callbacks.x=vae"],
    ["+hydra.callbacks.x._target_=os.system"],
    ["++hydra.callbacks.x={_target_:os.system,command:'touch MARKER'}"],
    ["hydra.searchpath=['FOLDER']", "callbacks=evil"],
    ["hydra/launcher=evil"],
    ["hydra={}"],
    ["--config-dir=FOLDER", "callbacks=evil"],
    ["-m", "latent_dim=1,2"],
    ["latent_dim=1,2"],
    ["latent_dim=choice(1,2)"],
    ["model._target_=vae_lab.files.write_text"],
    ["data.images._partial_=false"],
    ["model._args_=[1]"],
    ["callbacks.checkpoint.dirpath=FOLDER"],
    ["+callbacks.checkpoint={filename:x}"],
    ["logger.name='../../x'"],
    ["trainer.default_root_dir=x"],
    ["run_dir=."],
    [17],
    [None],
    [["latent_dim=2"]],
    [{"latent_dim": 2}],
    ["latent_dim"],
    ["("],
    ["a=" + "[" * 5000],
]


@pytest.mark.parametrize("words", RECORDS, ids=lambda words: str(words)[:60])
def test_a_record_of_the_command_line_only_sets_values(
    run: Path, train: Callable[..., Outcome], tmp_path: Path, marker: Path, words: list[Any]
) -> None:
    evil = tmp_path / "evil.yaml"
    evil.write_text(f"x:\n  _target_: os.system\n  command: touch {marker}\n")
    spoiled = [
        word.replace("MARKER", str(marker)).replace("FOLDER", str(tmp_path)) if isinstance(word, str) else word
        for word in words
    ]
    edit(run, lambda config: config["overrides"].extend(spoiled))
    before = sorted(tmp_path.rglob("*"))
    line = one_line(train(f"resume={run}", "resume_changed=true", "trainer.max_epochs=2"))
    assert "its record of the command line holds" in line
    assert "type it yourself" in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_what_the_user_types_replaces_what_a_record_may_not_say(run: Path, train: Callable[..., Outcome]) -> None:
    word = "+callbacks.timer={_target_:pytorch_lightning.callbacks.Timer}"
    edit(run, lambda config: config["overrides"].append(word))
    assert "names something to be called" in one_line(train(f"resume={run}", "resume_changed=true"))
    outcome = train(f"resume={run}", word, "resume_changed=true")
    assert outcome.code == 0, outcome.err


def test_a_strangers_sweep_executes_nothing(run: Path, train: Callable[..., Outcome], marker: Path) -> None:
    sweep = run.parent / "sweep"
    job = Path(shutil.copytree(run, sweep / "job"))
    (job / "metrics.json").unlink()
    (sweep / "multirun.yaml").write_text(f"hydra: !!python/object/apply:os.system ['touch {marker}']\n")
    PICKLES["weights"](Bomb(marker), job / "checkpoints" / "last.ckpt")
    words = [word.replace("=false", "=False") for word in WORDS]  # as Hydra's sweeper writes it
    edit(job, lambda config: config.update(overrides=words, evil={"_target_": "os.system", "command": "true"}))
    resumed = ("-m", *WORDS, f"sweep.resume={sweep}", "hydra.sweep.subdir=job", "resume_changed=true")
    assert f"{sweep / 'multirun.yaml'}: " in one_line(train(*resumed))
    (sweep / "multirun.yaml").write_text("hydra: {job: {config: {override_dirname: {exclude_keys: [search]}}}}\n")
    outcome = train(*resumed)
    assert "truncated, corrupt or no checkpoint of vae_lab" in one_line(outcome)


def test_a_curve_that_is_a_link_is_not_cut_off(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("not the stranger's")
    link = run / "events.out.tfevents.1"
    link.symlink_to(mine)
    curves.rewind(run, {link.name: 3})
    assert mine.read_text() == "not the stranger's"
    assert not link.is_symlink()
