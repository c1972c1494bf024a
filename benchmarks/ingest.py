"""Ingests 1,000 journals of 200 points while `make ui` shows runs.sqlite; beside it, plain mlflow.log_metric."""

import argparse
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from result_file import Figure, write_result

from launcher.drive.ingestion import ingest_ended
from sweeps.certificate import faultless
from sweeps.cost import Cost
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial
from tracking.journal import read_journals, start_attempt
from tracking.paths import ProjectPaths
from tracking.run_form import RunForm, run_form
from tracking.run_table import read_records
from tracking.ui import HOST, SERVER_ENVIRONMENT, free_port, server_command

STUDY, PLAIN_STUDY = "ingest_benchmark", "plain_mlflow"
BAR_S = 60.0
STEPS_PER_POINT = 50
PAUSE_S = 0.5
"""Between two pages that a reader of the user interface asks for."""
UI_START_S = 120.0
SEARCH = '{"experiment_ids": ["1", "2", "3"], "max_results": 100, "order_by": ["attributes.start_time DESC"]}'
PAGES = (
    ("/", None),
    ("/api/2.0/mlflow/experiments/search", '{"max_results": 25}'),
    ("/api/2.0/mlflow/runs/search", SEARCH),
)
"""What a browser asks for when the list of runs is opened."""


@dataclasses.dataclass
class Reader:
    """Somebody at the user interface, who asks for one page after the other."""

    url: str
    seconds: list[float] = dataclasses.field(default_factory=list[float])
    failures: int = 0

    def read(self, stop: threading.Event) -> None:
        """Asks until it is stopped."""
        while not stop.is_set():
            for page, body in PAGES:
                began_s = time.perf_counter()
                try:
                    ask(self.url + page, body)
                    self.seconds.append(time.perf_counter() - began_s)
                except OSError:
                    self.failures += 1
            stop.wait(PAUSE_S)


def ask(url: str, body: str | None) -> bytes:
    """Returns a page; raises OSError where there is none."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body.encode() if body else None, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


@contextlib.contextmanager
def open_ui(paths: ProjectPaths) -> Generator[Reader]:
    """Starts what `make ui` starts and a reader of it; both end with the with statement."""
    port = free_port()
    reader, stop = Reader(url=f"http://{HOST}:{port}"), threading.Event()
    environment = {**os.environ, **SERVER_ENVIRONMENT}
    with (paths.root / "ui.log").open("wb") as log:
        server = subprocess.Popen(
            server_command(paths, port), env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline_s = time.monotonic() + UI_START_S
        while True:
            try:
                ask(reader.url + PAGES[2][0], PAGES[2][1])
                break
            except OSError:
                if time.monotonic() > deadline_s or server.poll() is not None:
                    raise RuntimeError((paths.root / "ui.log").read_text()[-2000:]) from None
                time.sleep(0.2)
        thread = threading.Thread(target=reader.read, args=(stop,))
        thread.start()
        try:
            yield reader
        finally:
            stop.set()
            thread.join()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def trial_of(seed: int, points: int) -> Trial:
    """Returns one of the trials; its length fits the points."""
    return Trial(
        model="f3",
        family="nfnet",
        shape=NFNetShape(stage_depths=(1, 2, 1, 1), stage_widths=(8, 16, 24, 24), group_width=8),
        data=DataSpec(
            name="parts",
            image_px=16,
            channels=3,
            classes=10,
            images_per_epoch=32 * STEPS_PER_POINT * points,
            held_out_images=64,
            selection_images=64,
        ),
        epochs=1.0,
        batch_images=32,
        peak_lr=0.8,
        schedule=ScheduleSpec(name="cosine", warmup_steps=10),
        recipe=RecipeSpec(),
        seed=seed,
    )


def write_journal(paths: ProjectPaths, seed: int, points: int) -> None:
    """Writes what a worker writes of a run with so many points, a quarter of them with a held-out loss."""
    steps = STEPS_PER_POINT * points
    with start_attempt(
        paths,
        STUDY,
        trial_of(seed, points),
        cost=Cost(flops=4e12, core_hours=800.0, wall_hours=None, relative_spread=0.02),
        budget_core_hours=10_000.0,
        code_version="benchmark",
        device="cpu",
    ) as journal:
        for number in range(1, points + 1):
            step = STEPS_PER_POINT * number
            loss = 0.5 + 2.0 * (step + 7 * seed) ** -0.3
            val_loss = loss + 0.01 if number % 4 == 0 else None
            journal.progress(
                Progress(step=step, images=32 * step, train_loss=loss, val_loss=val_loss, wall_s=0.01 * step)
            )
        journal.end(
            Outcome(
                status=Status.FINISHED,
                steps=steps,
                val_loss=1.0,
                selection_loss=1.1,
                train_loss=0.9,
                wall_s=0.01 * steps,
                compile_s=4.0,
                certificate=faultless(images=32 * steps, images_per_epoch=32 * steps),
            )
        )


def log_plainly(paths: ProjectPaths, forms: Sequence[RunForm]) -> float:
    """Returns how long mlflow.log_metric takes for the same runs [s], one call for each number."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    plain: Any = mlflow
    plain.set_tracking_uri(f"sqlite:///{paths.runs_sqlite}")
    plain.set_experiment(PLAIN_STUDY)
    began_s = time.perf_counter()
    for form in forms:
        with plain.start_run(run_name=form.name):
            plain.log_params(dict(form.params))
            plain.set_tags(dict(form.tags))
            for metric in form.metrics:
                plain.log_metric(metric.key, metric.value, step=metric.step)
    return time.perf_counter() - began_s


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 where every run is there, complete, within the bar, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=200, help="of each run's curve")
    parser.add_argument("--sample", type=int, default=3, help="runs that plain mlflow.log_metric gets")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="loglog-ingest-") as folder:
        paths = ProjectPaths(root=Path(folder))
        print(f"writing {args.runs} journals of {args.points} points ...", flush=True)
        write_journal(paths, args.runs, args.points)
        ingest_ended(paths, STUDY)  # makes the database, so that there is something to show
        for seed in range(args.runs):
            write_journal(paths, seed, args.points)
        with open_ui(paths) as reader:
            print("the user interface is open and read; ingesting ...", flush=True)
            began_s = time.perf_counter()
            written = ingest_ended(paths, STUDY)
            ingest_s = time.perf_counter() - began_s
            pages, slowest_s = len(reader.seconds), max(reader.seconds, default=float("nan"))
            began_s = time.perf_counter()
            again = ingest_ended(paths, STUDY)
            again_s = time.perf_counter() - began_s
            print(f"the same with mlflow.log_metric, {args.sample} runs of {args.runs} ...", flush=True)
            records = read_journals(paths, STUDY)
            forms = [run_form(STUDY, record) for record in records[: args.sample]]
            plain_s = log_plainly(paths, forms) / args.sample * args.runs
            failures = reader.failures
        began_s = time.perf_counter()
        read_journals(paths, STUDY)
        journals_s = time.perf_counter() - began_s
        stored = {record.trial.id: record for record in read_records(paths, STUDY, curves=True)}
        complete = sum(stored.get(record.trial.id) == record for record in records)
        metrics = sum(len(run_form(STUDY, record).metrics) for record in records)
    is_whole = written == args.runs and again == 0 and complete == args.runs + 1 and not failures
    words = f"--runs {args.runs} --points {args.points} --sample {args.sample}"
    write_result(
        "ingest",
        [
            Figure(name="ingest_seconds", value=ingest_s, bar=BAR_S, unit="s"),
            Figure(name="plain_log_metric_seconds", value=plain_s, bar=None, unit="s, extrapolated from the sample"),
            Figure(name="ratio", value=plain_s / ingest_s, bar=None, unit="times faster"),
            Figure(name="runs", value=written, bar=None, unit="runs"),
            Figure(name="sample", value=args.sample, bar=None, unit="runs given to log_metric"),
            Figure(name="points_of_a_curve", value=args.points, bar=None, unit="points"),
            Figure(name="numbers", value=metrics, bar=None, unit="metric values"),
            Figure(name="of_it_reading_journals", value=journals_s, bar=None, unit="s, without company"),
            Figure(name="nothing_new_seconds", value=again_s, bar=None, unit="s"),
            Figure(name="runs_not_as_in_the_journal", value=len(records) - complete, bar=0, unit="runs"),
            Figure(name="pages_read_meanwhile", value=pages, bar=None, unit="pages"),
            Figure(name="slowest_page", value=slowest_s, bar=None, unit="s"),
            Figure(name="pages_that_failed", value=failures, bar=0, unit="pages"),
        ],
        command=f"make bench NAME=ingest EXTRA='{words}'",
    )
    return 0 if is_whole and ingest_s <= BAR_S else 1


if __name__ == "__main__":
    sys.exit(main())
