import threading

import pytest

from launcher import ingestion
from launcher.ingestion import Ingestion
from sweeps.errors import StudyError
from tracking.paths import ProjectPaths


@pytest.fixture
def ingested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that ingested."""
    calls: list[str] = []

    def note(paths: ProjectPaths, study: str) -> int:
        calls.append(threading.current_thread().name)
        return 1

    monkeypatch.setattr(ingestion, "ingest_ended", note)
    return calls


def test_rest_is_ingested_at_the_end(paths: ProjectPaths, ingested: list[str]) -> None:
    """A sweep shorter than the interval is ingested once, when it is over."""
    with Ingestion(paths, "small") as running:
        running.settle("a")
        assert not ingested
    assert ingested == ["MainThread"]


def test_batches_on_the_way(paths: ProjectPaths, ingested: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """While the sweep runs a thread ingests what has settled, and does nothing when nothing has."""
    monkeypatch.setattr(ingestion, "INTERVAL_S", 0.001)
    done = threading.Event()
    noted = ingestion.ingest_ended
    monkeypatch.setattr(ingestion, "ingest_ended", lambda paths, study: (noted(paths, study), done.set())[0])
    with Ingestion(paths, "small") as running:
        running.settle("a")
        assert done.wait(30.0)
    assert ingested == ["ingestion", "MainThread"]


def test_interruption_begins_nothing_new(paths: ProjectPaths, ingested: list[str]) -> None:
    """Ctrl-C waits for no database: the journals hold everything, and the next command brings it in."""
    with pytest.raises(KeyboardInterrupt), Ingestion(paths, "small"):
        raise KeyboardInterrupt
    assert not ingested


def test_failure_is_shown_at_the_end(paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that cannot be written does not stop the training, and is not kept silent either."""
    monkeypatch.setattr(ingestion, "INTERVAL_S", 0.001)
    failed = threading.Event()

    def refuse(paths: ProjectPaths, study: str) -> int:
        failed.set()
        raise OSError("disk full")

    monkeypatch.setattr(ingestion, "ingest_ended", refuse)
    running = Ingestion(paths, "small").__enter__()
    running.settle("a")
    assert failed.wait(30.0)
    with pytest.raises(StudyError, match=r"disk full.*type the same command again"):
        running.__exit__(None, None, None)


def test_a_database_that_was_busy_for_a_moment_gets_everything(
    paths: ProjectPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failed ingestion is made up for by the next."""
    monkeypatch.setattr(ingestion, "INTERVAL_S", 0.001)
    calls: list[str] = []
    failed = threading.Event()

    def refuse_once(paths: ProjectPaths, study: str) -> int:
        calls.append(study)
        if len(calls) == 1:
            failed.set()
            raise OSError("database is locked")
        return 1

    monkeypatch.setattr(ingestion, "ingest_ended", refuse_once)
    with Ingestion(paths, "small") as running:
        running.settle("a")
        assert failed.wait(30.0)
    assert len(calls) >= 2
