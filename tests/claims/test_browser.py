"""Pages in a real browser: they load without a word, ask for nothing, fit the screen, and all is drawn.

Left out where there is no Chromium with its driver.
"""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from hlsim import Simulation, experiment, report
from tests.report.figures.test_sweep import dataset
from tests.report.test_page import labelled
from tests.support import experiments

BROWSER, DRIVER = shutil.which("chromium") or "", shutil.which("chromedriver") or ""
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
WIDTHS = {"desk": 1280, "phone": 390}
PAGES = ("run", "comparison", "sweep", "labels")
PATIENCE = 60.0  # seconds
# How many figures there are, and which of them hold next to no colours; an empty one has its frame.
LOOK = """
const roots = Bokeh.documents.flatMap((drawn) => drawn.roots())
const blank = roots.filter((root) => {
  const view = Bokeh.index.get_by_id ? Bokeh.index.get_by_id(root.id) : Bokeh.index[root.id]
  const canvas = view.canvas_view.primary.canvas
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
  return new Set(new Uint32Array(image.data.buffer)).size < 50
})
return [roots.length, blank.map((root) => root.id)]
"""
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver, which are not on this machine"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, int]]:
    """Every kind of page, and how many figures it has."""
    folder = tmp_path_factory.mktemp("pages")
    tiny = experiments.write(folder / "tiny")
    experiment.load(tiny).run(folder / "one.h5").close()
    experiment.load(tiny, ["simulation.seed=1"]).run(folder / "two.h5").close()
    Simulation(labelled()).run(until=5, record=folder / "labels.h5", every=1).close()
    made = {
        "run": report.of_traces([folder / "one.h5"]),
        "comparison": report.of_traces([folder / "one.h5", folder / "two.h5"]),
        "sweep": report.of_sweep(dataset(failed=(1,)), "delays"),
        "labels": report.of_traces([folder / "labels.h5"]),
    }
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page.html(), encoding="utf-8")
    return {
        name: (folder / f"{name}.html", sum(len(chart.panels) for chart in page.charts.values()))
        for name, page in made.items()
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(params=[(name, device) for name in PAGES for device in WIDTHS], ids="-".join)
def opened(
    request: pytest.FixtureRequest, browser: webdriver.Chrome, pages: dict[str, tuple[Path, int]]
) -> tuple[webdriver.Chrome, int, int]:
    """A page on a screen, drawn; how many figures it should have, and how wide the screen is."""
    name, device = request.param
    show(browser, pages[name][0], device)
    return browser, pages[name][1], WIDTHS[device]


def show(browser: webdriver.Chrome, path: Path, device: str) -> None:
    screen = {"width": WIDTHS[device], "height": 900, "deviceScaleFactor": 1, "mobile": device == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": device == "phone"})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())
    wait(browser, "return document.body.dataset.ready === 'yes'")


def wait(browser: webdriver.Chrome, script: str) -> None:
    end = time.monotonic() + PATIENCE
    while not browser.execute_script(script):
        assert time.monotonic() < end, script
        time.sleep(0.02)


def requests(browser: webdriver.Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"] for params in sent]


def test_a_page_is_whole(opened: tuple[webdriver.Chrome, int, int]) -> None:
    browser, figures, width = opened
    said = [entry for entry in browser.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]
    assert said == []
    asked = requests(browser)
    assert asked
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    # a phone would show a page that is too wide at a smaller scale: innerWidth grows with it
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    found, blank = browser.execute_script(LOOK)
    assert found == figures
    assert blank == []


def test_a_click_on_the_legend_hides_what_it_names(
    browser: webdriver.Chrome, pages: dict[str, tuple[Path, int]]
) -> None:
    show(browser, pages["run"][0], "desk")
    script = """
    const key = document.querySelector("#learning_curve button[data-label=train]")
    key.click()
    const shown = Bokeh.documents[0].roots().flatMap((plot) => plot.renderers)
    const lines = shown.filter((mark) => mark.name === "train")
    return [key.getAttribute("aria-pressed"), lines.map((mark) => mark.visible)]
    """
    pressed, visible = browser.execute_script(script)
    assert pressed == "false"
    assert len(visible) >= 2
    assert not any(visible)
    assert all(browser.execute_script(script)[1])


def test_zooming_one_panel_along_time_zooms_those_below(
    browser: webdriver.Chrome, pages: dict[str, tuple[Path, int]]
) -> None:
    show(browser, pages["run"][0], "desk")
    ends = browser.execute_script("""
    const ids = [...document.querySelectorAll("#neurons [data-root-id]")].map((place) => place.dataset.rootId)
    const plots = ids.map((id) => Bokeh.documents[0].get_model_by_id(id))
    plots[0].x_range.setv({start: 10, end: 20})
    return plots.map((plot) => [plot.x_range.start, plot.x_range.end])
    """)
    assert len(ends) == 3
    assert all(end == [10, 20] for end in ends)


@pytest.mark.parametrize(("device", "tool"), [("desk", True), ("phone", False)])
def test_a_swipe_over_a_figure_scrolls_a_phone(
    browser: webdriver.Chrome, pages: dict[str, tuple[Path, int]], device: str, tool: bool
) -> None:
    show(browser, pages["run"][0], device)
    active: list[Any] = browser.execute_script(
        "return Bokeh.documents[0].roots().map((plot) => plot.toolbar.active_drag !== null)"
    )
    assert set(active) == {tool}
