"""python -m benchmarks.pack FOLDER: what `python -m benchmarks.gpu` needs on a bare machine with PyTorch and Lightning.

Such a machine has no network. The folder gets wheels of the packages that it lacks, built or downloaded by pip for its
Python, and Fashion-MNIST (MNIST is in the package). It ends with the command to run there, in a copy of this checkout
that has the folder.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from vae_lab.data import FashionMnist
from vae_lab.data.sets.published_files import existing
from vae_lab.data.sets.torchvision_sets import datasets
from vae_lab.runs.provenance import git_state

ROOT = Path(__file__).parents[1]
LACKING = ("hydra-core", "omegaconf", "pydantic")
"""Dependencies of pyproject.toml that a machine for PyTorch and Lightning does not have; pip adds what they need."""
SOURCES = ("antlr4-python3-runtime==4.9.*",)
"""Needed by omegaconf, and published as source only: built here, without anything compiled."""
ALONE = ("pythae==0.1.2",)
"""Without what they need, which is there or carried already."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
LARGEST = 60 * 2**20
"""Bytes of the folder and of the checkout together."""


def pip(*words: str) -> None:
    """Runs pip quietly.

    Raises:
        SystemExit: with pip's last line, if it fails.
    """
    quiet = ("--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, *quiet], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        sys.exit(f"error: pip {' '.join(words)}: {''.join(done.stderr.strip().splitlines()[-1:])}")


def requirements() -> list[str]:
    """The lines of pyproject.toml for what is lacking."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [line for line in project["dependencies"] if re.match(r"[\w-]+", line)[0] in LACKING]


def pack_wheels(folder: Path, python: str) -> None:
    """Fills the folder with wheels for Linux on x86-64 and that version of Python."""
    for_machine = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    for_machine += [f"--platform={name}" for name in PLATFORMS]
    pip("wheel", "--no-deps", f"--wheel-dir={folder}", *SOURCES)
    pip("download", f"--find-links={folder}", f"--dest={folder}", *for_machine, *requirements())
    pip("download", "--no-deps", f"--dest={folder}", *for_machine, *ALONE)


def pack_data(folder: Path, root: str) -> None:
    """Copies the four files of Fashion-MNIST, gzipped, to where data.root=folder finds them."""
    source = FashionMnist(root=root).locate()
    target = folder / "FashionMNIST" / "raw"
    target.mkdir(parents=True)
    for name, _ in datasets.FashionMNIST.resources:
        found = existing(source / Path(name).stem)
        content = found.read_bytes()
        (target / name).write_bytes(content if found.suffix == ".gz" else gzip.compress(content))


def size(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file() and not path.is_symlink())


def checkout() -> list[Path]:
    """The files of the checkout that git knows or would add."""
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    done = subprocess.run(listed, capture_output=True, text=True, check=True, cwd=ROOT)
    return [ROOT / name for name in done.stdout.split("\0") if name]


def command(folder: str) -> str:
    """Returns the command for the machine, in the copy of the checkout; $OUT is the folder whose files come back."""
    git = git_state() or {"commit": "unknown", "changed": True}
    commit = git["commit"][:12] + ("-changed" if git["changed"] else "")
    site = f"{folder}/site"
    return (
        f"python3 -m pip install -q --no-index --no-deps --upgrade --target {site} {folder}/wheels/*.whl && "
        f"PYTHONPATH=$PWD/src:$PWD/{site} VAE_LAB_DATA=$PWD/{folder}/data "
        f"python3 -m benchmarks.gpu --limit 540 --commit {commit} --out ${{OUT:-.}}/gpu.json"
    )


def pack(folder: Path, python: str, root: str) -> int:
    """Makes the folder anew; returns its bytes.

    Raises:
        SystemExit: for a folder that is not one of ours, or is too large together with the checkout.
    """
    mark = folder / "packed"
    if folder.exists():
        if not mark.exists():
            sys.exit(f"error: {folder}: exists and was not made by benchmarks.pack; choose another folder")
        shutil.rmtree(folder)
    (folder / "wheels").mkdir(parents=True)
    mark.touch()
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    pack_wheels((folder / "wheels").resolve(), python)
    pack_data(folder / "data", root)
    packed, whole = size(list(folder.rglob("*"))), size(checkout())
    if packed + whole > LARGEST:
        sys.exit(f"error: {folder}: {packed / 2**20:.1f} MiB and {whole / 2**20:.1f} MiB of the checkout are too much")
    return packed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pack", description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder in this checkout; git ignores it")
    parser.add_argument("--python", default="3.12", help="version of Python there (%(default)s)")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if not folder.is_relative_to(ROOT.resolve()) or folder == ROOT.resolve():
        sys.exit(f"error: {options.folder}: must lie in {ROOT}, so that it travels with the checkout")
    packed = pack(folder, options.python, os.environ.get("VAE_LAB_DATA", "data"))
    for wheel in sorted(folder.glob("wheels/*")):
        print(wheel.name)
    print(f"\n{packed / 2**20:.1f} MiB in {folder}; on the machine, in a copy of {ROOT} with it:\n")
    print(command(folder.relative_to(ROOT.resolve()).as_posix()))


if __name__ == "__main__":
    main()
