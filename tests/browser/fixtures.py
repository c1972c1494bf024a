"""A real headless Chromium for the tests, and a page that remembers what went wrong on it and what it fetched."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def missing_browser() -> str | None:
    """Returns why no browser can be started here, or None where one can."""
    if not any(map(shutil.which, PROGRAMS)):
        return f"no browser on this machine: none of {', '.join(PROGRAMS)} (try: apt-get install chromium)"
    return None


@dataclass(kw_only=True)
class Watched:
    """A page and all that a user should never see of it."""

    page: Page
    errors: list[str] = field(default_factory=list[str])
    """Errors and warnings of its console, and exceptions nobody caught."""
    requests: list[str] = field(default_factory=list[str])
    """Addresses it asked for, of any kind."""


@pytest.fixture(scope="module")  # while it is open, nothing else in the process can run an event loop
def browser() -> Iterator[Browser]:
    """One browser for the tests of a file, which skip where there is none."""
    if (reason := missing_browser()) is not None:
        pytest.skip(reason)
    program = next(filter(None, map(shutil.which, PROGRAMS)))
    # Debian's wrapper reads the home folder; what playwright keeps there would outlive the tests.
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=list(QUIET), env={**os.environ, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1"}
        )
        yield opened
        opened.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A new page of 1,280 x 900 in a profile of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    seen = Watched(page=context.new_page())
    seen.page.on("console", lambda m: seen.errors.append(m.text) if m.type in ("error", "warning") else None)
    seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    yield seen
    context.close()
