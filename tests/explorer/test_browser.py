"""The page in a headless Chromium: each control moves the picture, without an error and without a foreign request."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from tests.chromium import MARKS, chromium
from tests.conftest import FAST, trained_run
from vae_lab.explorer.server import address_of, explorer_of, make_explorer_server
from vae_lab.settings import ExploreSettings

selenium = pytest.importorskip("selenium")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = MARKS
RUNS = {
    "vae": ("model=vae", "latent_dim=4"),
    "cvae": ("model=cvae", "latent_dim=4"),
    "mhvae": ("model=mhvae", "model.latent_dims=[5,4,3]"),
    "ladder": ("model=ladder", "model.latent_dims=[5,4,3]"),
}
PATIENCE = 20.0
SLIDER = "#sliders .slider:first-child input"
RIGHT = [Keys.ARROW_RIGHT] * 20


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, words in RUNS.items():
        trained_run(folder / name, *FAST, *words, "logger=none")
    return folder


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with chromium() as found:
        yield found


class Page:
    """A page in the browser, and what it has asked for."""

    name = ""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        driver.get("about:blank")  # first: the page before asks a server that is gone for its status
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(address)
        self.wait(lambda: self.js("return document.querySelectorAll('#grids canvas').length > 0"))
        self.wait(lambda: self.js("return document.querySelectorAll('.slider output').length > 0"))
        self.settle()

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"still waiting; the page says: {self.find('#status').text}"
            time.sleep(0.02)

    def settle(self) -> None:
        """Waits until nothing is asked any more."""
        idle = "const e = window.explorer; return !e.samples.busy && [...e.panels.values()].every((p) => !p.busy)"
        self.wait(lambda: self.js(idle))
        time.sleep(0.1)
        self.wait(lambda: self.js(idle))

    def picture(self, selector: str = ".panel canvas") -> str:
        return self.js(f"return document.querySelector('{selector}').toDataURL()")

    def changes(self, act: Callable[[], Any], selector: str = ".panel canvas") -> None:
        """Does something that must change a picture."""
        before = self.picture(selector)
        act()
        self.wait(lambda: self.picture(selector) != before)
        self.settle()

    def press(self, selector: str, *keys: str) -> None:
        self.find(selector).send_keys(*keys)

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def hosts(self) -> set[str]:
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).hostname for url in urls if url.startswith("http")}


Open = Callable[..., "Page"]


@contextmanager
def served(driver: Any, runs: Path) -> Iterator[Open]:
    """Context manager with ``open_page("vae", "cvae")``, which serves runs and opens their page."""
    servers = []

    def opened(*names: str) -> Page:
        explorer, token = explorer_of([runs / name for name in names], ExploreSettings(num_examples=60))
        server = make_explorer_server(explorer, 0)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Page(driver, address_of(server, token))

    yield opened
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def open_page(driver: Any, runs: Path) -> Iterator[Open]:
    with served(driver, runs) as opened:
        yield opened


def test_two_runs_stand_side_by_side(open_page: Callable[..., Page]) -> None:
    page = open_page("vae", "cvae")
    assert len(page.all(".panel")) == 2
    second = ".panel:nth-child(2) canvas"
    before = page.picture(second)
    page.changes(page.all("#strip .thumb")[4].click)
    assert page.picture(second) != before
    page.changes(page.all(".panel .act")[1].click, "#map")
    first = page.picture()
    page.changes(lambda: page.press(SLIDER, *RIGHT), second)
    assert page.picture() == first, "only the run that is chosen moves"
    assert page.errors() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window_and_everything_has_a_name(open_page: Callable[..., Page], width: int) -> None:
    page = open_page("cvae", "ladder")
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.js("return document.documentElement.scrollWidth") <= width
        unnamed = """
        return [...document.querySelectorAll('input, select, button, canvas')].filter((e) =>
          e.offsetParent && !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()
          && !e.querySelector('[aria-label]')).map((e) => e.outerHTML)"""
        assert page.js(unnamed) == []
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_run_that_is_gone_is_said_in_one_line(open_page: Callable[..., Page], runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "vae", runs / "gone")
    page = open_page("gone")
    (runs / "gone").rename(runs / "moved")
    page.wait(lambda: "no such file or folder" in page.find("#status").text)  # nothing was touched
    (runs / "moved").rename(runs / "gone")
    page.wait(lambda: page.find("#status").text == "")
    shutil.rmtree(runs / "gone")
    page.press(SLIDER, *[Keys.ARROW_RIGHT] * 3)
    page.wait(lambda: "no such file or folder" in page.find("#status").text)


def test_a_newer_checkpoint_is_taken(open_page: Callable[..., Page], runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "vae", runs / "training")
    page = open_page("training")
    other = trained_run(tmp_path / "other", *FAST, *RUNS["vae"], "seed=1", "logger=none")
    shutil.copy(other / "checkpoints" / "best.ckpt", runs / "training" / "checkpoints" / "best.ckpt")
    grid, cost = page.picture("#grids canvas"), page.find(".measures").text
    page.wait(lambda: "a newer checkpoint is shown now" in page.find("#status").text)  # nothing was touched
    page.settle()
    page.wait(lambda: page.picture("#grids canvas") != grid)
    answer = page.js("return window.explorer.active.shown.original.elbo")
    assert page.find(".measures").text != cost
    assert f"ELBO {answer:.2f}" in page.find(".measures").text
    shown = page.picture()
    page.changes(page.all("#strip .thumb")[1].click)
    page.changes(page.all("#strip .thumb")[0].click)
    assert page.picture() == shown, "code and picture are those of the new weights"
    shutil.copy(runs / "vae" / "checkpoints" / "best.ckpt", runs / "training" / "checkpoints" / "best.ckpt")
    page.changes(lambda: page.press(SLIDER, Keys.ARROW_RIGHT))


def test_a_hidden_page_asks_nothing(open_page: Callable[..., Page]) -> None:
    page = open_page("vae")
    hidden = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true})"
    counted = "return performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/status')).length"
    page.js(hidden, True)
    before = page.js(counted)
    page.js("document.dispatchEvent(new Event('visibilitychange'))")
    time.sleep(3.5)
    assert page.js(counted) == before
    page.js(hidden, False)
    page.js("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait(lambda: page.js(counted) == before + 1)


@pytest.fixture(scope="module", params=RUNS)
def page(driver: Any, runs: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page of each run, which the tests below share; at the end it has met no error and asked no other host."""
    with served(driver, runs) as opened:
        found = opened(request.param)
        found.name = request.param
        yield found
        print(f"{found.name}: decode and draw {found.find('.panel').get_attribute('data-latency')} ms")
        assert found.errors() == []
        assert found.hosts() == {"127.0.0.1"}


def test_sliders_move_the_picture_and_undo_brings_it_back(page: Page) -> None:
    assert "token" not in page.js("return location.href")
    start = page.picture()
    page.changes(lambda: page.press(SLIDER, *RIGHT))
    moved = page.picture()
    for _ in RIGHT:
        page.find("#undo").click()
    page.wait(lambda: page.picture() == start)
    for _ in RIGHT:
        page.find("#redo").click()
    page.wait(lambda: page.picture() == moved)
    page.settle()
    page.changes(page.find("#to-mean").click)


def test_two_examples_and_the_path_between_them(page: Page) -> None:
    page.changes(page.all("#strip .thumb")[3].click)
    assert "ELBO" in page.find(".measures").text
    page.find("input[name=end][value=end]").click()
    page.all("#strip .thumb")[5].click()
    page.wait(lambda: len(page.all("#path .thumb")) == 9)
    page.changes(page.all("#path .thumb")[8].click)
    page.find("input[name=end][value=start]").click()


def test_the_map_is_clicked_dragged_and_moved_by_keys(page: Page) -> None:
    canvas = page.find("#map")
    page.js("arguments[0].scrollIntoView({block: 'center'})", canvas)

    def at(x: int, y: int) -> ActionChains:
        return ActionChains(page.driver).move_to_element_with_offset(canvas, x, y)

    page.changes(lambda: at(40, 30).click().perform())
    page.changes(lambda: at(-60, -40).click_and_hold().move_by_offset(-30, 90).release().perform())
    page.wait(lambda: len(page.all("#path .thumb")) == 9)
    page.changes(lambda: at(-20, 35).key_down(Keys.SHIFT).click().key_up(Keys.SHIFT).perform())
    page.changes(lambda: canvas.send_keys(*[Keys.ARROW_LEFT] * 6))
    page.changes(lambda: page.js("const v = document.getElementById('view'); v.value = 'kl'; v.onchange()"), "#map")


def test_samples_follow_seed_and_temperature_and_can_be_taken(page: Page) -> None:
    page.changes(page.find("#new-seed").click, "#grids canvas")
    page.changes(lambda: page.press("#temperatures input", *[Keys.ARROW_LEFT] * 15), "#grids canvas")
    page.changes(page.all("#grids .thumb")[2].click)


def test_an_own_picture_is_encoded(page: Page, tmp_path: Path) -> None:
    drawing = np.full((50, 40), 255, np.uint8)
    drawing[10:40, 15:25] = 0
    Image.fromarray(drawing).save(tmp_path / "drawing.png")
    page.find("#inverted").click()
    page.changes(lambda: page.press("#own", str(tmp_path / "drawing.png")))
    assert "drawing.png is encoded" in page.find("#status").text
    assert len(page.all(".beside canvas")) == 2


def test_conditions_and_levels(page: Page) -> None:
    if page.name == "cvae":
        page.changes(lambda: page.press("#class", *[Keys.ARROW_DOWN] * 3))
    if page.name not in ("mhvae", "ladder"):
        return
    page.js("const s = document.getElementById('level'); s.value = 2; s.onchange()")
    page.settle()
    assert page.find("#follows").text.startswith("Levels 1 to 2 follow the prior's means.")
    assert len(page.all("#sliders .slider")) == 3
    page.changes(lambda: page.press(SLIDER, *RIGHT))


def test_the_command_is_shown_and_both_themes_draw(page: Page) -> None:
    page.find(".panel .copy").click()
    page.wait(lambda: page.find("#command-text").get_attribute("value"))
    assert page.find("#command-text").get_attribute("value").startswith("python -m vae_lab.sample run=")
    page.find("#command button").click()
    paper = "return getComputedStyle(document.body).backgroundColor"
    before = page.js(paper)
    page.find("#theme").click()
    assert page.js(paper) != before
