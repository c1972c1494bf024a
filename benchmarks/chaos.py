"""Two hundred faults over repeated sweeps on every back end; the records must equal those of an unbroken sweep.

The trainer is that of the tests: milliseconds a step, with real checkpoints and resumes, so that weeks of bad luck fit
into minutes (`make bench NAME=kills` does the same to real training, with kill -9 alone). Everything around it is real:
drivers, workers, Slurm's daemons, Ray's nodes, MLflow's database, and a disk that fills up.
"""

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "benchmarks"), str(CHECKOUT), str(CHECKOUT / "tests" / "launcher")]

from faults import BY_CLUSTER, STUDY, Target  # noqa: E402 -- found by the line above, however this file is called
from kills import Comparison, compare  # noqa: E402
from result_file import Figure, write_result  # noqa: E402

from tracking.paths import ProjectPaths  # noqa: E402
from tracking.sqlite_store import open_sqlite  # noqa: E402

DRIVE = CHECKOUT / "tests" / "launcher" / "drive.py"
MODELS, EPOCHS, SEEDS = ("steady", "other"), ("1", "2", "4"), 4
REPORT_S = 0.12
"""Between two reports of the trainer: a trial takes six of them."""
EARLIEST_S, LATEST_S = 0.3, 2.5
"""A fault comes so long after the last one."""
INGEST_EVERY_S = 1.0
"""Often, so that faults meet the database being written."""
STUCK_S = 420.0
"""A sweep that has not ended so long after its last fault is stuck."""
MAX_COMMANDS = 40
DISK_MB = 48


@dataclass
class Storm:
    """What became of all sweeps on one back end."""

    faults: Counter[str] = field(default_factory=Counter[str])
    sweeps: int = 0
    stuck: int = 0
    runs: int = 0
    lost: int = 0
    changed: int = 0
    duplicates: int = 0
    commands: int = 0

    def add(self, found: Comparison) -> None:
        """Counts one sweep."""
        self.sweeps += 1
        self.runs += found.runs
        self.lost += found.lost
        self.changed += found.changed
        self.duplicates += found.duplicates


def words(cluster: str, address: str | None = None) -> list[str]:
    """Returns the command of a sweep."""
    sweep = ["--models", *MODELS, "--epochs", *EPOCHS, "--seeds", str(SEEDS), "--json", "--cluster", cluster]
    sweep += ["--ingest-every", str(INGEST_EVERY_S)]
    return [sys.executable, str(DRIVE), *sweep, *(["--address", address] if address else [])]


def environment(paths: ProjectPaths, cluster: Any) -> dict[str, str]:
    """Returns what the driver and all it starts live in, the hour of a clock that was stepped back included."""
    found = {**os.environ, "LOGLOG_ROOT": str(paths.root), "FAKE_REPORT_S": str(REPORT_S)}
    found["PYTHONPATH"] = os.pathsep.join((str(beside(paths, "clock")), str(DRIVE.parent)))
    return found | (cluster.environment if cluster is not None else {})


def beside(paths: ProjectPaths, suffix: str) -> Path:
    """Returns a place beside the disk that will be full: for the drivers' log, and for their clock."""
    return paths.root.with_name(f"{paths.root.name}.{suffix}")


@contextlib.contextmanager
def folder_of_its_own() -> Generator[ProjectPaths]:
    """Yields a root on a small disk of its own, where this process may mount one; else a plain folder."""
    with tempfile.TemporaryDirectory(prefix="loglog-chaos-", ignore_cleanup_errors=True) as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder]
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        try:
            yield ProjectPaths(root=Path(folder))
        finally:
            if is_mounted:
                subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False)
            beside(ProjectPaths(root=Path(folder)), "log").unlink(missing_ok=True)
            shutil.rmtree(beside(ProjectPaths(root=Path(folder)), "clock"), ignore_errors=True)


def storm(
    cluster_name: str, *, faults: int, rng: random.Random, unbroken: ProjectPaths, cluster: Any, locked_s: float
) -> Storm:
    """Returns what became of as many sweeps as it takes to do so many faults to them."""
    result = Storm()
    while result.faults.total() < faults:
        with folder_of_its_own() as paths:
            prepare(paths, unbroken)
            wanted = min(faults - result.faults.total(), 12)
            is_done = _one_sweep(cluster_name, paths, wanted, result, rng, cluster, locked_s)
            result.stuck += not is_done
            result.add(compare(paths, unbroken, STUDY))
        print(f"  {cluster_name}: {result.faults.total()} faults, {result.sweeps} sweeps, {result}", flush=True)
    return result


def prepare(paths: ProjectPaths, unbroken: ProjectPaths) -> None:
    """Puts an empty database where it can be locked from the start, and says how slow the trainer is."""
    shutil.copy(unbroken.root / "empty" / "runs.sqlite", paths.runs_sqlite)
    paths.data_dir.mkdir()
    (paths.data_dir / "report_s.txt").write_text(str(REPORT_S))


def _one_sweep(
    name: str, paths: ProjectPaths, wanted: int, result: Storm, rng: random.Random, cluster: Any, locked_s: float
) -> bool:
    """Returns whether the sweep has ended well, after `wanted` faults at most."""
    done, kinds = 0, BY_CLUSTER[name]
    threads: list[Any] = []
    for _ in range(MAX_COMMANDS):
        address = getattr(cluster, "address", None)
        with beside(paths, "log").open("ab") as log:
            driver = subprocess.Popen(words(name, address), env=environment(paths, cluster), stdout=log, stderr=log)
        result.commands += 1
        target = Target(
            paths=paths,
            driver=driver,
            cluster=cluster,
            clock=beside(paths, "clock"),
            database_locked_s=locked_s,
        )
        while done < wanted:
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(rng.uniform(EARLIEST_S, LATEST_S))
                break
            # The rarest kind so far, if it finds something to break: every kind gets its turn.
            for kind in sorted(kinds, key=lambda kind: (result.faults[kind], rng.random())):
                if kinds[kind](target, rng):
                    result.faults[kind] += 1
                    done += 1
                    break
        threads += target.threads
        try:
            code = driver.wait(STUCK_S)
        except subprocess.TimeoutExpired:
            driver.kill()
            driver.wait()
            print(beside(paths, "log").read_text()[-3000:], flush=True)
            return False
        if code == 0 and not any(thread.is_alive() for thread in threads):
            return True
        for thread in threads:  # what is broken for a while is whole again before the command is typed again
            thread.join()
    print(beside(paths, "log").read_text()[-3000:], flush=True)
    return False


def run_unbroken(paths: ProjectPaths) -> None:
    """Runs the same sweep in one process, undisturbed, and makes an empty database; raises where that fails."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    (paths.root / "empty").mkdir()
    with open_sqlite(ProjectPaths(root=paths.root / "empty")):
        pass
    subprocess.run(words("inline"), env=environment(paths, None), stdout=subprocess.DEVNULL, check=True)


@contextlib.contextmanager
def cluster_of(name: str) -> Generator[Any]:
    """Yields the cluster that a back end needs; None where it needs none."""
    if name == "slurm":
        from tests.clusters.private_slurm import PrivateSlurm

        with PrivateSlurm(grace_s=5, requeue_delay_s=2) as slurm:
            yield slurm
    elif name == "ray":
        from tests.clusters.private_ray import PrivateRay

        with PrivateRay() as ray:
            yield ray
    else:
        yield None


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 once all faults are survived and written down, 1 where a record is lost, changed or doubled."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--local", type=int, default=90, help="faults on the local back end")
    parser.add_argument("--slurm", type=int, default=70, help="faults on Slurm")
    parser.add_argument("--ray", type=int, default=40, help="faults on Ray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database-locked-s", type=float, default=60.0)
    args = parser.parse_args(argv)
    names = [name for name in ("local", "slurm", "ray") if getattr(args, name)]

    def on(name: str) -> Storm:
        started_s = time.monotonic()
        with cluster_of(name) as cluster:
            result = storm(
                name,
                faults=getattr(args, name),
                rng=random.Random(f"{args.seed} {name}"),
                unbroken=unbroken,
                cluster=cluster,
                locked_s=args.database_locked_s,
            )
        print(f"{name}: {result} in {time.monotonic() - started_s:.0f} s", flush=True)
        return result

    with tempfile.TemporaryDirectory(prefix="loglog-unbroken-") as folder:
        unbroken = ProjectPaths(root=Path(folder))
        run_unbroken(unbroken)
        # At once, for most of the time is spent waiting for what is broken to be whole again.
        with ThreadPoolExecutor(len(names)) as pool:
            storms = dict(zip(names, pool.map(on, names), strict=True))
    figures = [
        Figure(name="faults", value=sum(s.faults.total() for s in storms.values()), bar=200, unit="faults"),
        *(
            Figure(name=what, value=sum(getattr(s, what) for s in storms.values()), bar=0, unit="runs")
            for what in ("lost", "changed", "duplicates")
        ),
        Figure(name="stuck", value=sum(s.stuck for s in storms.values()), bar=0, unit="sweeps"),
    ]
    for name, result in storms.items():
        figures += [
            Figure(name=f"{name}_{what}", value=getattr(result, what), bar=None, unit=what)
            for what in ("sweeps", "commands", "runs")
        ]
        figures += [
            Figure(name=f"{name}_{kind}", value=count, bar=None, unit="faults")
            for kind, count in sorted(result.faults.items())
        ]
    command = " ".join(f"--{name} {getattr(args, name)}" for name in ("local", "slurm", "ray"))
    write_result("chaos", figures, command=f"make bench NAME=chaos EXTRA='{command} --seed {args.seed}'")
    bad = any(s.lost or s.changed or s.duplicates or s.stuck for s in storms.values())
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
