"""What launching costs: 200 ten-step cells locally, packs on Ray and Slurm, and 10,000 packs in Slurm's queue."""

import argparse
import contextlib
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
TESTS = CHECKOUT / "tests" / "launcher"
sys.path[:0] = [str(CHECKOUT / "benchmarks"), str(CHECKOUT), str(TESTS)]

from result_file import Figure, write_result  # noqa: E402 -- found by the line above, however this file is called

from launcher.contract.backend import Backend, Broken, Ended, Event, Lost, Order, Refused, Started, Task  # noqa: E402
from launcher.drive.open_backend import open_backend  # noqa: E402
from launcher.settings.request import ClusterSpec, LocalCluster, RayCluster, SlurmCluster  # noqa: E402
from sweeps.grid import Grid  # noqa: E402
from sweeps.pricing import price_trial  # noqa: E402
from sweeps.study import Study  # noqa: E402
from tracking.journal import read_journals  # noqa: E402
from tracking.paths import ProjectPaths  # noqa: E402

FAKE = "fake_trainer:train"
WARM_UP = 4
"""Packs that are run before anything is timed: workers start, import and compile."""


def ten_step_tasks(cells: int) -> tuple[Study, list[Task]]:
    """Returns so many trials of ten steps each, of the scale model's smallest net."""
    from launcher.settings.compose import compose

    request = compose(["budget=1M", "model=scale/f0", "epochs=1", "peak_lr=0.1", f"seeds={cells + WARM_UP}"])
    data, batch = request.study.data, request.study.batch_images[0]
    words = [f"epochs={10.0 * batch / data.images_per_epoch!r}", "peak_lr=0.1", f"seeds={cells + WARM_UP}"]
    study = compose(["budget=1M", "model=scale/f0", *words]).study
    return study, tasks_of(study)


def tasks_of(study: Study) -> list[Task]:
    """Returns all trials of a study, priced."""
    trials = [Grid(study=study).trial(number) for number in range(len(Grid(study=study)))]
    return [Task(trial=trial, cost=price_trial(trial, study.hardware)) for trial in trials]


def follow(backend: Backend, ends: int) -> dict[str, list[tuple[str, float]]]:
    """Returns for each worker what it began and ended, and when; raises RuntimeError where something goes wrong."""
    found: dict[str, list[tuple[str, float]]] = {}
    worker_of: dict[str, str] = {}
    while ends:
        for event in backend.poll(1.0):
            if isinstance(event, (Lost, Broken, Refused)):
                raise RuntimeError(str(event))
            ends -= _note(event, found, worker_of)
    return found


def _note(event: Event, found: dict[str, list[tuple[str, float]]], worker_of: dict[str, str]) -> bool:
    if isinstance(event, Started):
        worker_of[event.trial_id] = event.worker
        found.setdefault(event.worker, []).append(("start", time.monotonic()))
    if isinstance(event, Ended):
        found[worker_of[event.trial_id]].append(("end", time.monotonic()))
    return isinstance(event, Ended)


def local_figures(cells: int) -> list[Figure]:
    """Returns how busy local workers are with real training of ten steps, and what each pack costs besides."""
    study, tasks = ten_step_tasks(cells)
    with tempfile.TemporaryDirectory() as folder:
        order = order_for(Path(folder), study.name, trainer="training.loop:train")
        with open_backend(LocalCluster(), order) as backend:
            for task in tasks[:WARM_UP]:
                backend.submit((task,))
            follow(backend, WARM_UP)
            started_unix_s = time.time()
            for task in tasks[WARM_UP:]:
                backend.submit((task,))
            workers = len(follow(backend, cells))
        records = [r for r in read_journals(order.paths, study.name) if r.started_unix_s >= started_unix_s]
    busy_s = sum((r.ended_unix_s or 0.0) - r.started_unix_s for r in records)
    span_s = max(r.ended_unix_s or 0.0 for r in records) - started_unix_s
    return [
        Figure(name="local_cells", value=len(records), bar=cells, unit="cells"),
        Figure(name="local_busy", value=100.0 * busy_s / (workers * span_s), bar=90.0, unit="% of the time"),
        Figure(
            name="local_overhead_per_pack",
            value=1000.0 * (workers * span_s - busy_s) / cells,
            bar=50.0,
            unit="ms",
        ),
        Figure(
            name="local_cell",
            value=1000.0 * statistics.median((r.ended_unix_s or 0.0) - r.started_unix_s for r in records),
            bar=None,
            unit="ms in training",
        ),
    ]


def order_for(root: Path, study: str, *, trainer: str = FAKE) -> Order:
    """Returns an order of this benchmark."""
    paths = ProjectPaths(root=root)
    return Order(paths=paths, study=study, budget_core_hours=None, code_version="benchmark", trainer=trainer)


def fake_tasks(packs: int) -> list[Task]:
    """Returns trials that take no time worth speaking of."""
    from small_study import make_study

    return tasks_of(make_study("steady", seeds=packs))


def time_packs(spec: ClusterSpec, packs: int) -> tuple[float, float]:
    """Returns the wall time of so many packs on a warm back end, and that of its start-up with the first ones [s]."""
    tasks = fake_tasks(packs + WARM_UP)
    with tempfile.TemporaryDirectory() as folder:
        begun_s = time.monotonic()
        with open_backend(spec, order_for(Path(folder), "small")) as backend:
            for task in tasks[:WARM_UP]:
                backend.submit((task,))
            follow(backend, WARM_UP)
            warm_s = time.monotonic()
            for task in tasks[WARM_UP:]:
                backend.submit((task,))
            follow(backend, packs)
            return time.monotonic() - warm_s, warm_s - begun_s


def ray_figures(packs: int) -> list[Figure]:
    """Returns what a pack costs on Ray once its actors are warm."""
    spec = RayCluster(max_workers=2)
    span_s, start_s = time_packs(spec, packs)
    return [
        Figure(name="ray_overhead_per_pack", value=2 * 1000.0 * span_s / packs, bar=300.0, unit="ms of an actor"),
        Figure(name="ray_start_up", value=start_s, bar=None, unit="s"),
    ]


@contextlib.contextmanager
def private_slurm() -> Generator[Any]:
    """Yields a Slurm of this machine's own, to which this process speaks."""
    from tests.clusters.private_slurm import PrivateSlurm

    with PrivateSlurm() as slurm, slurm.in_environment():
        yield slurm


def slurm_figures(packs: int) -> list[Figure]:
    """Returns how long an array of our packs takes against one whose tasks only start Python and import the same."""
    with private_slurm() as slurm:
        ours_s, _ = time_packs(SlurmCluster(time_min=10), packs)
        imports = "import submitit, numpy, fake_trainer, launcher.work.desk, tracking.journal"
        python = f"{shlex.quote(sys.executable)} -c '{imports}'"
        words = ["sbatch", "--output", "/dev/null", f"--array=0-{packs - 1}", "--cpus-per-task=1"]
        begun_s = time.monotonic()
        slurm.run(*words, "--wrap", f"srun {python}")
        while slurm.squeue():  # sbatch --wait looks too seldom
            time.sleep(0.2)
        bare_s = time.monotonic() - begun_s
    return [
        Figure(name="slurm_array", value=ours_s, bar=None, unit=f"s for {packs} packs"),
        Figure(name="slurm_bare_array", value=bare_s, bar=None, unit="s for as many tasks that only import"),
        Figure(name="slurm_ratio", value=ours_s / bare_s, bar=None, unit="times the bare array"),
        Figure(name="slurm_overhead_per_pack", value=1000.0 * (ours_s - bare_s) / packs, bar=None, unit="ms beyond it"),
    ]


def queue_figures(packs: int, watch_s: float) -> list[Figure]:
    """Returns what a driver needs while so many packs lie in Slurm's queue and none runs."""
    with private_slurm() as slurm, tempfile.TemporaryDirectory() as folder:
        block = ("--partition", "high", "--nodes", "4", "--exclusive", "--output", "/dev/null", "--wrap", "sleep 3600")
        slurm.run("sbatch", *block)
        words = ["--cluster", "slurm", "--seeds", str(packs), "--models", "steady", "--json", "--single"]
        driver = subprocess.Popen(
            [sys.executable, str(TESTS / "drive.py"), *words, "--max-queued", str(packs)],
            env={**os.environ, "LOGLOG_ROOT": folder, "PYTHONPATH": str(TESTS)},
            stdout=subprocess.DEVNULL,
        )
        begun_s = time.monotonic()
        while int(slurm.run("squeue", "-h", "-r", "-t", "PD", "-o", "%i").count("\n")) < packs:
            if driver.poll() is not None:
                raise RuntimeError(f"the driver ended with code {driver.returncode}")
            time.sleep(2.0)
        queued_s = time.monotonic() - begun_s
        time.sleep(10.0)
        before_s, began_s = _cpu_s(driver.pid), time.monotonic()
        time.sleep(watch_s)
        share = (_cpu_s(driver.pid) - before_s) / (time.monotonic() - began_s)
        peak_mb = _peak_mb(driver.pid)
        driver.kill()
        driver.wait()
        slurm.cancel_all()
    return [
        Figure(name="queued_packs", value=packs, bar=10_000, unit="packs"),
        Figure(name="queued_in", value=queued_s, bar=None, unit="s until all were queued"),
        Figure(name="queued_driver_memory", value=peak_mb, bar=500.0, unit="MB at most"),
        Figure(name="queued_driver_core", value=100.0 * share, bar=5.0, unit="% of a core, with its squeue"),
    ]


def _cpu_s(pid: int) -> float:
    """Returns the processor time of a process and of its children that have ended [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1000.0


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 once everything asked for is measured and written down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=("local", "ray", "slurm", "queue"))
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--watch-s", type=float, default=60.0)
    args = parser.parse_args(argv)
    wanted = args.only or ["local", "ray", "slurm", "queue"]
    os.environ["PYTHONPATH"] = str(TESTS)
    figures: list[Figure] = []
    for name in wanted:
        print(f"{name} ...", flush=True)
        figures += {
            "local": lambda: local_figures(args.cells),
            "ray": lambda: ray_figures(args.cells),
            "slurm": lambda: slurm_figures(args.cells),
            "queue": lambda: queue_figures(args.queued, args.watch_s),
        }[name]()
    write_result("overhead", figures, command="make bench NAME=overhead")
    return 0


if __name__ == "__main__":
    sys.exit(main())
