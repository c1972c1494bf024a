"""Kills drivers and workers of a sweep twenty times with kill -9; its records must equal those of an unbroken sweep."""

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from result_file import Figure, write_result

from sweeps.record import RunRecord
from tracking.journal import read_journals
from tracking.paths import ProjectPaths
from tracking.run_table import read_records

STUDY = "scale_model"
COMMAND = (sys.executable, "-m", "launcher", "action=sweep", f"study={STUDY}", "format=json")
EARLIEST_S, LATEST_S = 0.5, 12.0
"""A kill comes at a random moment between these after the last one: during imports, training and ingestion alike."""
MORE_COMMANDS = 5
"""After the last kill the command must end well within so many tries: a trial may be left to the next one."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A killed sweep held against an unbroken one of the same plan."""

    runs: int
    lost: int
    """Trials of the unbroken sweep without a settled record."""
    changed: int
    """Trials whose losses or steps are not the same to the last bit."""
    duplicates: int
    """Trials trained to their end more than once, or with more than one run in runs.sqlite."""


def run_unbroken(command: Sequence[str], root: Path) -> float:
    """Returns how long the sweep takes undisturbed [s]; raises CalledProcessError where it fails."""
    started = time.monotonic()
    subprocess.run(command, env=environment(root), stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def run_under_fire(command: Sequence[str], root: Path, *, kills: int, latest_s: float, rng: random.Random) -> list[str]:
    """Returns whom each kill met, driver or worker, once the same command, typed again and again, has ended well."""
    victims: list[str] = []
    code = None
    for _ in range(kills + MORE_COMMANDS):
        driver = subprocess.Popen(command, env=environment(root), stdout=subprocess.DEVNULL)
        while len(victims) < kills:
            try:
                driver.wait(rng.uniform(EARLIEST_S, latest_s))
                break
            except subprocess.TimeoutExpired:
                victims.append(_kill_one(driver, rng))
                if victims[-1] == "driver":
                    break
        code = driver.wait()
        if code == 0 and len(victims) >= kills:
            return victims
        if code == 0:
            raise RuntimeError(f"the sweep ended after {len(victims)} of {kills} kills; give it a larger budget")
    raise RuntimeError(f"the sweep does not end well: exit code {code} after {len(victims)} kills")


def _kill_one(driver: "subprocess.Popen[bytes]", rng: random.Random) -> str:
    """Kills the driver or, as often, one of its workers if it has any; returns which."""
    workers = child_pids(driver.pid)
    if workers and rng.random() < 0.5:
        try:
            os.kill(rng.choice(workers), signal.SIGKILL)
            return "worker"
        except ProcessLookupError:
            pass
    driver.kill()
    return "driver"


def child_pids(pid: int) -> list[int]:
    """Returns the children of a process."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in listed.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def compare(killed: ProjectPaths, unbroken: ProjectPaths, study: str) -> Comparison:
    """Returns how journals and runs.sqlite of the killed sweep differ from the journals of the unbroken one."""
    expected = _results(read_journals(unbroken, study))
    told = _results(read_journals(killed, study))
    stored = _results(read_records(killed, study)) if killed.runs_sqlite.exists() else {}
    found = [*told.items(), *stored.items()]
    changed = {trial_id for trial_id, result in found if expected.get(trial_id) != result}
    lost = expected.keys() - (told.keys() & stored.keys())
    repeated = [*ends_by_trial(killed, study).values(), *runs_by_trial(killed).values()]
    return Comparison(
        runs=len(expected), lost=len(lost), changed=len(changed), duplicates=sum(count > 1 for count in repeated)
    )


def _results(records: Sequence[RunRecord]) -> dict[str, tuple[object, ...]]:
    return {
        record.trial.id: (
            record.status,
            *(getattr(record.outcome, name) for name in ("steps", "val_loss", "selection_loss", "train_loss")),
        )
        for record in records
        if record.is_settled
    }


def ends_by_trial(paths: ProjectPaths, study: str) -> Counter[str]:
    """Returns how often each trial was trained to a settled end, counted in the raw journals."""
    counts: Counter[str] = Counter()
    for path in paths.journal_dir(study).glob("*.jsonl"):
        for line in path.read_text().splitlines():
            if line.startswith('{"event":"ended"') and json.loads(line)["status"] in ("finished", "diverged"):
                counts[path.name.split(".")[0]] += 1
    return counts


def runs_by_trial(paths: ProjectPaths) -> Counter[str]:
    """Returns how many runs each trial has in runs.sqlite; those that MLflow counts as deleted are left out."""
    query = (
        "SELECT tags.value FROM tags JOIN runs USING (run_uuid) "
        "WHERE tags.key = 'loglog.trial_id' AND runs.lifecycle_stage = 'active'"
    )
    with closing(sqlite3.connect(paths.runs_sqlite)) as connection:
        return Counter(trial_id for (trial_id,) in connection.execute(query))


def environment(root: Path) -> dict[str, str]:
    """Returns the environment of a sweep whose records lie under `root`."""
    return {**os.environ, "LOGLOG_ROOT": str(root)}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 where the killed sweep equals the unbroken one, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--budget", default="2k", help="of the scale model; it must last longer than the kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    args = parser.parse_args(argv)
    command = (*COMMAND, f"budget={args.budget}")
    with tempfile.TemporaryDirectory(prefix="loglog-kills-") as folder:
        unbroken, killed = (ProjectPaths(root=Path(folder) / name) for name in ("unbroken", "killed"))
        print(f"unbroken sweep of {STUDY} to {args.budget} ...", flush=True)
        unbroken_s = run_unbroken(command, unbroken.root)
        # The same programs: compiling them again after each kill would leave no time for training.
        shutil.copytree(unbroken.compile_cache, killed.compile_cache, dirs_exist_ok=True)
        print(f"the same with {args.kills} kills ...", flush=True)
        started = time.monotonic()
        victims = run_under_fire(
            command, killed.root, kills=args.kills, latest_s=LATEST_S, rng=random.Random(args.seed)
        )
        killed_s = time.monotonic() - started
        result = compare(killed, unbroken, STUDY)
        attempts = sum(record.attempts for record in read_journals(killed, STUDY))
    print("kills: " + ", ".join(f"{len(list(group))} {name}" for name, group in itertools.groupby(victims)))
    write_result(
        "kills",
        [
            Figure(name="kills", value=len(victims), bar=args.kills, unit="kills"),
            Figure(name="kills_of_drivers", value=victims.count("driver"), bar=None, unit="kills"),
            Figure(name="kills_of_workers", value=victims.count("worker"), bar=None, unit="kills"),
            Figure(name="runs", value=result.runs, bar=None, unit="runs"),
            Figure(name="attempts", value=attempts, bar=None, unit="attempts"),
            Figure(name="lost", value=result.lost, bar=0, unit="runs"),
            Figure(name="changed", value=result.changed, bar=0, unit="runs"),
            Figure(name="duplicates", value=result.duplicates, bar=0, unit="runs"),
            Figure(name="unbroken_wall", value=unbroken_s, bar=None, unit="s"),
            Figure(name="killed_wall", value=killed_s, bar=None, unit="s"),
        ],
        command=f"make bench NAME=kills EXTRA='--kills {args.kills} --budget {args.budget} --seed {args.seed}'",
    )
    return 0 if not (result.lost or result.changed or result.duplicates) else 1


if __name__ == "__main__":
    sys.exit(main())
