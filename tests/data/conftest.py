"""A folder of data that is cut off from the world."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision.datasets.utils

from vae_lab.data import files


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.utils.urllib.request, "urlopen", fail)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: None) -> Path:
    """An empty folder of data, with no network and no other folder to find data in."""
    monkeypatch.setattr(files, "_CHECKOUT", tmp_path / "a" / "b")
    monkeypatch.setattr("vae_lab.data.FashionMnist.elsewhere", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "data"
