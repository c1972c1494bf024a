"""The page in a real Chromium: what a reader sees, points at, presses and prints."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.analysis.page.pages import PAGES, page_of
from tests.browser.fixtures import Watched

pytestmark = pytest.mark.real

OpenPage = Callable[[str], Page]
READY = "html[data-ready=true]"
LOSS = 'figure[data-chart="loss"]'


@pytest.fixture
def open_page(watched: Watched, tmp_path: Path) -> OpenPage:
    """Opens one of PAGES from a file and waits until it is drawn."""

    def open_one(name: str) -> Page:
        path = tmp_path / f"{name}.html"
        path.write_text(page_of(name), encoding="utf-8")
        watched.page.goto(path.as_uri())
        watched.page.wait_for_selector(READY)
        return watched.page

    return open_one


def places(page: Page, chart: str = LOSS, mark: str = "large") -> list[tuple[float, float]]:
    """Returns where the dots of a chart are, within its drawing [px]."""
    drawn = page.eval_on_selector_all(f"{chart} path.dots.{mark}", "all => all.map(one => one.getAttribute('d'))")
    return [(float(x), float(y)) for path in drawn for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path)]


def tick_texts(page: Page, chart: str = LOSS) -> list[str]:
    """Returns the numbers and names along a chart's axes."""
    return page.eval_on_selector_all(f"{chart} .ticks text", "all => all.map(one => one.textContent)")


@pytest.mark.parametrize("name", PAGES)
def test_renders(name: str, open_page: OpenPage, watched: Watched) -> None:
    """Every chart is drawn, with numbers on its axes, in silence; the file is all that is asked for."""
    page = open_page(name)
    figures = page.locator("figure[data-chart]")
    for i in range(figures.count()):
        chart = f'figure[data-chart="{figures.nth(i).get_attribute("data-chart")}"]'
        assert len(tick_texts(page, chart)) >= 4, chart
        assert page.locator(f"{chart} svg path.dots").count() >= 1, chart
    assert not watched.errors
    assert len(watched.requests) == 1 and watched.requests[0].startswith("file:")
    assert page.evaluate("window.hurt") is None


def test_network_is_forbidden(open_page: OpenPage, watched: Watched) -> None:
    """Even a script that was smuggled in could reach nothing: the page's own policy stands before it."""
    page = open_page("study")
    reached = page.evaluate("() => fetch('https://example.org/').then(() => 'reached', () => 'forbidden')")
    assert reached == "forbidden"
    assert any("Content Security Policy" in error for error in watched.errors)


def test_hover_tells_the_run(open_page: OpenPage) -> None:
    """Pointing at a dot shows model, epochs, learning rate, loss and costs of that very row."""
    page = open_page("study")
    data = json.loads(page.locator("#data").text_content() or "")
    cells, box = data["tables"]["cells"], page.locator(f"{LOSS} svg").bounding_box()
    assert box is not None
    page.locator(LOSS).scroll_into_view_if_needed()
    x, y = sorted(places(page))[-1]
    page.locator(f"{LOSS} svg").hover(position={"x": x, "y": y})
    told = dict(
        zip(
            page.locator(f"{LOSS} .tip dt").all_text_contents(),
            page.locator(f"{LOSS} .tip dd").all_text_contents(),
            strict=True,
        )
    )
    row = max(range(len(cells["loss"])), key=lambda i: (cells["core_hours"][i], -cells["loss"][i]))
    assert told["model"] == data["series"][cells["series"][row]]["title"]
    assert float(told["epochs"]) == cells["epochs"][row] and float(told["peak lr"]) == cells["peak_lr"][row]
    assert float(told["held-out loss"]) == pytest.approx(cells["loss"][row], rel=1e-4)
    assert {"core-hours", "FLOPs", "parameters"} <= set(told)
    page.mouse.move(2, 2)
    assert not page.locator(f"{LOSS} .tip").is_visible()


def test_run_leads_to_mlflow(open_page: OpenPage) -> None:
    """A run that was clicked keeps its words, with a link to its page in MLflow."""
    page = open_page("study")
    runs = json.loads(page.locator("#data").text_content() or "")["tables"]["runs"]
    page.locator(LOSS).scroll_into_view_if_needed()
    cells = places(page)
    apart = [
        (x, y)
        for x, y in places(page, mark="dot")
        if min((x - a) ** 2 + (y - b) ** 2 for a, b in [*cells, *places(page, mark="hollow")]) > 100
    ]
    assert apart, "some run lies apart from every cell"
    x, y = apart[0]
    page.locator(f"{LOSS} svg").click(position={"x": x, "y": y})
    page.mouse.move(2, 2)
    link = page.locator(f"{LOSS} .tip a")
    assert link.is_visible()
    address = link.get_attribute("href") or ""
    assert address.startswith("http://127.0.0.1:5000/#/") and address.split("/#/")[1] in runs["page"]
    page.locator(f"{LOSS} .plot").press("Escape")
    assert not link.is_visible()


def test_models_are_toggled(open_page: OpenPage) -> None:
    """A model that is pressed leaves every chart and the list of runs, and comes back."""
    page = open_page("study")
    before = len(places(page)) + len(places(page, mark="hollow"))
    button = page.get_by_role("button", name="F1", exact=True)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert len(places(page)) + len(places(page, mark="hollow")) == before - 6
    page.get_by_label("Filter").fill("F1")
    assert (page.locator("#runs .count").text_content() or "").startswith("0 of 0")
    button.click()
    assert len(places(page)) + len(places(page, mark="hollow")) == before
    assert not (page.locator("#runs .count").text_content() or "").startswith("0 of")


def test_families_and_budgets_are_toggled(open_page: OpenPage) -> None:
    """One press takes a whole family away; a budget takes the runs that were launched for it."""
    page = open_page("families")
    everything = len(places(page, mark="dot"))
    page.get_by_role("button", name="nfnet", exact=True).click()
    vit = len(places(page, mark="dot"))
    assert 0 < vit < everything
    for title in ("F0", "F1"):
        assert page.get_by_role("button", name=title, exact=True).get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="20k", exact=True).click()
    assert not places(page, mark="dot")
    page.get_by_role("button", name="nfnet", exact=True).click()
    assert len(places(page, mark="dot")) == everything - vit


def test_compute_is_switched(open_page: OpenPage) -> None:
    """The same dots stand over core-hours and over FLOPs, with the law under both."""
    page = open_page("study")
    before, places_before = tick_texts(page), places(page)
    assert any("core-hours" in text for text in before)
    page.get_by_label("FLOPs").check()
    after = tick_texts(page)
    assert any("FLOPs" in text for text in after) and any("10" in text and "⁹" in text for text in after)
    for (x, y), (again_x, again_y) in zip(places_before, places(page), strict=True):
        # One scale for all cells: the picture is the same, but for its numbers.
        assert x == pytest.approx(again_x, abs=0.2) and y == pytest.approx(again_y, abs=0.2)
    assert page.locator(f"{LOSS} path.line.law").count() >= 1


def test_keyboard_alone(open_page: OpenPage) -> None:
    """Tab reaches switches and charts in the order of reading; arrows go along the dots and are told aloud."""
    page = open_page("study")
    reached: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "() => { const a = document.activeElement; return a.closest('figure')?.dataset.chart"
                " ?? (a.name || a.dataset.series !== undefined ? 'switch' : a.className || a.tagName); }"
            )
        )
    assert reached[0] == "skip"
    assert reached.index("switch") < reached.index("loss") < reached.index("tried")
    page.locator(f"{LOSS} .plot").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#live").text_content() or ""
    page.keyboard.press("ArrowRight")
    second = page.locator("#live").text_content() or ""
    assert "held-out loss" in first and first != second
    page.keyboard.press("Home")
    assert page.locator("#live").text_content() == first
    assert page.locator(f"{LOSS} .tip").is_visible()


def test_runs_are_filtered_and_sorted(open_page: OpenPage) -> None:
    """Words in the filter must all be met; a heading sorts, and what has no loss stays last."""
    page = open_page("study")
    page.get_by_label("Filter").fill("diverged f1")
    rows = page.locator("#runs tbody tr")
    assert rows.count() == 1 and "diverged" in (rows.first.text_content() or "")
    page.get_by_label("Filter").fill("")
    heading = page.locator("#runs thead").get_by_role("button", name="held-out loss")
    column = page.locator("#runs thead th").all_text_contents().index("held-out loss") + 1
    for direction, sign in (("ascending", 1), ("descending", -1)):
        heading.click()
        assert page.locator(f'#runs th[aria-sort="{direction}"]').count() == 1
        while page.locator("#runs .more").is_visible():
            page.locator("#runs .more").click()
        shown = page.locator(f"#runs tbody td:nth-child({column})").all_text_contents()
        missing = shown.index("–")
        losses = [sign * float(text) for text in shown[:missing]]
        assert losses == sorted(losses) and set(shown[missing:]) == {"–"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessibility(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    """What Lighthouse checks holds on a screen and a telephone, by day and by night: contrast, names, order."""
    path = tmp_path / "page.html"
    path.write_text(page_of("families"), encoding="utf-8")
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light", bypass_csp=True
    )
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector(READY)
    found = Axe().run(page)
    context.close()
    assert found.violations_count == 0, found.generate_report()
    assert page.is_closed()


def test_telephone(open_page: OpenPage, watched: Watched) -> None:
    """On a narrow screen nothing but tables and commands is wider than the screen."""
    watched.page.set_viewport_size({"width": 390, "height": 800})
    page = open_page("study")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(f"{LOSS} svg").bounding_box()["width"] <= 390  # type: ignore[index]


def test_charts_follow_the_window(open_page: OpenPage) -> None:
    """A window that is made smaller has its charts drawn anew."""
    page = open_page("study")
    page.set_viewport_size({"width": 700, "height": 800})
    expect(page.locator(f"{LOSS} svg")).to_have_attribute("width", re.compile(r"^6\d\d"))
    assert max(x for x, _ in places(page)) < 700


def test_prints_to_a4(open_page: OpenPage) -> None:
    """On paper all charts fit the sheet, in the colours of day, without switches."""
    page = open_page("study")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(f"{LOSS} svg").get_attribute("width") == "660"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert not page.get_by_text("compute in").is_visible() and page.locator(".models").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = page.pdf(format="A4", prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF") and 3 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 16
