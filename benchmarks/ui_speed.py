"""Opens MLflow's pages over 5,000 recorded runs in a real browser: seconds until table, groups and charts are there."""

import argparse
import contextlib
import dataclasses
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from ingest import trial_of
from playwright.sync_api import Browser, sync_playwright
from result_file import Figure, write_result

from sweeps.cost import Cost
from sweeps.record import Outcome, Progress, RunRecord, Status
from tracking import run_form
from tracking.paths import ProjectPaths
from tracking.store import ingest
from tracking.ui import HOST, SERVER_ENVIRONMENT, free_port, server_command, study_addresses

STUDY = "ui_benchmark"
BAR_S = 10.0
MODELS, EPOCHS, RATES = ("f0", "f1", "f2", "f3", "f5", "f7"), (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.4, 0.8, 1.6)
START_S, PATIENCE_MS = 180.0, 240_000
ROW, GROUP, CURVE = ".ag-center-cols-container .ag-row", "text=/^Group: model/", ".js-plotly-plot .trace"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def record_of(number: int, points: int, draw: random.Random) -> RunRecord:
    """Returns the record of a run that follows a law of loss, with so many points."""
    model, epochs, rate = MODELS[number % 6], EPOCHS[number // 6 % 6], RATES[number // 36 % 3]
    trial = dataclasses.replace(
        trial_of(number // 108, points), model=model, epochs=epochs, peak_lr=rate, seed=number // 108
    )
    core_hours = 100.0 * 2.5 ** MODELS.index(model) * epochs
    loss = 2.5 * (core_hours / 100.0) ** -0.1 * (1 + 0.03 * abs(math.log2(rate / 0.8))) * draw.gauss(1.0, 0.002)
    curve = tuple(
        Progress(
            step=step,
            images=32 * step,
            train_loss=loss * (trial.steps / step) ** 0.2,
            val_loss=loss * (trial.steps / step) ** 0.2,
            wall_s=0.01 * step,
        )
        for step in (round(trial.steps * (k + 1) / points) for k in range(points))
    )
    return RunRecord(
        trial=trial,
        cost=Cost(flops=1e10 * core_hours, core_hours=core_hours, wall_hours=None, relative_spread=0.02),
        budget_core_hours=10_000.0 if core_hours <= 10_000.0 else 110_000.0,
        status=Status.FINISHED,
        outcome=Outcome(
            status=Status.FINISHED,
            steps=trial.steps,
            val_loss=loss,
            selection_loss=loss,
            train_loss=loss,
            wall_s=0.01 * trial.steps,
            compile_s=4.0,
            error=None,
        ),
        curve=curve,
        attempts=1,
        code_version="benchmark",
        device="cpu",
        started_unix_s=1.7e9 + number,
        ended_unix_s=1.7e9 + number + 0.01 * trial.steps + 5.0,
    )


def record_study(paths: ProjectPaths, runs: int, points: int) -> float:
    """Returns how long it took to write the runs of a study into runs.sqlite [s]."""
    draw = random.Random(0)
    began_s = time.perf_counter()
    for first in range(0, runs, 500):
        ingest(paths, STUDY, [record_of(n, points, draw) for n in range(first, min(runs, first + 500))])
    return time.perf_counter() - began_s


@contextlib.contextmanager
def open_server(paths: ProjectPaths) -> Generator[tuple[str, float]]:
    """Starts what `make ui` starts; gives the address of the study's view and how long the start took [s]."""
    port = free_port(5600)
    began_s = time.perf_counter()
    with (paths.root / "ui.log").open("wb") as log:
        server = subprocess.Popen(
            server_command(paths, port),
            env={**os.environ, **SERVER_ENVIRONMENT},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                    break
            except OSError:
                if time.perf_counter() - began_s > START_S or server.poll() is not None:
                    raise RuntimeError((paths.root / "ui.log").read_text()[-2000:]) from None
                time.sleep(0.1)
        yield study_addresses(paths, port)[0][1], time.perf_counter() - began_s
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def seconds_until(browser: Browser, address: str, *marks: str) -> Iterator[float]:
    """Gives the seconds from the address to each mark on the page, in a profile that knows nothing."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    page: Any = context.new_page()
    try:
        began_s = time.perf_counter()
        page.goto(address)
        for mark in marks:
            page.wait_for_selector(mark, timeout=PATIENCE_MS)
            yield time.perf_counter() - began_s
    finally:
        context.close()


def measure(paths: ProjectPaths, browser: Browser, repeats: int) -> dict[str, float]:
    """Returns the median of each time over the repeats [s]; the first visit, which fills caches, is not counted."""
    found: dict[str, list[float]] = {name: [] for name in ("table", "groups", "charts", "plain_table", "plain_charts")}
    with open_server(paths) as (address, start_s):
        plain = address.partition("&viewStateShareKey")[0]
        for turn in range(repeats + 1):
            table_s, groups_s = seconds_until(browser, address, ROW, GROUP)
            (charts_s,) = seconds_until(browser, f"{address}&compareRunsMode=CHART", CURVE)
            (plain_s,) = seconds_until(browser, plain, ROW)
            (plain_charts_s,) = seconds_until(browser, f"{plain}&compareRunsMode=CHART", CURVE)
            if turn:
                for name, value in zip(found, (table_s, groups_s, charts_s, plain_s, plain_charts_s), strict=True):
                    found[name].append(value)
    return {"start": start_s} | {name: statistics.median(values) for name, values in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 where the table is there within the bar, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--points", type=int, default=100, help="of each run's curve")
    parser.add_argument("--few", type=int, default=200, help="runs of the studies that thinning is judged by")
    parser.add_argument("--many-points", type=int, default=2000, help="of a curve there, with and without thinning")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        print(f"no browser: none of {', '.join(PROGRAMS)} is installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="loglog-ui-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        places = {name: ProjectPaths(root=Path(folder) / name) for name in ("whole", "thinned", "unthinned")}
        for paths in places.values():
            paths.root.mkdir()
        print(f"recording {args.runs} runs of {args.points} points ...", flush=True)
        record_s = record_study(places["whole"], args.runs, args.points)
        record_study(places["thinned"], args.few, args.many_points)
        kept, run_form.MAX_POINTS = run_form.MAX_POINTS, args.many_points
        record_study(places["unthinned"], args.few, args.many_points)
        run_form.MAX_POINTS = kept
        print("opening the pages ...", flush=True)
        whole, thinned, unthinned = (measure(paths, browser, args.repeats) for paths in places.values())
        browser.close()
    words = f"--runs {args.runs} --points {args.points} --few {args.few} --many-points {args.many_points}"
    write_result(
        "ui_speed",
        [
            Figure(name="table_seconds", value=whole["table"], bar=BAR_S, unit="s until rows"),
            Figure(name="groups_seconds", value=whole["groups"], bar=None, unit="s until groups"),
            Figure(name="charts_seconds", value=whole["charts"], bar=None, unit="s until curves"),
            Figure(name="plain_table_seconds", value=whole["plain_table"], bar=None, unit="s, MLflow's own view"),
            Figure(name="plain_charts_seconds", value=whole["plain_charts"], bar=None, unit="s, MLflow's own view"),
            Figure(name="start_seconds", value=whole["start"], bar=None, unit="s until the server answers"),
            Figure(name="runs", value=args.runs, bar=None, unit="runs"),
            Figure(name="record_seconds", value=record_s, bar=None, unit="s to write them"),
            Figure(name="thinned_charts_seconds", value=thinned["charts"], bar=None, unit="s, 200 points kept"),
            Figure(name="unthinned_charts_seconds", value=unthinned["charts"], bar=None, unit="s, all points kept"),
            Figure(name="thinning_ratio", value=unthinned["charts"] / thinned["charts"], bar=None, unit="times faster"),
            Figure(name="runs_of_long_curves", value=args.few, bar=None, unit="runs"),
            Figure(name="points_of_long_curves", value=args.many_points, bar=None, unit="points"),
        ],
        command=f"make bench NAME=ui_speed EXTRA='{words} --repeats {args.repeats}'",
    )
    return 0 if whole["table"] <= BAR_S else 1


if __name__ == "__main__":
    sys.exit(main())
