import contextlib
import dataclasses
import pickle
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeps.errors import StudyError
from sweeps.record import RunRecord, Status
from tracking import run_writer
from tracking.paths import ProjectPaths
from tracking.run_table import read_records
from tracking.store import ingest

CHECKOUT = Path(__file__).resolve().parents[2]
EXPERIMENT = "SELECT experiment_id FROM experiments WHERE name = 'scale_model'"
TABLES = ("experiments", "experiment_tags", "runs", "tags", "params", "metrics", "latest_metrics")


def query(paths: ProjectPaths, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query that changes nothing."""
    with contextlib.closing(sqlite3.connect(f"{paths.runs_sqlite.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def change(paths: ProjectPaths, sql: str) -> None:
    """Does to the database what a person or a crash did."""
    with contextlib.closing(sqlite3.connect(paths.runs_sqlite)) as connection:
        connection.execute(sql)
        connection.commit()


def dump(paths: ProjectPaths) -> dict[str, list[tuple[Any, ...]]]:
    """All that MLflow has of runs, to the last digit."""
    return {table: sorted(query(paths, f"SELECT * FROM {table}"), key=repr) for table in TABLES}


def content(paths: ProjectPaths) -> dict[str, Counter[tuple[Any, ...]]]:
    """What active runs of STUDY hold, without the random name that MLflow gives each."""
    active = f"JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active' AND experiment_id IN ({EXPERIMENT})"
    name = "(SELECT value FROM tags AS t WHERE t.run_uuid = runs.run_uuid AND t.key = 'loglog.trial_id')"
    return {
        "runs": Counter(
            query(
                paths,
                f"SELECT {name}, name, status, start_time, end_time FROM runs "
                f"WHERE lifecycle_stage = 'active' AND experiment_id IN ({EXPERIMENT})",
            )
        ),
        "tags": Counter(query(paths, f"SELECT {name}, key, value FROM tags {active}")),
        "params": Counter(query(paths, f"SELECT {name}, key, value FROM params {active}")),
        "metrics": Counter(query(paths, f"SELECT {name}, key, metrics.value, timestamp, step FROM metrics {active}")),
        "latest": Counter(query(paths, f"SELECT {name}, key, l.value, step FROM latest_metrics AS l {active}")),
    }


def test_runs_are_there_for_mlflow(database: ProjectPaths, made: Any) -> None:
    """MLflow's own reader finds experiment, names, statuses, params, final values and curves."""
    assert ingest(database, made.study, [made.record(0), made.record(1, status=Status.DIVERGED)]) == 2
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    mlflow_store = SqlAlchemyStore(f"sqlite:///{database.runs_sqlite}", database.artifacts_dir.as_uri())
    experiment = mlflow_store.get_experiment_by_name(made.study)
    assert experiment.artifact_location == f"{database.artifacts_dir.as_uri()}/scale_model"
    runs = mlflow_store.search_runs([experiment.experiment_id], "params.model = 'f3' AND metrics.val_loss < 2", 1)
    (run,) = runs
    history = mlflow_store.get_metric_history(run.info.run_id, "val_loss")
    mlflow_store.engine.dispose()
    assert (run.info.run_name, run.info.status, run.info.start_time) == (
        "f3-e2-lr0.8-s0",
        "FINISHED",
        1_700_000_000_000,
    )
    assert run.data.metrics["val_loss"] == 1.5
    assert [metric.step for metric in sorted(history, key=lambda metric: metric.timestamp)] == [50, 100, 150, 200, 200]
    assert query(database, "SELECT status FROM runs WHERE name = 'f3-e2-lr0.8-s1'") == [("FAILED",)]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_ingested_is_read(database: ProjectPaths, made: Any, data: st.DataObject) -> None:
    """Record to MLflow to record changes nothing, whatever was in the database before."""
    batch = {record.trial.id: record for record in data.draw(st.lists(made.records(), min_size=1, max_size=3))}
    ingest(database, made.study, batch.values())
    found = {record.trial.id: record for record in read_records(database, made.study, curves=True)}
    for trial_id, record in batch.items():
        assert dataclasses.replace(found[trial_id], is_marked=record.is_marked) == record


def test_twice_is_once(database: ProjectPaths, made: Any) -> None:
    """The second ingestion writes nothing; a growing batch adds the new runs only."""
    batch = [made.record(seed, status=status) for seed, status in enumerate(Status)]
    assert ingest(database, made.study, batch) == len(batch)
    before = dump(database)
    assert ingest(database, made.study, batch) == 0
    assert ingest(database, made.study, []) == 0
    assert dump(database) == before
    assert ingest(database, made.study, [*batch, made.record(99)]) == 1
    after = dump(database)
    assert all(set(before[table]) <= set(after[table]) for table in TABLES if table != "experiments")
    assert len(after["runs"]) == len(before["runs"]) + 1


def cut_after(survived: int, patch: pytest.MonkeyPatch) -> None:
    """Lets so many of MLflow's transactions happen, of which a run needs five, and interrupts the next."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    left = iter(range(survived))

    def limited(plain: Any) -> Any:
        def transaction(self: Any, *words: Any) -> Any:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return plain(self, *words)

        return transaction

    for name in ("create_run", "update_run_info", "_log_params", "_log_metrics", "_set_tags"):
        patch.setattr(SqlAlchemyStore, name, limited(getattr(SqlAlchemyStore, name)))


@pytest.mark.parametrize("survived", range(6))
def test_an_interrupted_ingestion_is_completed(
    database: ProjectPaths, made: Any, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever an ingestion was cut, what was half written is not read, and the next one leaves what one alone had."""
    batch = [made.record(0), made.record(1)]
    with monkeypatch.context() as patch:
        patch.setattr(run_writer, "LONGEST_TEXT", 0)  # through MLflow's functions
        cut_after(survived, patch)
        with pytest.raises(KeyboardInterrupt):
            ingest(database, made.study, batch)
    assert read_records(database, made.study, curves=True) == batch[: survived // 5]
    assert ingest(database, made.study, batch) == 2 - survived // 5
    assert read_records(database, made.study, curves=True) == batch
    assert content(database) == untouched(database, made, batch)


@pytest.mark.parametrize("statements", range(10))
def test_an_interrupted_transaction_leaves_nothing(
    database: ProjectPaths, made: Any, statements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs that are written in bulk, those of a transaction that was cut are not there at all, whole ones are."""
    import sqlalchemy

    batch = [made.record(0), made.record(1)]
    monkeypatch.setattr(run_writer, "METRICS_PER_TRANSACTION", 1)  # each run in its own, with five statements
    left = iter(range(statements))

    def cut(connection: Any, cursor: Any, statement: str, *words: Any) -> None:
        if statement.startswith(tuple(f"INSERT INTO {table} " for table in TABLES[2:])) and next(left, None) is None:
            raise KeyboardInterrupt

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", cut)
    try:
        with pytest.raises(KeyboardInterrupt):
            ingest(database, made.study, batch)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", cut)
    assert query(database, f"SELECT count(*) FROM runs WHERE experiment_id IN ({EXPERIMENT})") == [(statements // 5,)]
    assert read_records(database, made.study, curves=True) == batch[: statements // 5]
    assert ingest(database, made.study, batch) == 2 - statements // 5
    assert content(database) == untouched(database, made, batch)


def test_in_bulk_is_as_through_mlflow(database: ProjectPaths, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's tables hold the same rows, whichever way runs were written; only the random names differ."""
    curve = tuple(made.progress(step) for step in range(1, 301))
    batch = [
        *(made.record(seed, status=status) for seed, status in enumerate(Status)),
        made.record(100, curve=curve, is_marked=True, budget_core_hours=None),
        made.record(101, curve=()),
        made.record(102, status=Status.KILLED, curve=(), outcome=None),
    ]
    monkeypatch.setattr(run_writer, "METRICS_PER_TRANSACTION", 100)
    assert ingest(database, made.study, batch) == len(batch)
    in_bulk, rows_in_bulk = content(database), run_rows(database)
    change(database, "UPDATE runs SET lifecycle_stage = 'deleted'")
    monkeypatch.setattr(run_writer, "LONGEST_TEXT", 0)
    assert ingest(database, made.study, batch) == len(batch)
    assert content(database) == in_bulk
    assert run_rows(database) == rows_in_bulk


def run_rows(paths: ProjectPaths) -> list[tuple[Any, ...]]:
    """Every column of active runs of STUDY and of their last values, the random name taken out."""
    columns = [name for _, name, *_ in query(paths, "PRAGMA table_info(runs)") if name != "run_uuid"]
    plain = [f"replace(artifact_uri, run_uuid, '-') AS {name}" if name == "artifact_uri" else name for name in columns]
    active = f"lifecycle_stage = 'active' AND experiment_id IN ({EXPERIMENT})"
    latest = query(
        paths,
        f"SELECT name, key, l.value, l.timestamp, l.step, l.is_nan FROM latest_metrics AS l JOIN runs "
        f"USING (run_uuid) WHERE {active}",
    )
    return sorted([*query(paths, f"SELECT {', '.join(plain)} FROM runs WHERE {active}"), *latest], key=repr)


@pytest.mark.parametrize("kind", ["a tag", "a param"])
def test_a_text_that_mlflow_would_cut_is_cut(database: ProjectPaths, made: Any, kind: str) -> None:
    """Texts beyond MLflow's limits go through MLflow's own functions, which cut them."""
    record: RunRecord = made.record()
    if kind == "a tag":
        record = dataclasses.replace(record, device="x" * 9000)
    else:
        data = dataclasses.replace(record.trial.data, name="x" * 6100)
        record = dataclasses.replace(record, trial=dataclasses.replace(record.trial, data=data))
    assert ingest(database, made.study, [record]) == 1
    longest = "SELECT max(length(value)) FROM tags WHERE key = 'loglog.device'"
    if kind == "a param":
        longest = "SELECT max(length(value)) FROM params WHERE key = 'data'"
    assert query(database, longest)[0][0] in (6000, 8000)


def untouched(database: ProjectPaths, made: Any, batch: list[RunRecord]) -> dict[str, Counter[tuple[Any, ...]]]:
    """The content of a database that got this batch at once."""
    change(database, "UPDATE runs SET lifecycle_stage = 'deleted'")
    assert ingest(database, made.study, batch) == len(batch)
    return content(database)


def test_a_run_that_goes_on_stays_the_same_run(database: ProjectPaths, made: Any) -> None:
    """A run that was running and has finished is the same run in MLflow, with what was missing added."""
    whole: RunRecord = made.record()
    ingest(database, made.study, [made.record(status=Status.RUNNING, curve=whole.curve[:3])])
    before = query(database, f"SELECT run_uuid FROM runs WHERE experiment_id IN ({EXPERIMENT})")
    assert ingest(database, made.study, [whole]) == 1
    assert query(database, f"SELECT run_uuid FROM runs WHERE experiment_id IN ({EXPERIMENT})") == before
    assert read_records(database, made.study, curves=True) == [whole]
    assert content(database) == untouched(database, made, [whole])


def test_a_repeated_attempt_leaves_no_stale_point(database: ProjectPaths, made: Any) -> None:
    """Points that a later attempt dropped are nowhere among active runs, and there is still one run of the trial."""
    whole: RunRecord = made.record(attempts=2)
    stale = made.record(status=Status.FAILED, curve=(made.progress(30), made.progress(60)))
    ingest(database, made.study, [stale])
    assert ingest(database, made.study, [whole]) == 1
    assert read_records(database, made.study, curves=True) == [whole]
    assert content(database) == untouched(database, made, [whole])


def test_a_run_that_runs_again_has_no_end(database: ProjectPaths, made: Any) -> None:
    """A failed run that is tried again is running, without the end of the attempt before."""
    failed: RunRecord = made.record(status=Status.FAILED)
    ingest(database, made.study, [failed])
    ingest(database, made.study, [dataclasses.replace(failed, status=Status.RUNNING, attempts=2, ended_unix_s=None)])
    ((status, end),) = query(
        database,
        f"SELECT status, end_time FROM runs WHERE lifecycle_stage = 'active' AND experiment_id IN ({EXPERIMENT})",
    )
    assert (status, end) == ("RUNNING", None)


def test_a_taint_given_in_mlflow_stays(database: ProjectPaths, made: Any) -> None:
    """A run that a person marked as tainted stays so, through an update and through a replacement."""
    ingest(database, made.study, [made.record(status=Status.KILLED)])
    change(database, "UPDATE tags SET value = 'wrong data' WHERE key = 'loglog.tainted'")
    for record in (made.record(), made.record(attempts=2, curve=(made.progress(10),))):
        assert ingest(database, made.study, [record]) == 1
        assert read_records(database, made.study, curves=True) == [dataclasses.replace(record, is_marked=True)]


def test_what_was_deleted_in_mlflow_comes_back(database: ProjectPaths, made: Any) -> None:
    """A deleted run is written again; one that was restored beside its successor is deleted again."""
    ingest(database, made.study, [made.record()])
    change(database, f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE experiment_id IN ({EXPERIMENT})")
    assert read_records(database, made.study) == []
    assert ingest(database, made.study, [made.record()]) == 1
    change(database, f"UPDATE runs SET lifecycle_stage = 'active' WHERE experiment_id IN ({EXPERIMENT})")
    assert len(read_records(database, made.study)) == 2
    assert ingest(database, made.study, [made.record()]) == 1
    assert read_records(database, made.study, curves=True) == [made.record()]


def test_a_deleted_experiment_is_said(database: ProjectPaths, made: Any) -> None:
    """MLflow keeps the name of a deleted experiment, so the way back is told."""
    ingest(database, made.study, [made.record()])
    change(database, "UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'scale_model'")
    with pytest.raises(StudyError, match=r"'scale_model' was deleted in MLflow.*experiments restore -x 2"):
        ingest(database, made.study, [made.record()])


def test_an_older_schema_is_said(database: ProjectPaths, made: Any) -> None:
    """A database of another version of MLflow is named with the command that brings it up to date."""
    change(database, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(StudyError, match=r"out-of-date.*mlflow db upgrade 'sqlite:///.*runs\.sqlite'"):
        ingest(database, made.study, [made.record()])


def test_a_foreign_database_is_refused(paths: ProjectPaths, made: Any) -> None:
    """MLflow's tables are not put beside somebody else's."""
    paths.runs_sqlite.write_text("somebody's notes\n")
    with pytest.raises(StudyError, match="move it away"):
        ingest(paths, made.study, [made.record()])
    assert paths.runs_sqlite.read_text() == "somebody's notes\n"


def test_a_question_mark_in_the_path_is_said(paths: ProjectPaths, made: Any) -> None:
    """MLflow would make its database under the name before the question mark."""
    odd = ProjectPaths(root=paths.root / "why?")
    with pytest.raises(StudyError, match="question mark"):
        ingest(odd, made.study, [made.record()])
    assert not (paths.root / "why").exists()


@pytest.mark.parametrize("points", [300, 200])
def test_long_curves_are_written_in_batches(database: ProjectPaths, made: Any, points: int) -> None:
    """More metrics than MLflow takes at once are written all the same: 200 points of a curve, the last among them."""
    record = made.record(curve=tuple(made.progress(step, val_loss=2.0) for step in range(1, points + 1)))
    ingest(database, made.study, [record])
    (found,) = read_records(database, made.study, curves=True)
    ((logged,),) = query(database, "SELECT count(*) FROM metrics JOIN runs USING (run_uuid) WHERE experiment_id = 2")
    assert logged > run_writer.METRICS_PER_BATCH / (2 if points > 200 else 1)
    assert set(found.curve) <= set(record.curve)
    assert (len(found.curve) <= 200, found.curve[-1]) == (True, record.curve[-1])


FIRST_USE = """
import pickle, sys
from tracking.store import ingest
paths, study, records = pickle.load(sys.stdin.buffer)
print(ingest(paths, study, records), 'mlflow' in sys.modules)
"""


def in_a_process(paths: ProjectPaths, study: str, records: list[RunRecord]) -> "subprocess.Popen[bytes]":
    """An ingestion in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", FIRST_USE],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((paths, study, records)))
    process.stdin.close()
    process.stdin = None
    return process


def test_two_processes_meet_a_fresh_folder(paths: ProjectPaths, made: Any) -> None:
    """Both make the database and write the same runs, at once: it is made once, each run is there once, in silence."""
    batch = [made.record(seed) for seed in range(3)]
    (paths.root / "runs.sqlite.unfinished").write_bytes(b"left by a process that was killed while it made one")
    processes = [in_a_process(paths, made.study, batch) for _ in range(2)]
    results = [(*process.communicate(), process.returncode) for process in processes]
    assert sorted(out.split()[0] for out, _, _ in results) == [b"0", b"3"]
    assert [(err, code) for _, err, code in results] == [(b"", 0)] * 2
    assert read_records(paths, made.study, curves=True) == batch
    assert query(paths, "PRAGMA journal_mode") == [("wal",)]
    assert not list(paths.root.glob("*.unfinished*"))


def test_nothing_new_needs_no_mlflow(database: ProjectPaths, made: Any) -> None:
    """Where every record is there already, MLflow is not imported: it takes seconds."""
    batch = [made.record(seed) for seed in range(3)]
    ingest(database, made.study, batch)
    out, err = in_a_process(database, made.study, batch).communicate()
    assert (out.split(), err) == ([b"0", b"False"], b"")
