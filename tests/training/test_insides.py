"""Every inside of Lightning that is used, by name: a version that moves one fails here, not during a run."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from functools import cache, reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loops.fetchers import _DataFetcherWrapper, _DataLoaderIterDataFetcher
from pytorch_lightning.strategies import DDPStrategy

from tests.conftest import FAST
from vae_lab.training import lightning_loop

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py"))
COUNTERS = ("ready", "started", "processed", "completed")
OF_LOOP = "fit_loop.epoch_loop"

INSIDES: dict[str, list[str]] = {
    "trainer": [
        "fit_loop.setup_data",
        *(f"fit_loop.epoch_progress.{sum}.{counter}" for sum in ("current", "total") for counter in COUNTERS),
        *(f"{OF_LOOP}.batch_progress.{sum}.{counter}" for sum in ("current", "total") for counter in COUNTERS),
        f"{OF_LOOP}.batch_progress.increment_by",
        f"{OF_LOOP}.manual_optimization.optim_step_progress.increment_ready",
        f"{OF_LOOP}.manual_optimization.optim_step_progress.increment_completed",
        f"{OF_LOOP}.manual_optimization.optim_step_progress.total.ready",
        f"{OF_LOOP}.manual_optimization.optim_step_progress.total.completed",
        f"{OF_LOOP}._batches_that_stepped",
    ],
    "dataloader_iter": ["done", "fetched", "data_fetcher._batch"],
    "LightningModule": ["_on_before_batch_transfer"],
    "ModelCheckpoint": ["_every_n_train_steps", "_save_on_train_epoch_end"],
    "EarlyStopping": ["_check_on_train_epoch_end"],
}
"""Attributes of Lightning's objects that `vae_lab.training.lightning_loop` reads, calls or sets."""

LOOPS = {"fit_loop", "epoch_loop", "epoch_progress", "batch_progress", "optim_step_progress", "data_fetcher"}
"""Names of insides that do not begin with an underscore."""


def owners() -> dict[str, Any]:
    return {
        "trainer": Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False),
        "dataloader_iter": _DataFetcherWrapper(_DataLoaderIterDataFetcher()),
        "LightningModule": LightningModule(),
        "ModelCheckpoint": ModelCheckpoint(),
        "EarlyStopping": EarlyStopping("val/elbo"),
    }


@pytest.mark.filterwarnings("ignore")
def test_every_inside_is_where_it_was() -> None:
    found = owners()
    missing = []
    for owner, paths in INSIDES.items():
        for path in paths:
            try:
                reduce(getattr, path.split("."), found[owner])
            except AttributeError:
                missing.append(f"{owner}.{path}")
    assert not missing


@pytest.mark.filterwarnings("ignore")
def test_lightning_goes_by_the_counters_that_are_set() -> None:
    trainer = owners()["trainer"]
    trainer.strategy.connect(module := LightningModule())
    module.automatic_optimization = False
    progress = {"epoch": 3, "batches": 40, "step": 20, "logged_step": 21}
    lightning_loop.restore_position(trainer, progress)
    assert trainer.current_epoch == 3
    assert trainer.global_step == 20
    assert trainer.fit_loop.epoch_loop.total_batch_idx == 39
    assert lightning_loop.position(trainer) == progress | {"batch": 0}
    lightning_loop.count_batches(trainer, 5)
    assert trainer.fit_loop.epoch_loop.batch_idx == 4
    assert trainer.fit_loop.epoch_loop.total_batch_idx == 44


@pytest.mark.filterwarnings("ignore")
def test_callbacks_go_by_the_switches_that_are_set() -> None:
    for make in (EarlyStopping, ModelCheckpoint):
        callback = make(monitor="val/elbo")
        before = {key: value for key, value in vars(callback).items() if key.endswith("_on_train_epoch_end")}
        lightning_loop.skip_after_epoch(callback)
        after = {key: vars(callback)[key] for key in before}
        assert list(before.values()) == [None]
        assert list(after.values()) == [False]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("method", "expected"), [("popen", False), ("spawn", True), ("fork", True)])
def test_processes_that_are_forked_or_spawned_are_recognised(method: Any, expected: bool) -> None:
    strategy = DDPStrategy(start_method=method, process_group_backend="gloo")
    trainer = Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False, enable_progress_bar=False)
    assert lightning_loop.starts_processes(trainer) == expected


def test_the_list_of_insides_is_that_of_the_file() -> None:
    """Each name of the table is written in the docstring, and used below it; each private name used is in the table."""
    source = Path(lightning_loop.__file__).read_text()
    docstring, code = ast.get_docstring(ast.parse(source)) or "", source.partition("from __future__")[2]
    names = {path.rpartition(".")[2] for paths in INSIDES.values() for path in paths} - set(COUNTERS)
    named = {part for paths in INSIDES.values() for path in paths for part in path.split(".")}
    assert {name for name in names if name not in docstring and not name.startswith("increment")} == set()
    assert {name for name in names if f".{name}" not in code} == set()
    assert all(name in docstring for name in ("dataloader_iter", "_MultiProcessingLauncher", *LOOPS))
    assert set(_foreign(Path(lightning_loop.__file__))) <= named | {"_MultiProcessingLauncher"}


def test_no_other_file_uses_an_inside_of_lightning() -> None:
    found = {str(path.relative_to(ROOT)): sorted(_foreign(path)) for path in SOURCE if path.name != "lightning_loop.py"}
    assert {file: names for file, names in found.items() if names} == {}


def _foreign(path: Path) -> Iterator[str]:
    """Insides of Lightning that a file uses: imports of private names, attributes, names given to getattr."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("pytorch_lightning", "lightning")):
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))
        elif isinstance(node, ast.Attribute) and node.attr in private_names() | LOOPS:
            if not (_is_own(node) and node.attr in own_names()):
                yield node.attr
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            yield from (ast.literal_eval(argument) for argument in node.args if _is_inside(argument))


def _is_inside(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant) and argument.value in private_names() | LOOPS


@cache
def own_names() -> frozenset[str]:
    """Methods of the lab, and what it sets on ``self``."""
    nodes = [node for path in SOURCE for node in ast.walk(ast.parse(path.read_text()))]
    methods = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return frozenset(methods | {n.attr for n in nodes if isinstance(n, ast.Attribute) and _is_own(n, ast.Store)})


def _is_own(node: ast.Attribute, context: type[ast.expr_context] = ast.expr_context) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") and isinstance(node.ctx, context)


@cache
def private_names() -> frozenset[str]:
    """Every name with one leading underscore that Lightning defines."""
    names: set[str] = set()
    for package in ("pytorch_lightning", "lightning_fabric"):
        (folder,) = find_spec(package).submodule_search_locations  # type: ignore[union-attr, misc]
        for path in Path(folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    names.add(node.name)
                elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    names.add(node.attr)
    return frozenset(name for name in names if name.startswith("_") and not name.startswith("__"))


def lightning() -> Requirement:
    """Returns the range of Lightning's versions in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (found,) = [line for line in project["dependencies"] if line.startswith("pytorch-lightning")]
    return Requirement(found)


def lowest() -> str:
    (version,) = [bound.version for bound in lightning().specifier if bound.operator == ">="]
    return f"pytorch-lightning=={version}"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["lowest", "newest"])
def test_it_trains_with_the_lowest_and_the_newest_lightning(version: str, tmp_path: Path) -> None:
    # An environment that borrows all other packages from this one, as in tests/test_wheel.py.
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    wanted = lowest() if version == "lowest" else str(lightning())
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), wanted)
    installed = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    assert installed.returncode == 0, f"{wanted} cannot be installed: {installed.stderr}"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    python = (str(environment / "bin" / "python"), "-m")
    paths = {"PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT), str(ROOT / "tests")))}
    run = {"cwd": tmp_path, "env": os.environ | paths, "capture_output": True, "text": True, "timeout": 300}
    which = subprocess.run(
        (*python[:1], "-c", "import pytorch_lightning as pl; print(pl.__file__)"), check=True, **run
    ).stdout
    assert str(site) in which
    tests = [str(Path(__file__).with_name(name)) for name in ("test_insides.py", "test_stepping.py")]
    checked = subprocess.run((*python, "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *tests), check=False, **run)
    assert checked.returncode == 0, checked.stdout
    trained = subprocess.run((*python, "vae_lab.train", *FAST, "average=0.9"), check=False, **run)
    assert trained.returncode == 0, trained.stderr
