"""The wheel carries its configs and its data, and runs from a folder that knows nothing of the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import FAST

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_carries_all_modules_data_and_configs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    source = [path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    modules = {path.relative_to(ROOT / "src").as_posix() for path in source}
    configs = {f"vae_lab/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert modules
    assert configs
    assert names >= modules | configs, sorted((modules | configs) - names)


@pytest.mark.slow
def test_the_wheel_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    # A fresh environment that borrows the installed dependencies: a path line in a .pth file adds them without the
    # editable install among them, whose own .pth is not read from there.
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    subprocess.run(install, check=True, timeout=300)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    python = environment / "bin" / "python"
    where = subprocess.run(
        (python, "-c", "import vae_lab; print(vae_lab.__file__)"), capture_output=True, text=True, check=True
    )
    assert str(site) in where.stdout
    done = subprocess.run(
        (python, "-m", "vae_lab.train", *FAST, "model=cvae"),
        cwd=elsewhere, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(elsewhere.glob("outputs/cvae-mnist/*/metrics.json"))
