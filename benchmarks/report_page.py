"""Opens the report of 10,000 recorded runs in a real Chromium: seconds until it is drawn, and until it is drawn anew.

The size of the default study's report is taken from reports/scale_model of $LOGLOG_ROOT (or of this checkout), where
`make sweep` has left one.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from fit_10k_runs import STUDY, records
from playwright.sync_api import Page, sync_playwright
from result_file import Figure, write_result

from analysis.make_report import main as report
from sweeps.errors import StudyError
from tracking.paths import ROOT_VARIABLE, ProjectPaths, project_paths
from tracking.store import ingest

BAR_S, BAR_MB, OPENINGS = 3.0, 2.0, 5
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DRAWN = "html[data-ready=true]"
REDRAWN_MS = """() => {
  const began = performance.now();
  document.querySelector('input[name=axis][value=flops]').click();
  return new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0)));
}"""


def open_page(page: Page, path: Path) -> float:
    """Returns the seconds from asking for the file until it is drawn and painted."""
    began_s = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector(DRAWN)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
    return time.perf_counter() - began_s


def main() -> int:
    """Returns the exit code: 0 once the result is written."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise StudyError("there is no Chromium here (try: apt-get install chromium)")
    default = project_paths().reports_dir / "scale_model" / "report.html"
    with tempfile.TemporaryDirectory(prefix="loglog-report-") as folder:
        ingest(ProjectPaths(root=Path(folder)), STUDY, records())
        os.environ[ROOT_VARIABLE] = folder
        began_s = time.perf_counter()
        if report(["--study", STUDY, "--quick", "--bootstrap", "200"]) != 0:
            return 1
        made_s = time.perf_counter() - began_s
        path = project_paths().reports_dir / STUDY / "report.html"
        size_mb = path.stat().st_size / 1e6
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            opened = [open_page(page, path) for _ in range(OPENINGS)]
            redrawn_s = float(page.evaluate(REDRAWN_MS)) / 1000
            browser.close()
    figures = [
        Figure(name="open_10k_runs_s", value=statistics.median(opened), bar=BAR_S, unit="s"),
        Figure(name="open_10k_runs_slowest_s", value=max(opened), bar=BAR_S, unit="s"),
        Figure(name="redraw_10k_runs_s", value=redrawn_s, bar=None, unit="s"),
        Figure(name="size_10k_runs_mb", value=size_mb, bar=None, unit="MB"),
        Figure(name="make_10k_runs_s", value=made_s, bar=None, unit="s"),
        Figure(
            name="size_default_study_mb",
            value=default.stat().st_size / 1e6 if default.is_file() else None,
            bar=BAR_MB,
            unit="MB",
        ),
    ]
    write_result("report_page", figures, command="make bench NAME=report_page")
    return 0


if __name__ == "__main__":
    sys.exit(main())
