"""The page in a browser without a network: it loads, draws and answers, on a desk and in a hand."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

import hsmm
from hsmm.plot.style import colour
from tasks.config.columns import QUARANTINE_COLUMNS, STATE_COLUMNS
from tasks.config.ops import OPS
from tasks.fitting.scaling import Scaling
from tasks.report.page.data import ChosenModel, PageData
from tasks.report.page.render import write_page

connect = pytest.importorskip("websockets.sync.client").connect

START = datetime(2024, 1, 1, tzinfo=UTC)
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found")


class Browser:
    """One tab of a headless Chromium that reaches no network, spoken to in its DevTools protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._last, self.events = socket, 0, []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._last:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, path: Path, width: int) -> None:
        """The page, drawn, in a window this wide."""
        self.events.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self.send("Page.navigate", url=path.as_uri())
        give_up = time.monotonic() + 60
        while not self.ask("document.documentElement?.dataset.drawn"):
            assert time.monotonic() < give_up, self.complaints()
            time.sleep(0.1)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def complaints(self) -> list[dict[str, Any]]:
        """Everything that the page said on its console, threw, or that the browser logged."""
        told = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening")
        return [event for event in self.events if event["method"] in told]

    def requests(self) -> list[str]:
        """What was asked for besides the page itself and what it holds."""
        urls = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in urls[1:] if not url.startswith(("data:", "blob:"))]

    def picture(self, path: Path) -> Path:
        """The whole page as a PNG file."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    profile = tmp_path_factory.mktemp("chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    offline = ["--proxy-server=http://127.0.0.1:9", "--disable-background-networking", "--disable-component-update"]
    place = [f"--user-data-dir={profile}", "--remote-debugging-port=0"]
    process = subprocess.Popen(
        [str(CHROMIUM), *options, *offline, *place, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with connect(_tab(profile), max_size=None, proxy=None) as socket:
            yield Browser(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def _tab(profile: Path) -> str:
    from urllib.request import ProxyHandler, build_opener

    port_file, give_up = profile / "DevToolsActivePort", time.monotonic() + 60
    while not port_file.exists() or len(port_file.read_text().splitlines()) < 2:
        assert time.monotonic() < give_up, "Chromium did not start"
        time.sleep(0.1)
    port = port_file.read_text().splitlines()[0]
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
        tabs = json.load(answer)
    return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
LONG = "mixture(components=3,family='student_t',covariance='full',min_covariance=1e-06,weights='free')"
NOTHING = {"log_likelihood": -1.0, "n_parameters": 3, "n_iter": 9, "converged": True}
N_ROWS = 400


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two series, three states and a model that follows the day of the week, its words hostile."""
    model = hsmm.HSMM.from_parameters(
        initial_prob=np.full(3, 1 / 3),
        transition_prob=np.array([[0.0, 0.5, 0.5], [0.9, 0.0, 0.1], [0.3, 0.7, 0.0]]),
        duration_prob=np.full((3, 10), 0.1),
        emission=hsmm.emissions.GLM.from_parameters(
            coef=np.zeros((3, 1)), intercept=np.arange(3.0), scale=np.ones(3), family="gaussian"
        ),
    )
    seen = pl.DataFrame({"series_id": ["*"], "mean:level": [0.0], "scale:level": [1.0]})
    scaling = Scaling(["level"], seen, ["day"])
    names = pl.DataFrame(
        {"state": [0, 1, 2], "name": ["calm", HOSTILE, "wild"], "born": [START] * 3, "died": [None] * 3}
    )
    kinds = {"string": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    aside = pl.DataFrame(schema={name: kinds[kind] for name, kind in QUARANTINE_COLUMNS.items()})
    rows = pl.concat([_rows("A", 0), _rows(HOSTILE, 1)])
    ranked = pl.DataFrame(
        [
            {"n_states": k, "emission": LONG, "duration": LONG, "bic": 9.0 * k, "warnings": LONG, **NOTHING}
            for k in (2, 3)
        ]
    )
    days = {"day": OPS["day_of_week"].levels}
    chosen = [ChosenModel(model, scaling)]
    data = PageData("made_up", {}, rows, {"level": "units"}, aside, names, ranked, chosen, categories=days)
    return write_page(data, tmp_path_factory.mktemp("page"))


def _rows(series: str, seed: int) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    path = np.repeat(generator.integers(0, 3, N_ROWS // 10), 10)
    varying = {
        "series_id": pl.repeat(series, N_ROWS, eager=True),
        "time": pl.datetime_range(START, START + timedelta(hours=N_ROWS - 1), "1h", eager=True),
        "state": pl.Series(np.roll(path, 5), dtype=pl.Int16),
        "viterbi": pl.Series(path, dtype=pl.Int16),
        "p_filtered": generator.dirichlet(np.ones(3), N_ROWS).tolist(),
        "level": path + generator.normal(size=N_ROWS),
        "train_end": [START + timedelta(hours=N_ROWS)] * N_ROWS,
        "day": np.arange(N_ROWS) // 24 % 7 * 1.0,
        "status": ["MISSING" if i % 50 == 0 else "OK" for i in range(N_ROWS)],
    }
    fixed = {"string": "x", "timestamp": START, "int16": 0, "int32": 1, "double": 0.5, "doubles": None, "bool": True}
    constant = {name: [fixed[kind]] * N_ROWS for name, kind in STATE_COLUMNS.items() if name not in varying}
    return pl.DataFrame({**constant, **varying})


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_drawn_without_a_network_and_without_a_complaint(
    browser: Browser, page_file: Path, width: int, tmp_path: Path
) -> None:
    browser.open(page_file, width)
    assert browser.complaints() == []
    assert browser.requests() == []
    assert browser.ask("document.querySelectorAll('.plot').length") == 9
    assert browser.ask("[...document.querySelectorAll('.plot')].filter(p => !p.querySelector('canvas')).length") == 0
    picture = imread(browser.picture(tmp_path / "page.png"))
    assert picture.shape[1] == width
    assert picture.std() > 0.05
    for state in range(3):
        assert (np.abs(picture[..., :3] - to_rgb(colour(state))).max(axis=-1) < 0.02).sum() > 100


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_of_the_window(browser: Browser, page_file: Path, width: int) -> None:
    browser.open(page_file, width)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    plots = "[...document.querySelectorAll('.plot canvas')].map(p => p.getBoundingClientRect().right)"
    assert max(browser.ask(plots)) <= width


def test_figures_beside_an_axis_have_their_room_and_axes_above_each_other_begin_alike(
    browser: Browser, page_file: Path
) -> None:
    browser.open(page_file, 1280)
    upper, lower = (f"document.getElementById('{name}-plot').chart" for name in ("series", "known"))
    browser.ask(f"{upper}.setData([{upper}.data[0], ...{upper}.data.slice(1).map(y => y.map(v => v && v + 1.2e8))])")
    browser.ask("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    assert browser.ask(f"{upper}.axes[1]._size >= 6 * Math.max(...{upper}.axes[1]._values.map(told => told.length))")
    assert browser.ask(f"{upper}.bbox.left === {lower}.bbox.left")


@pytest.mark.parametrize("width", [1280, 390])
def test_no_cell_of_a_table_is_overprinted(browser: Browser, page_file: Path, width: int) -> None:
    browser.open(page_file, width)
    assert browser.ask("document.querySelectorAll('td').length") > 20
    overprinted = """[...document.querySelectorAll('tr')].flatMap(row => [...row.cells].filter(cell => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return range.getBoundingClientRect().right > cell.getBoundingClientRect().right + 1;
    })).map(cell => cell.innerText)"""
    assert browser.ask(overprinted) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_sections_captions_and_plots_do_not_overlap(browser: Browser, page_file: Path, width: int) -> None:
    browser.open(page_file, width)
    overlaps = """[...document.querySelectorAll('main > *, figure > *, .unit > *, form.controls > *')].filter(one => {
        const next = one.nextElementSibling;
        if (!next || one.hidden) return false;
        const [a, b] = [one.getBoundingClientRect(), next.getBoundingClientRect()];
        return b.top < a.bottom - 1 && b.left < a.right - 1 && b.width > 0;
    }).map(one => one.outerHTML.slice(0, 80))"""
    assert browser.ask(overlaps) == []


def test_the_page_follows_the_colour_scheme_of_the_reader(browser: Browser, page_file: Path) -> None:
    browser.open(page_file, 1280)
    brightness = []
    for scheme in ("light", "dark"):
        browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        paper, ink = ("getComputedStyle(document.body)." + name for name in ("backgroundColor", "color"))
        levels = [sum(map(int, browser.ask(of).strip("rgb()").split(","))) for of in (paper, ink)]
        assert abs(levels[0] - levels[1]) > 400
        brightness.append(levels[0])
    browser.send("Emulation.setEmulatedMedia", features=[])
    assert brightness[0] > brightness[1]


def test_every_plot_has_titles_on_its_axes(browser: Browser, page_file: Path) -> None:
    browser.open(page_file, 1280)
    untitled = """[...document.querySelectorAll('[data-figure], #known-plot')].filter(plot =>
        plot.chart.axes.some(axis => !axis.label)).map(plot => plot.id + plot.dataset.figure)"""
    assert browser.ask(untitled) == []
    assert browser.ask("document.getElementById('series-plot').chart.axes[1].label") == "level (units)"


def test_days_of_the_week_are_points_with_names(browser: Browser, page_file: Path) -> None:
    browser.open(page_file, 1280)
    plot = "document.querySelector('[data-figure$=effect-0]').chart"
    assert browser.ask(f"{plot}.axes[0]._values") == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    inside = f"{plot}.bbox.left, {plot}.bbox.top, {plot}.bbox.width, {plot}.bbox.height"
    pixels = np.array(browser.ask(f"[...{plot}.ctx.getImageData({inside}).data]")).reshape(-1, 4)
    for state in range(3):
        drawn = np.abs(pixels[:, :3] / 255 - to_rgb(colour(state))).max(-1) < 0.02
        assert 7 * 9 < drawn.sum() < 1500
    assert browser.ask(f"{plot}.legend.markers.show")
    assert browser.ask(f"[...{plot}.root.querySelectorAll('.u-legend .barred')].every(row => row.offsetHeight > 0)")


def test_choosing_draws_another_series_value_and_path(browser: Browser, page_file: Path) -> None:
    browser.open(page_file, 1280)
    seen = "JSON.stringify(((u) => [u.data, u.scales.x.min])(document.getElementById('series-plot').chart))"
    drawings = [browser.ask(seen)]
    for control, choice in (("pick-series", "1"), ("pick-value", "1"), ("pick-path", "state"), ("pick-span", "4")):
        choose = f"(p => {{ p.value = '{choice}'; p.dispatchEvent(new Event('change')); }})"
        browser.ask(f"{choose}(document.getElementById('{control}'))")
        drawings.append(browser.ask(seen))
    assert len(set(drawings)) == 5
    assert browser.complaints() == []


def test_hostile_names_are_read_and_not_run(browser: Browser, page_file: Path) -> None:
    browser.open(page_file, 1280)
    assert browser.ask("document.body.innerText.split('<script>alert(2)').length") > 3
    assert browser.ask("document.querySelectorAll('img, .plot script, .plot a').length") == 0
    assert browser.complaints() == []


def test_pointing_at_a_row_reads_it(browser: Browser, page_file: Path) -> None:
    browser.open(page_file, 1280)
    browser.ask("document.getElementById('series-plot').chart.setCursor({left: 0, top: 10})")
    read = browser.ask("document.getElementById('series-said').innerText")
    assert read.startswith("2024-01-01: level ")
    assert "known then" in read
    assert read.endswith("· in sample")


def test_a_click_on_a_head_ranks_the_states(browser: Browser, page_file: Path) -> None:
    browser.open(page_file, 1280)
    column = "[...document.querySelectorAll('#states tbody tr')].map(row => parseFloat(row.cells[4].innerText))"
    click = "document.querySelectorAll('#states th')[4].click()"
    browser.ask(click)
    rising = browser.ask(column)
    browser.ask(click)
    assert rising == sorted(rising)
    assert browser.ask(column) == rising[::-1]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_title_of_the_time_axis_is_not_printed_over_years(browser: Browser, page_file: Path, width: int) -> None:
    """Dates take two lines below their ticks, which the axis has room for before its title."""
    browser.open(page_file, width)
    room = "(axis => [axis._size, axis.gap + axis.ticks.size + 2 * 12 * 1.5])"
    there, needed = browser.ask(f"{room}(document.getElementById('known-plot').chart.axes[0])")
    assert there >= needed
    assert browser.ask("document.getElementById('known-plot').chart.axes[0].label") == "time (UTC)"


def test_what_a_hand_has_no_room_for_is_hinted_at_and_not_cut(browser: Browser, page_file: Path) -> None:
    """A table that goes on to the right has a shadow there; numbers below a scale leave each other room."""
    browser.open(page_file, 390)
    hidden = "[...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth)"
    assert browser.ask(f"{hidden}.length") > 1
    assert browser.ask(f"{hidden}.every(s => getComputedStyle(s).backgroundImage.includes('gradient'))")
    overprinted = """[...document.querySelectorAll('.spread .ticks .track')].flatMap(track => {
        const marks = [...track.querySelectorAll('em')].map(em => em.getBoundingClientRect()).filter(r => r.width);
        return marks.slice(1).filter((r, i) => r.left < marks[i].right);
    }).length"""
    assert browser.ask(overprinted) == 0
