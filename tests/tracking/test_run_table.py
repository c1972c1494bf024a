import contextlib
import logging
import sqlite3
from typing import Any

import pytest

from sweeps.errors import StudyError
from tracking.paths import ProjectPaths
from tracking.run_table import is_marked, list_studies, read_records
from tracking.store import ingest


@pytest.mark.parametrize("read", [list_studies, lambda paths: read_records(paths, None)])
def test_a_missing_database_is_said(paths: ProjectPaths, read: Any) -> None:
    """Without runs.sqlite the reader is told what to type, and none is made."""
    with pytest.raises(StudyError, match=r"no runs have been recorded: .*runs.sqlite.* \(type: make sweep"):
        read(paths)
    assert not paths.runs_sqlite.exists()


@pytest.mark.parametrize("content", [b"", b"no database, but long enough to look at " * 50])
def test_what_is_no_database_is_said(paths: ProjectPaths, content: bytes) -> None:
    """A file that is none of MLflow's databases is named, with a way out."""
    paths.runs_sqlite.write_bytes(content)
    with pytest.raises(StudyError, match=r"runs\.sqlite.*move it away"):
        read_records(paths, None)
    assert paths.runs_sqlite.read_bytes() == content


def test_a_database_of_somebody_else_is_said(paths: ProjectPaths) -> None:
    """A SQLite database without MLflow's tables is not taken for an empty study."""
    with contextlib.closing(sqlite3.connect(paths.runs_sqlite)) as connection:
        connection.execute("CREATE TABLE runs (run_uuid TEXT)")
    with pytest.raises(StudyError, match="not one of MLflow's: it has no table experiments, latest_metrics"):
        read_records(paths, None)


def test_records_are_read_by_study(database: ProjectPaths, made: Any) -> None:
    """A study's records are its own; without a name all are read; an unknown study has none."""
    weird = 'It\'s "a" 100% / new_study'
    ingest(database, weird, [made.record(1)])
    assert read_records(database, weird, curves=True) == [made.record(1)]
    assert [record.trial.seed for record in read_records(database, None)] == [0, 1]
    assert read_records(database, "nobody's") == []
    assert list_studies(database) == ["another", weird]


def test_runs_of_other_programs_are_passed_over(
    database: ProjectPaths, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs without our tags are not read; a tag that does not fit costs that run and a warning."""
    before = read_records(database, None)
    with contextlib.closing(sqlite3.connect(database.runs_sqlite)) as connection:
        connection.execute("INSERT INTO runs SELECT * FROM (SELECT * FROM runs) WHERE 0")
        names = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
        for uuid, tags in (("theirs", {}), ("odd", {"loglog.trial": "{}", "loglog.record": "[]"})):
            chosen = ", ".join("?" if name == "run_uuid" else name for name in names)
            connection.execute(f"INSERT INTO runs SELECT {chosen} FROM runs LIMIT 1", (uuid,))
            rows = [(key, value, uuid) for key, value in tags.items()]
            connection.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows)
        connection.commit()
    with caplog.at_level(logging.WARNING):
        assert read_records(database, None) == before
    assert [message.split(":")[0] for message in caplog.messages] == ["run odd in runs.sqlite is passed over"]


def test_reading_changes_nothing(database: ProjectPaths) -> None:
    """Reading leaves the file byte for byte as it was."""
    before = database.runs_sqlite.read_bytes()
    assert read_records(database, None, curves=True)
    assert database.runs_sqlite.read_bytes() == before


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        (None, False),
        ("", False),
        ("false", False),
        ("No", False),
        ("0", False),
        ("true", True),
        ("true: it has no sampling certificate", False),
        ("learning rate?", True),
    ],
)
def test_a_taint_is_what_a_person_writes(tag: str | None, meant: bool) -> None:
    """Any reason that somebody gives a run's taint counts as one; what we wrote ourselves does not."""
    assert is_marked(tag) == meant
