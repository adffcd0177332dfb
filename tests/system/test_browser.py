"""The pages in a real Chromium: nothing is asked for, nothing runs, nothing is cut off, keys reach everything.

Skipped where there is no Chromium: `apt install chromium` brings Debian's.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import pytest

from pipeline.auditing.session import AuditSession
from pipeline.pages.audit_page import audit_page
from pipeline.pages.browse import Query, find
from pipeline.pages.evolve_report import write_evolve_report
from pipeline.pages.report import report_path, write_report
from pipeline.store.dataset import DataSet
from tests.factories.command_line import DATE
from tests.factories.evolve.registries import verdicts, write_registry
from tests.factories.pages import MARKUP, add_second_date, plant_markup, running_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt install chromium"),
]

LOOKS = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]

# the contrast of each text with what is behind it (WCAG 2.2, 1.4.3): the words and ratios that are below 4.5
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = c => {
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = [...c].slice(0, 3).map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c[3] === 255) return c;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgb(e.closest('svg') ? style.fill : style.color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([walk.currentNode.data.trim().slice(0, 40), ratio]);
  }
  return poor;
}"""

FOCUS = """() => {
  const e = document.activeElement, box = e.getBoundingClientRect(), style = getComputedStyle(e);
  const width = style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth);
  return [e.textContent.trim() || e.name, width, box.top >= 0 && box.bottom <= innerHeight + 1, e.tagName];
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(finished, tmp_path_factory) -> Iterator[dict[str, str]]:
    """URLs of each kind of page, of a plain data set and of one whose texts are all markup."""
    folder, pages = tmp_path_factory.mktemp("site"), {}
    with ExitStack() as servers:
        for name in ("plain", "planted"):
            data = DataSet.open(str(shutil.copytree(finished.out, folder / name)))
            if name == "planted":
                plant_markup(data)
            else:
                write_registry(data.root, verdicts(["refused", "promoted", "kept", "promoted", "rolled back"]))
            add_second_date(data)
            (row, *_) = find(data, Query()).rows
            write_report(data, DATE)
            session = AuditSession.open(data, DATE, 12)
            labelling = folder / f"{name}-audit.html"
            labelling.write_text(audit_page(data, session.sample, session.rows, "", []), "utf-8")
            url = servers.enter_context(running_server(data))
            pages |= {
                f"{name} audit": labelling.as_uri(),
                f"{name} file": report_path(data, DATE).as_uri(),
                f"{name} dates": url,
                f"{name} report": f"{url}report/{DATE}",
                f"{name} rows": f"{url}rows",
                f"{name} row": f"{url}row/{row['id']}",
                f"{name} compare": f"{url}compare",
                f"{name} loop": f"{url}evolve",
                f"{name} loop file": write_evolve_report(data).as_uri(),
                f"{name} problem": f"{url}report/{quote(MARKUP)}",
            }
        yield pages


class Tab:
    """A page of the browser, and all that it said and asked for."""

    def __init__(self, browser: Any, url: str, width: int = 1280) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800})
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)

    def __enter__(self) -> "Tab":
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()


KINDS = ("audit", "file", "dates", "report", "rows", "row", "compare", "loop", "loop file", "problem")


@pytest.mark.parametrize("kind", [f"{name} {kind}" for name in ("plain", "planted") for kind in KINDS])
def test_a_page_is_whole_at_each_width_and_in_each_light(chromium, site, kind):
    with Tab(chromium, site[kind]) as tab:
        for summary in tab.page.query_selector_all("summary"):
            summary.evaluate("e => e.parentElement.open = true")
        for width, look in LOOKS:
            tab.page.set_viewport_size({"width": width, "height": 800})
            tab.page.emulate_media(color_scheme=look)
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, (width, look)
            assert tab.page.evaluate(CONTRAST) == [], (width, look)
            paper = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == ("rgb(251, 251, 250)" if look == "light" else "rgb(20, 23, 27)"), "the style holds"
        refused = ["Failed to load resource: the server responded with a status of 404 (Not Found)"]
        assert tab.said == (refused if "problem" in kind else [])
        assert [url for url in tab.asked if not url.startswith("data:")] == [site[kind]]


@pytest.mark.parametrize("kind", ["plain file", "plain rows", "plain dates", "plain loop file"])
def test_keys_reach_everything_in_order_and_show_where_they_are(chromium, site, kind):
    with Tab(chromium, site[kind]) as tab:
        tab.page.keyboard.press("Tab")
        text, outline, visible, _ = tab.page.evaluate(FOCUS)
        assert (text, visible) == ("Skip to the content", True)
        wanted = tab.page.evaluate(
            "[...document.querySelectorAll('a[href], summary, input, select, button, [tabindex=\"0\"]')]"
            ".filter(e => e.checkVisibility()).map(e => e.textContent.trim() || e.name)"
        )
        reached = []
        for _ in wanted:
            text, outline, visible, tag = tab.page.evaluate(FOCUS)
            assert outline >= 2, text
            assert visible or tag == "DIV", text
            reached.append(text)
            tab.page.keyboard.press("Tab")
        assert reached == wanted
        tab.page.goto(site[kind])
        tab.page.keyboard.press("Tab")
        tab.page.keyboard.press("Enter")
        assert tab.page.evaluate("document.activeElement.id") == "main"


def test_rows_are_labelled_with_keys_and_the_labels_are_downloaded(chromium, site, tmp_path):
    with Tab(chromium, site["plain audit"]) as tab:

        def press(keys: str) -> None:
            for key in keys:
                tab.page.keyboard.press("Enter" if key == "\n" else key)

        press("fc4\nuc2")
        assert tab.page.inner_text("#state") == "What is wrong?"
        press("i/")
        tab.page.keyboard.type("the court is invented")
        tab.page.keyboard.press("Escape")
        press("\n")
        assert (tab.page.inner_text("#done"), tab.page.inner_text("#row")[:2]) == ("2", "3 ")
        tab.page.click("#download")
        assert "name first" in tab.page.inner_text("#message")
        tab.page.keyboard.type("anna")
        tab.page.keyboard.press("Tab")
        tab.page.goto(site["plain audit"])
        tab.page.fill("#by", "anna")
        tab.page.keyboard.press("Tab")
        assert tab.page.inner_text("#done") == "2", "kept in the browser"
        with tab.page.expect_download() as download:
            tab.page.click("#download")
        download.value.save_as(tmp_path / "labels.jsonl")
        labels = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text("utf-8").splitlines()]
        assert [(label["useful"], label["fault"], label["by"]) for label in labels] == [
            (4, "none", "anna"),
            (2, "invented", "anna"),
        ]
        assert labels[1]["note"] == "the court is invented"
        tab.page.fill("#by", "ben")
        tab.page.keyboard.press("Tab")
        assert tab.page.inner_text("#done") == "0", "another reader starts afresh"
        assert tab.said == []


def test_examples_open_with_a_key(chromium, site, finished):
    with Tab(chromium, site["plain file"]) as tab:
        tab.page.focus("summary")
        assert not tab.page.is_visible("details .text, details .small")
        tab.page.keyboard.press("Enter")
        assert tab.page.is_visible("details[open] .text, details[open] .small")
        for reason in finished.manifest["rejected"]:
            assert tab.page.is_visible(f"th:has-text('{reason}')")


def test_rows_are_searched_and_opened(chromium, site):
    with Tab(chromium, site["plain rows"]) as tab:
        tab.page.select_option("[name=date]", DATE)
        tab.page.fill("[name=text]", "tenant")
        tab.page.press("[name=text]", "Enter")
        tab.page.wait_for_url("**text=tenant**")
        assert tab.page.input_value("[name=text]") == "tenant"
        assert tab.page.locator("article").count() > 0
        tab.page.click("article a >> nth=0")
        assert tab.page.is_visible("h2:has-text('Lineage')")
        assert "CC0-1.0" in tab.page.inner_text("main")
        tab.page.click("a:has-text('Compare')")
        tab.page.select_option("[name=then]", DATE)
        tab.page.click("button")
        assert "then=" + DATE in tab.page.url
        assert tab.said == []


def test_a_shard_of_one_long_word_does_not_widen_the_page(chromium, finished, tmp_path):
    data = DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out")))
    manifest = json.loads(data.manifest_path(DATE).read_text("utf-8"))
    long = "w" * 400
    manifest |= {"run_id": long, "notes": [long], "alarms": [long], "sources": {long: 3}, "currency": long}
    manifest["domains"] = {long: manifest["domains"]["law"] | {"rejected": {long: 3}, "profile": {long: {"3": 3}}}}
    data.manifest_path(DATE).write_text(json.dumps(manifest), "utf-8")
    with Tab(chromium, write_report(data, DATE).as_uri(), 400) as tab:
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400
