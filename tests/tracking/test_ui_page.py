"""MLflow's page over a recorded study, in a real browser."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from sweeps.record import Status
from tests.browser.fixtures import Watched
from tests.browser.fixtures import browser as browser
from tests.browser.fixtures import watched as watched
from tracking import ui
from tracking.paths import ProjectPaths
from tracking.store import ingest

pytestmark = [pytest.mark.real, pytest.mark.slow]
PATIENCE_MS = 120_000
MLFLOWS_OWN = (
    "AG Grid: since v27.1",
    "status of 404",  # its pages ask for a gateway that is not configured
)
"""Words of MLflow's console that are there over any database."""
ROW = ".ag-center-cols-container .ag-row"


@pytest.fixture
def address(database: ProjectPaths, made: Any) -> Iterator[str]:
    """Where `make ui` says that a study of two models, two budgets and a diverged run opens."""
    records = [
        made.record(
            seed,
            status=Status.DIVERGED if (model, seed) == ("f1", 0) else Status.FINISHED,
            trial=dataclasses.replace(made.trial, model=model, seed=seed),
            budget_core_hours=4000.0 if model == "f1" else 10_000.0,
            **({} if (model, seed) == ("f1", 0) else {"outcome": made.outcome(val_loss=1.5 - 0.1 * seed)}),
        )
        for model in ("f1", "f3")
        for seed in range(3)
    ]
    ingest(database, made.study, records)
    server = subprocess.Popen(
        [sys.executable, "-m", "tracking.ui", "--port", str(ui.free_port(5400))],
        cwd=database.root,
        env={**os.environ, "LOGLOG_ROOT": str(database.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        base = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
        shown = [server.stdout.readline().strip().partition(": ")[::2] for _ in range(2)]
        wait_for(server, base)
        yield dict(shown)[made.study]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def wait_for(server: "subprocess.Popen[str]", base: str) -> None:
    """Returns once the server answers."""
    deadline_s = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            with urllib.request.urlopen(f"{base}/health", timeout=10):
                return
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise
            time.sleep(0.3)


def take_picture(page: Page, address: str, path: Path) -> None:
    """Writes a picture of a view as soon as its rows or its curves are there."""
    page.goto(address)
    page.wait_for_selector(".js-plotly-plot .trace" if "CHART" in address else ROW, timeout=PATIENCE_MS)
    page.screenshot(path=path)


def test_the_table_opens_with_the_studys_columns(address: str, watched: Watched, tmp_path: Path) -> None:
    """Columns, order and groups are the study's; nothing of ours is in the console; nobody outside is asked."""
    page = watched.page
    page.set_viewport_size({"width": 2400, "height": 900})
    take_picture(page, address, tmp_path / "table.png")
    page.wait_for_selector("text=/Group: model/", timeout=PATIENCE_MS)
    headers = [cell.inner_text() for cell in page.query_selector_all(".ag-header-cell")]
    wanted = {"model", "epochs", "peak_lr", "seed", "loglog.status", "val_loss", "core_hours"}
    assert wanted <= set(headers)
    assert set(headers) - wanted <= {"", "Run Name", "Created", "Duration"}
    groups = [cell.inner_text() for cell in page.query_selector_all("text=/^Group: model/")]
    assert len(groups) == 2 and all("loglog.budget_core_hours" in group for group in groups)
    names = page.query_selector_all("a[href*='/runs/']")
    seeds = [int(match[1]) for name in names if (match := re.search(r"-s(\d)$", name.inner_text()))]
    assert seeds == [2, 1, 0, 2, 1, 0]
    assert (tmp_path / "table.png").stat().st_size > 10_000
    assert [text for text in watched.errors if not any(known in text for known in MLFLOWS_OWN)] == []
    hosts = {urllib.parse.urlsplit(url).hostname for url in watched.requests if url.startswith(("http", "ws"))}
    assert hosts == {"127.0.0.1"}


def test_the_charts_are_log_log(address: str, watched: Watched, tmp_path: Path) -> None:
    """Both charts of the view are drawn, over the logarithm of core-hours."""
    page = watched.page
    take_picture(page, f"{address}&compareRunsMode=CHART", tmp_path / "charts.png")
    page.wait_for_selector("text=Loss and compute", timeout=PATIENCE_MS)
    page.wait_for_function("document.querySelectorAll('.xtitle').length >= 2", timeout=PATIENCE_MS)
    titles = [title.text_content() for title in page.query_selector_all(".xtitle, .ytitle")]
    assert titles.count("log10_core_hours") >= 2 and "log10_val_loss" in titles
    hosts = {urllib.parse.urlsplit(url).hostname for url in watched.requests if url.startswith(("http", "ws"))}
    assert hosts == {"127.0.0.1"}
