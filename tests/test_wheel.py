"""The wheel carries its configs and its data, and runs from a folder that knows nothing of the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from conftest import FAST

ROOT = Path(__file__).parents[1]


def test_the_wheel_runs_elsewhere(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT))
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")

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
