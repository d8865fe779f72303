"""The rules that keep the lab in layers: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import vae_lab

ROOT = Path(vae_lab.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
COMMANDS = {
    *("train", "evaluate", "sample", "encode", "explore", "export", "reproduce", "report"),
    *("fitting", "cli", "sweeps"),
}

# networks -> distributions -> core -> models; objectives read the core's terms and the distributions in them.
MATHS: dict[str, set[str]] = {
    "plain_values": set(),
    "threads": set(),
    "types": {"plain_values"},
    "noise": {"threads", "types"},
    "networks": {"types", "noise"},
    "distributions": {"types", "noise", "networks"},
    "core": {"types", "noise", "distributions"},
    "models": {"types", "noise", "networks", "distributions", "core"},
    "objectives": {"types", "noise", "networks", "distributions", "core"},
}
FRAMEWORKS = {"hydra", "omegaconf", "pytorch_lightning", "lightning", "torchvision", "torchmetrics", "tensorboard"}
TORCH_ONLY = {"torch", "numpy", "vae_lab"} | set(sys.stdlib_module_names)


def part(path: Path) -> str:
    """The package, or the top-level module, that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports, in functions and under TYPE_CHECKING too, as dotted absolute names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            submodules = {f"vae_lab.{alias.name}" for alias in node.names}
            found |= submodules if node.module == "vae_lab" else {node.module}
    return found


def lab_imports(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("vae_lab.")} - {"__version__"}


def top_imports(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def offenders(found: dict[str, set[str]]) -> dict[str, list[str]]:
    """The files that break a rule, each with what it may not import: a failing test shows them all."""
    return {file: sorted(names) for file, names in found.items() if names}


def maths_files() -> list[Path]:
    return [path for path in FILES if part(path) in MATHS]


def test_the_rules_are_about_something() -> None:
    """Were a package renamed or the import finder blind, every rule below would hold of nothing."""
    assert {part(path) for path in FILES} >= set(MATHS) | {"data"}
    assert lab_imports(ROOT / "models" / "vae.py") >= {"core", "distributions", "networks", "types"}
    assert lab_imports(ROOT / "distributions" / "gaussian.py") >= {"noise", "distributions"}
    assert any("pytorch_lightning" in top_imports(path) for path in FILES)


def test_imports_point_one_way() -> None:
    wrong = {name(path): lab_imports(path) - MATHS[part(path)] - {part(path)} for path in maths_files()}
    assert not offenders(wrong)


def test_the_maths_needs_torch_alone() -> None:
    flow = ROOT / "distributions" / "flow.py"  # imports zuko, an extra, when a flow is built
    assert not offenders({name(path): top_imports(path) - TORCH_ONLY for path in maths_files() if path != flow})
    assert top_imports(flow) - TORCH_ONLY == {"zuko"}


def test_only_training_and_data_know_lightning() -> None:
    others = [path for path in FILES if part(path) not in {"training", "data", "evaluation", "sweeps"}]
    assert not offenders({name(path): top_imports(path) & {"pytorch_lightning", "lightning"} for path in others})


def test_only_the_commands_know_hydra() -> None:
    others = [path for path in FILES if part(path) not in COMMANDS]
    assert not offenders({name(path): top_imports(path) & {"hydra", "omegaconf"} for path in others})


def test_nothing_imports_a_command() -> None:
    others = [path for path in FILES if part(path) not in {*COMMANDS, "__init__"}]
    assert not offenders({name(path): lab_imports(path) & COMMANDS for path in others})


def test_sweeps_import_cli_and_never_the_reverse() -> None:
    of_cli = [path for path in FILES if part(path) == "cli"]
    assert not offenders(
        {
            name(path): lab_imports(path) & {"sweeps", "train", "evaluate", "sample", "encode", "export", "reproduce"}
            for path in of_cli
        }
    )


def test_data_know_nothing_of_models_and_training() -> None:
    of_data = [path for path in FILES if part(path) == "data"]
    assert not offenders(
        {name(path): lab_imports(path) - {"data", "types", "noise", "plain_values"} for path in of_data}
    )


def test_no_file_is_long() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in FILES}
    assert not {file: length for file, length in lengths.items() if length > 320}


def test_the_maths_loads_no_framework() -> None:
    packages = ", ".join(f"vae_lab.{package}" for package in MATHS)
    code = f"import sys, {packages}; print(*{{name.split('.')[0] for name in sys.modules}} & {FRAMEWORKS!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
