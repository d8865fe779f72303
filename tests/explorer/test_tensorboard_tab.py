"""The tab of TensorBoard: TensorBoard's own application serves it, lists the runs, and loads no torch for that."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tomllib
import warnings
from argparse import Namespace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.plugins import base_plugin
from werkzeug.test import Client

from tests.conftest import FAST, trained_run
from vae_lab.explorer.tensorboard_plugin import ExplorePlugin

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of a parser of HTML in TensorBoard
    from tensorboard.backend import application

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "/data/plugin/vae_lab_explore"
LOCAL = {"Host": "localhost:6006"}
TAB = {**LOCAL, "X-Explore-Token": "tab"}


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    trained_run(folder / "cvae-mnist" / "one", *FAST, "model=cvae", "latent_dim=3", "logger=none")
    shutil.copytree(folder / "cvae-mnist" / "one", folder / "cvae-mnist" / "two")
    (folder / "unfinished").mkdir()
    shutil.copy(folder / "cvae-mnist" / "one" / "config.yaml", folder / "unfinished")
    return folder


def context(logdir: Path, **flags: Any) -> base_plugin.TBContext:
    usual = {"logdir": str(logdir), "logdir_spec": "", "host": None, "bind_all": False, "path_prefix": ""}
    return base_plugin.TBContext(logdir=str(logdir), flags=Namespace(**{**usual, **flags}))


def tensorboard(logdir: Path, **flags: Any) -> Client:
    """A client of TensorBoard with the tab alone."""
    return Client(application.TensorBoardWSGI([ExplorePlugin(context(logdir, **flags))]))


def test_the_entry_point_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, value),) = project["entry-points"]["tensorboard_plugins"].items()
    assert EntryPoint(name, value, "tensorboard_plugins").load() is ExplorePlugin


def test_tensorboard_lists_and_frames_the_tab(logdir: Path) -> None:
    client = tensorboard(logdir)
    found = client.get("/data/plugins_listing", headers=LOCAL).get_json()["vae_lab_explore"]
    assert found["enabled"]
    assert found["tab_name"] == "Explore"
    assert found["loading_mechanism"] == {"type": "IFRAME", "module_path": f"{PREFIX}/tab.js"}
    assert "render" in client.get(f"{PREFIX}/tab.js", headers=LOCAL).text
    page = client.get(f"{PREFIX}/page.html", headers=LOCAL)
    assert page.status_code == 200
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    for name in ("main.js", "page.css", "icon.svg"):
        assert client.get(f"{PREFIX}/{name}", headers=LOCAL).status_code == 200


def test_the_runs_with_weights_are_listed_and_explored(logdir: Path) -> None:
    client = tensorboard(logdir)
    listed = client.post(f"{PREFIX}/api/runs", json={}, headers=TAB).get_json()
    assert listed == {"runs": ["cvae-mnist/one", "cvae-mnist/two"], "first": [], "uploads": True}
    info = client.post(f"{PREFIX}/api/open", json={"run": "cvae-mnist/two"}, headers=TAB).get_json()
    answer = client.post(
        f"{PREFIX}/api/decode", json={"run": "cvae-mnist/two", "z": info["start"], "y": info["y"]}, headers=TAB
    )
    assert answer.get_json()["picture"]["kind"] == "pixels"
    name = "cvae-mnist/two"
    watched = client.post(f"{PREFIX}/api/status", json={"runs": [name]}, headers=TAB).get_json()
    assert watched == {"runs": {name: {"stamp": info["stamp"]}}}
    outside = client.post(f"{PREFIX}/api/open", json={"run": "../outputs/cvae-mnist/one"}, headers=TAB)
    assert outside.status_code == 410


def test_pages_of_other_sites_are_refused(logdir: Path) -> None:
    client = tensorboard(logdir)
    for headers in (LOCAL, {**TAB, "Host": "evil.example"}, {**TAB, "Origin": "http://evil.example"}):
        assert client.post(f"{PREFIX}/api/runs", json={}, headers=headers).status_code in (401, 403)


@pytest.mark.parametrize(
    ("flags", "taken"),
    [({}, True), ({"host": "localhost"}, True), ({"bind_all": True}, False), ({"host": "0.0.0.0"}, False)],
)
def test_pictures_are_taken_by_a_local_tensorboard_alone(logdir: Path, flags: dict[str, Any], taken: bool) -> None:
    client = tensorboard(logdir, **flags)
    file = io.BytesIO()
    Image.new("L", (28, 28)).save(file, "PNG")
    headers = TAB if taken else {**TAB, "Host": "box.lan:6006", "Origin": "http://box.lan:6006"}
    response = client.post(
        f"{PREFIX}/api/picture", query_string={"run": "cvae-mnist/one", "y": "1"}, data=file.getvalue(),
        content_type="image/png", headers=headers,
    )  # fmt: skip
    assert response.status_code == (200 if taken else 403)
    assert client.post(f"{PREFIX}/api/runs", json={}, headers=headers).get_json()["uploads"] == taken


def test_a_folder_without_runs_has_no_tab(tmp_path: Path) -> None:
    assert not ExplorePlugin(context(tmp_path)).is_active()
    assert not ExplorePlugin(context(tmp_path / "missing")).is_active()


def test_named_folders(logdir: Path) -> None:
    plugin = ExplorePlugin(context(logdir, logdir_spec=f"mine:{logdir},{logdir / 'cvae-mnist'}"))
    listed = Client(application.TensorBoardWSGI([plugin])).post(f"{PREFIX}/api/runs", json={}, headers=TAB)
    assert listed.get_json()["runs"] == ["mine/cvae-mnist/one", "mine/cvae-mnist/two", "one", "two"]


def test_the_tab_loads_no_torch_and_writes_nothing_before_a_run_is_opened(logdir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in logdir.rglob("*")}
    code = (
        "import sys; from argparse import Namespace; from tensorboard.plugins import base_plugin\n"
        "from vae_lab.explorer.tensorboard_plugin import ExplorePlugin\n"
        f"plugin = ExplorePlugin(base_plugin.TBContext(logdir={str(logdir)!r}, flags=Namespace()))\n"
        "assert plugin.is_active() and plugin.get_plugin_apps() and plugin.frontend_metadata()\n"
        "print([m for m in ('torch', 'hydra', 'matplotlib', 'pytorch_lightning') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    client = tensorboard(logdir)
    assert client.post(f"{PREFIX}/api/open", json={"run": "cvae-mnist/one"}, headers=TAB).status_code == 200
    assert {path: path.stat().st_mtime_ns for path in logdir.rglob("*")} == before
