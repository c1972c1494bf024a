"""What can be broken under a sweep, each as something a benchmark and a test can do to a running one."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.paths import ProjectPaths

STUDY = "small"
DATABASE_LOCKED_S = 60.0
DISK_FULL_S = 3.0


@dataclass
class Target:
    """A sweep that runs: its driver, its folder and its cluster, if it has one."""

    paths: ProjectPaths
    driver: "subprocess.Popen[bytes]"
    cluster: Any
    """A PrivateSlurm or PrivateRay; None on this machine's own processes."""
    clock: Path
    """A folder for the modules of all later commands, in which their clock may be wrong; beside the disk that fills."""
    database_locked_s: float = DATABASE_LOCKED_S
    threads: list[threading.Thread] = field(default_factory=list)
    """What mends itself after a while."""

    def trainers(self) -> list[int]:
        """Returns the processes that train a trial of the sweep now: those that hold a journal."""
        folder, found = str(self.paths.journal_dir(STUDY)), list[int]()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                links = [str(link.readlink()) for link in (process / "fd").iterdir()]
                if any(link.startswith(folder) and link.endswith(".jsonl") for link in links):
                    found.append(int(process.name))
        return [pid for pid in found if pid != self.driver.pid]


_CLOCK = """import time as _time
_right = _time.time
_time.time = lambda: _right() - 3600.0
"""
"""Shifted within Python, where all of our times come from: libfaketime breaks time.sleep of Python 3.11."""

Fault = Callable[[Target, random.Random], bool]
"""Does its worst; returns whether there was anything to do it to."""


def kill_driver(target: Target, rng: random.Random) -> bool:
    """kill -9 of the driver."""
    target.driver.kill()
    return True


def kill_worker(target: Target, rng: random.Random) -> bool:
    """kill -9 of a process that trains."""
    trainers = target.trainers()
    if not trainers:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(trainers), signal.SIGKILL)
    return True


def tear_journal(target: Target, rng: random.Random) -> bool:
    """kill -9 of a process that trains, and the last line of its journal is torn off in the middle."""
    trainers = target.trainers()
    if not trainers:
        return False
    pid = rng.choice(trainers)
    folder = str(target.paths.journal_dir(STUDY))
    journals: list[str] = []
    with contextlib.suppress(OSError):
        links = (str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir())
        journals = [link for link in links if link.startswith(folder) and link.endswith(".jsonl")]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for journal in journals:
        content = Path(journal).read_bytes()
        # What an attempt said last; an end that was synced to the disk is never lost by a torn write.
        last = content.rstrip(b"\n").rpartition(b"\n")[2]
        if content.count(b"\n") > 1 and last.startswith(b'{"event":"progress"'):
            os.truncate(journal, len(content) - 1 - rng.randrange(1, len(last)))
    return True


def fill_disk(target: Target, rng: random.Random) -> bool:
    """The disk under the run folder is full for some seconds."""
    filler = target.paths.root / "filler"
    if not os.path.ismount(target.paths.root):
        return False
    with contextlib.suppress(OSError):
        descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(descriptor, b"\0" * 65536):
                pass
        os.close(descriptor)

    def mend() -> None:
        time.sleep(DISK_FULL_S)
        filler.unlink(missing_ok=True)

    _later(target, mend)
    return True


def lock_database(target: Target, rng: random.Random) -> bool:
    """Somebody else holds runs.sqlite exclusively for a minute."""
    if not target.paths.runs_sqlite.exists():
        return False

    def hold() -> None:
        with contextlib.suppress(sqlite3.OperationalError):
            connection = sqlite3.connect(target.paths.runs_sqlite, timeout=5.0, isolation_level=None)
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(target.database_locked_s)
            connection.execute("ROLLBACK")
            connection.close()

    _later(target, hold)
    return True


def step_clock_back(target: Target, rng: random.Random) -> bool:
    """The driver ends, and its successor, with all it starts, lives an hour earlier."""
    target.clock.mkdir(exist_ok=True)
    (target.clock / "sitecustomize.py").write_text(_CLOCK)
    target.driver.kill()
    return True


def kill_slurmd(target: Target, rng: random.Random) -> bool:
    """A node's daemon and its jobs die; it comes back after some seconds."""
    node = rng.choice(("n1", "n2", "n3", "n4"))
    target.cluster.kill_slurmd(node)

    def mend() -> None:
        time.sleep(3.0)
        target.cluster.start_slurmd(node)

    _later(target, mend)
    return True


def restart_slurmctld(target: Target, rng: random.Random) -> bool:
    """The controller goes away and comes back."""
    target.cluster.stop_slurmctld(hard=rng.random() < 0.5)
    time.sleep(rng.uniform(0.5, 4.0))
    target.cluster.start_slurmctld()
    return True


def requeue_job(target: Target, rng: random.Random) -> bool:
    """`scontrol requeue` of a running job, which is told nothing."""
    jobs = _running_jobs(target)
    if not jobs:
        return False
    with contextlib.suppress(subprocess.CalledProcessError):
        target.cluster.scontrol("requeue", rng.choice(jobs))
    return True


def preempt(target: Target, rng: random.Random) -> bool:
    """A job of a higher partition takes two nodes for a moment."""
    rival = ("--partition", "high", "--nodes", "2", "--exclusive", "--output", "/dev/null", "--wrap", "sleep 1")
    with contextlib.suppress(subprocess.CalledProcessError):
        target.cluster.run("sbatch", *rival)
    return True


def remove_ray_node(target: Target, rng: random.Random) -> bool:
    """A node of Ray is gone; another one joins after some seconds."""
    target.cluster.kill_node(0)

    def mend() -> None:
        time.sleep(2.0)
        target.cluster.add_node()

    _later(target, mend)
    return True


def _running_jobs(target: Target) -> list[str]:
    with contextlib.suppress(subprocess.CalledProcessError):
        out: str = target.cluster.run("squeue", "-h", "-r", "-t", "R", "-o", "%F %K")
        pairs = (line.split() for line in out.splitlines())
        return [job if place == "N/A" else f"{job}_{place}" for job, place in pairs]
    return []


def _later(target: Target, what: Callable[[], None]) -> None:
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    target.threads.append(thread)


ANYWHERE: dict[str, Fault] = {
    "kill_driver": kill_driver,
    "kill_worker": kill_worker,
    "tear_journal": tear_journal,
    "fill_disk": fill_disk,
    "lock_database": lock_database,
    "step_clock_back": step_clock_back,
}
BY_CLUSTER: dict[str, dict[str, Fault]] = {
    "local": ANYWHERE,
    "slurm": {
        **ANYWHERE,
        "kill_slurmd": kill_slurmd,
        "restart_slurmctld": restart_slurmctld,
        "requeue_job": requeue_job,
        "preempt": preempt,
    },
    "ray": {**ANYWHERE, "remove_ray_node": remove_ray_node},
}
"""Which faults a back end may meet."""
