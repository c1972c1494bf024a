"""Takes the pictures of docs/report.md and docs/tracking.md: the report and MLflow's pages of a recorded study.

`.venv/bin/python docs/figures/take_pictures.py` needs Chromium and a study under $LOGLOG_ROOT (or in this checkout),
such as `make sweep BUDGET=110k SEEDS=2` leaves.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, sync_playwright

from analysis.make_report import main as report
from sweeps.errors import StudyError
from tracking.paths import folder_name, project_paths

HERE = Path(__file__).resolve().parent
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
START_S = 120.0
SCROLL = "one => window.scrollTo(0, one.getBoundingClientRect().top + window.scrollY - 70)"
LOSS = 'figure[data-chart="loss"]'


def main() -> int:
    """Returns the exit code: 0 once the pictures are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="scale_model")
    parser.add_argument("--budgets", default="30k,110k")
    words = parser.parse_args()
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise StudyError("there is no Chromium here (try: apt-get install chromium)")
    if report(["--study", words.study, "--budgets", words.budgets]) != 0:
        return 2
    page = project_paths().reports_dir / folder_name(words.study) / "report.html"
    folder = HERE / "report"
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        take_report(browser, page, folder)
        with mlflow_pages(words.study) as address:
            take_mlflow(browser, address, folder)
        browser.close()
    return 0


def take_report(browser: Browser, path: Path, folder: Path) -> None:
    """Takes the top of the report, its first chart with a dot pointed at, and its dark form."""
    page = _open(browser, path, dark=False)
    page.screenshot(path=folder / "answer.png", clip={"x": 0, "y": 0, "width": 1180, "height": 780})
    page.locator(LOSS).evaluate(SCROLL)
    drawing = page.locator(f"{LOSS} .plot")
    drawing.focus()
    page.keyboard.press("End")
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    page.mouse.move(1, 1)
    page.wait_for_timeout(100)
    page.screenshot(path=folder / "hover.png", clip={"x": 0, "y": 0, "width": 1180, "height": 660})
    dark = _open(browser, path, dark=True)
    dark.locator("#learning-rates").evaluate(
        "one => window.scrollTo(0, one.getBoundingClientRect().top + scrollY - 70)"
    )
    dark.wait_for_timeout(100)
    dark.screenshot(path=folder / "dark.png", clip={"x": 0, "y": 0, "width": 1180, "height": 860})


@contextlib.contextmanager
def mlflow_pages(study: str) -> Generator[str]:
    """Starts what `make ui` starts; yields where the study's view is, as it says."""
    command = [sys.executable, "-m", "tracking.ui"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            name, _, address = line.strip().partition(": ")
            if name == study:
                yield address
                return
        raise StudyError(f"make ui says nothing of {study}")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def take_mlflow(browser: Browser, address: str, folder: Path) -> None:
    """Takes the study's table of runs as `make ui` opens it."""
    page = browser.new_page(viewport={"width": 1500, "height": 760})
    until_s = time.monotonic() + START_S
    while True:
        try:
            page.goto(address)
            break
        except Error:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.5)
    page.wait_for_selector(".ag-center-cols-container .ag-row", timeout=1000 * START_S)
    page.wait_for_timeout(3000)
    page.screenshot(path=folder / "mlflow.png")


def _open(browser: Browser, path: Path, *, dark: bool) -> Page:
    page = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="dark" if dark else "light")
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=true]")
    return page


if __name__ == "__main__":
    sys.exit(main())
