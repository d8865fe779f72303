"""The site in a headless Chromium: no foreign request, no error, and nothing wider than a telephone."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chromium import MARKS, chromium
from website.pages import ROOT, write_pages

pytest.importorskip("math_core")
pytestmark = MARKS
SHOWN = (
    "index.html",
    "docs/theory.html",
    "docs/api/core.html",
    "docs/gallery.html",
    "docs/tutorials/first_vae.html",
    "src/vae_lab/core/terms.py.html",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Builds the site strictly, and serves it: its address."""
    folder = tmp_path_factory.mktemp("site")
    write_pages(ROOT, folder / "pages")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"docs_dir": str(folder / "pages"), "site_dir": str(folder / "site")}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(config))
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(folder / "mkdocs.yml")]
    subprocess.run(words, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def requests(driver: Any) -> list[str]:
    """Returns the addresses that the browser has asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_ask_no_foreign_host(site: str, width: int) -> None:
    with chromium() as driver:
        sizes = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
        for page in SHOWN:
            driver.get(site + page)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width, page
            asked = requests(driver)
            assert site + page in asked
            assert not [url for url in asked if not url.startswith((site, "data:", "blob:"))], page
        assert driver.get_log("browser") == []
