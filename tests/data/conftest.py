"""A folder of data that is cut off from the world, and a machine that has little to spare."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision.datasets.utils

from vae_lab.data.sets import published_files

LITTLE = 2 * 10**9
"""Bytes; a corrupt header easily announces terabytes."""


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.utils.urllib.request, "urlopen", fail)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: None) -> Path:
    """An empty folder of data, with no network and no other folder to find data in."""
    monkeypatch.setattr(published_files, "_CHECKOUT", tmp_path / "a" / "b")
    monkeypatch.setattr("vae_lab.data.FashionMnist.elsewhere", {str(tmp_path / "debian"): "dataset-fashion-mnist"})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "data"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """An allocation beyond ``LITTLE`` fails at once."""
    if sys.platform != "linux":
        yield
        return
    import resource

    present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (present + LITTLE, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small caches need not outlive a loss of power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
