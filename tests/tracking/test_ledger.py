import dataclasses
from typing import Any

import pytest

from sweeps.errors import StudyError
from sweeps.record import RunRecord, Status
from tracking.journal import read_journals
from tracking.ledger import load_records, more_advanced
from tracking.paths import ProjectPaths
from tracking.store import ingest

LESS_AND_MORE = {
    "settled before unsettled": ({"status": Status.KILLED, "attempts": 2}, {}),
    "more attempts": ({"status": Status.FAILED}, {"status": Status.KILLED, "attempts": 2}),
    "more steps": ({"status": Status.RUNNING, "curve": ()}, {"status": Status.RUNNING}),
    "later end": ({}, {"ended_unix_s": 1.8e9}),
}


@pytest.mark.parametrize("case", LESS_AND_MORE)
def test_the_more_advanced_record_wins(made: Any, case: str) -> None:
    """Of two records of a trial the one that knows more is taken, in whichever order they are found."""
    less, more = (made.record(**changes) for changes in LESS_AND_MORE[case])
    assert more_advanced(less, more) == more_advanced(more, less) == more


def test_a_taint_stays(made: Any) -> None:
    """Whoever found a run tainted, it is."""
    less: RunRecord = made.record(status=Status.KILLED, is_marked=True)
    more: RunRecord = made.record()
    assert more_advanced(less, more) == more_advanced(more, less) == dataclasses.replace(more, is_marked=True)


def test_nothing_is_known_of_a_new_study(paths: ProjectPaths, made: Any) -> None:
    """Before the first run there are no records, and that is no error."""
    assert load_records(paths, made.study) == []


def test_a_foreign_file_is_refused(paths: ProjectPaths, made: Any) -> None:
    """A runs.sqlite that is none is not passed over in silence: runs would be trained again."""
    paths.runs_sqlite.write_text("not a database, whatever its name says\n")
    with pytest.raises(StudyError, match="cannot be read"):
        load_records(paths, made.study)


def test_the_ledger_is_the_union(database: ProjectPaths, made: Any) -> None:
    """Runs of the database and of the journals are there once each, oldest first."""
    ingest(database, made.study, [made.record(1), made.record(2, status=Status.KILLED)])
    for seed in (2, 3):
        with made.start(database, seed=seed) as journal:
            journal.progress(made.progress(25))
            journal.end(made.outcome())
    found = load_records(database, made.study, curves=True)
    two, three = read_journals(database, made.study)
    assert found == [made.record(1), two, three]
    assert [len(record.curve) for record in load_records(database, made.study)] == [0, 0, 0]
