import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from launcher.contract.backend import Task
from launcher.drive import ingestion
from launcher.drive.ingestion import Ingestion, ingest_ended
from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress, Status
from tracking import run_writer
from tracking.journal import start_attempt
from tracking.paths import ProjectPaths
from tracking.run_store import StoreUnavailableError
from tracking.run_table import read_records

URI = "postgresql://me:hush@h/d"
Tried = list[tuple[str, bool, str | None]]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Tried:
    """What was ingested: by which thread, whether it was the last time, where to."""
    calls: Tried = []

    def note(paths: ProjectPaths, study: str, tracking_uri: str | None, *, has_finished: bool) -> int:
        calls.append((threading.current_thread().name, has_finished, tracking_uri))
        return 1

    monkeypatch.setattr(ingestion, "_ingest", note)
    return calls


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., threading.Event]:
    """Lets so many ingestions fail, with waits of a hundredth; returns what says that the first one did."""
    monkeypatch.setattr(ingestion, "FIRST_PAUSE_S", 0.01)

    def install(error: Exception, *, times: int) -> threading.Event:
        left, plain, failed = iter(range(times)), ingestion._ingest, threading.Event()

        def refuse(*words: Any, has_finished: bool) -> int:
            if next(left, None) is not None:
                failed.set()
                raise error
            return plain(*words, has_finished=has_finished)

        monkeypatch.setattr(ingestion, "_ingest", refuse)
        return failed

    return install


def test_rest_is_ingested_at_the_end(paths: ProjectPaths, tried: Tried) -> None:
    """A sweep shorter than the interval is ingested once, when it is over."""
    with Ingestion(paths, "small", tracking_uri=URI) as running:
        running.settle("a")
        assert not tried
    assert tried == [("MainThread", True, URI)]


def test_batches_on_the_way(paths: ProjectPaths, tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the sweep runs a thread ingests what has settled, and does nothing when nothing has."""
    monkeypatch.setattr(ingestion, "INTERVAL_S", 0.001)
    with Ingestion(paths, "small") as running:
        running.settle("a")
        while not tried:
            time.sleep(0.001)
        time.sleep(0.05)
    assert tried == [("ingestion", False, None), ("MainThread", True, None)]


def test_interruption_begins_nothing_new(paths: ProjectPaths, tried: Tried) -> None:
    """Ctrl-C waits for no database: the journals hold everything, and the next command brings it in."""
    with pytest.raises(KeyboardInterrupt), Ingestion(paths, "small"):
        raise KeyboardInterrupt
    assert not tried


def test_a_store_that_is_away_for_a_moment_gets_everything(
    paths: ProjectPaths,
    tried: Tried,
    fail: Callable[..., threading.Event],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What failed on the way is tried again by itself, in silence, without news of another run."""
    monkeypatch.setattr(ingestion, "INTERVAL_S", 0.001)
    failed = fail(StoreUnavailableError("database is locked"), times=2)
    with Ingestion(paths, "small") as running:
        running.settle("a")
        assert failed.wait(30.0)
        while not tried:
            time.sleep(0.001)
    assert tried[0] == ("ingestion", False, None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [StoreUnavailableError("database is locked"), OSError("disk full")])
def test_the_last_ingestion_waits_aloud(
    paths: ProjectPaths,
    tried: Tried,
    fail: Callable[..., threading.Event],
    error: Exception,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says once what it waits for, and goes on when that is back."""
    fail(error, times=3)
    assert ingest_ended(paths, "small", tracking_uri=URI) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"waiting for MLflow's store postgresql://***@h/d, at most 180 s ({error}); every run is in")
    assert err.count("\n") == 1


def test_patience_ends(
    paths: ProjectPaths, tried: Tried, fail: Callable[..., threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After PATIENCE_S it ends with one message: where the runs are and what to type."""
    monkeypatch.setattr(ingestion, "PATIENCE_S", 0.2)
    fail(StoreUnavailableError("Connection refused"), times=1000)
    said: list[str] = []
    began_s = time.monotonic()
    with (
        pytest.raises(StudyError, match=r"Connection refused.*in its journal.*type the same command again") as refused,
        Ingestion(paths, "small", tracking_uri=URI, say=said.append) as running,
    ):
        running.settle("a")
    assert time.monotonic() - began_s < 5
    assert len(said) == 1
    assert "hush" not in str(refused.value) + said[0]


@pytest.mark.parametrize("error", [StudyError("deleted in MLflow"), ZeroDivisionError("a mistake of ours")])
def test_what_no_waiting_mends_is_said_at_once(
    paths: ProjectPaths, tried: Tried, fail: Callable[..., threading.Event], error: Exception
) -> None:
    """Patience is for stores that come back."""
    fail(error, times=1000)
    said: list[str] = []
    with pytest.raises(StudyError, match=str(error)):
        ingest_ended(paths, "small", say=said.append)
    assert not said


def test_what_stopped_the_sweep_is_not_hidden(
    paths: ProjectPaths, tried: Tried, fail: Callable[..., threading.Event]
) -> None:
    """Where the sweep failed and then the store, the sweep's error is raised and the store's is said."""
    fail(StudyError("deleted in MLflow"), times=1000)
    said: list[str] = []
    with pytest.raises(RuntimeError, match="no worker starts"), Ingestion(paths, "small", say=said.append):
        raise RuntimeError("no worker starts")
    assert said == ["deleted in MLflow"]


def journal(paths: ProjectPaths, task: Task, status: Status | None) -> Any:
    """The journal of an attempt that ended so, or of one that goes on."""
    cost, trial = task.cost, task.trial
    opened = start_attempt(paths, "small", trial, cost=cost, budget_core_hours=1.0, code_version="test", device="cpu")
    opened.progress(Progress(step=1, images=8, train_loss=2.0, val_loss=None, wall_s=0.1))
    if status is None:
        return opened
    if status is not Status.KILLED:
        loss = 1.0 if status is Status.FINISHED else None
        outcome = Outcome(
            status=status, steps=2, val_loss=loss, selection_loss=loss, train_loss=loss, wall_s=0.2, compile_s=0.0
        )
        opened.end(outcome)
    opened.close()
    return opened


def statuses(paths: ProjectPaths) -> dict[int, str]:
    """What MLflow says of each seed's active runs."""
    query = (
        "SELECT params.value, status FROM runs JOIN params USING (run_uuid) "
        "WHERE key = 'seed' AND lifecycle_stage = 'active'"
    )
    with closing(sqlite3.connect(paths.runs_sqlite)) as connection:
        rows = connection.execute(query).fetchall()
    assert len({seed for seed, _ in rows}) == len(rows)
    return {int(seed): status for seed, status in rows}


def test_killed_runs_are_told_at_the_end(paths: ProjectPaths, make_tasks: Callable[..., tuple[Task, ...]]) -> None:
    """On the way a killed run waits for its next attempt; at the end it is killed in MLflow, and no run is running."""
    ends = (Status.FINISHED, Status.DIVERGED, Status.FAILED, Status.KILLED, Status.STOPPED, Status.OUT_OF_MEMORY, None)
    tasks = make_tasks(seeds=len(ends))
    with_journals = [journal(paths, task, status) for task, status in zip(tasks, ends, strict=True)]
    ended = {0: "FINISHED", 1: "FAILED", 2: "FAILED", 4: "KILLED", 5: "FAILED"}
    assert ingestion._ingest(paths, "small", None, has_finished=False) == 5
    assert statuses(paths) == ended
    assert ingest_ended(paths, "small") == 1
    assert statuses(paths) == {**ended, 3: "KILLED"}
    with_journals[-1].close()
    assert ingest_ended(paths, "small") == 1
    assert statuses(paths) == {**ended, 3: "KILLED", 6: "KILLED"}
    journal(paths, tasks[3], Status.FINISHED)
    assert ingest_ended(paths, "small") == 1
    assert statuses(paths) == {**ended, 3: "FINISHED", 6: "KILLED"}
    assert ingest_ended(paths, "small") == 0


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_locked_database_is_waited_for(
    paths: ProjectPaths,
    make_tasks: Callable[..., tuple[Task, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    """Another program writes into runs.sqlite for a while: that is said in a line, without tracebacks of libraries."""
    monkeypatch.setattr(run_writer, "BUSY_TIMEOUT_S", 0.2)
    first, second = make_tasks(seeds=2)
    journal(paths, first, Status.FINISHED)
    assert ingest_ended(paths, "small") == 1
    with closing(sqlite3.connect(paths.runs_sqlite)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    journal(paths, second, Status.FINISHED)
    locked, said = threading.Event(), list[str]()

    def keep_locked() -> None:
        with closing(sqlite3.connect(paths.runs_sqlite, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            locked.set()
            time.sleep(2.0)
            connection.execute("ROLLBACK")

    other = threading.Thread(target=keep_locked)
    other.start()
    assert locked.wait(30.0)
    assert ingest_ended(paths, "small", say=said.append) == 1
    other.join()
    assert len(read_records(paths, "small")) == 2
    assert len(said) == 1 and "database is locked" in said[0]
    assert capfd.readouterr() == ("", "")
