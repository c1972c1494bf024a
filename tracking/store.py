"""Brings records into MLflow, in batches, as often as one likes: into runs.sqlite, a PostgreSQL database or a server.

What runs.sqlite holds is first read without MLflow; where nothing is new, MLflow is not even imported. The digest of a
record is the last thing written of its run, or is written with it in one transaction: a run without it is completed by
the next ingestion.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Mapping

from sweeps.errors import StudyError
from sweeps.record import RunRecord
from tracking.attempt_file import lock
from tracking.mlflow_settings import mlflow_settings
from tracking.paths import ProjectPaths
from tracking.remote_stores import LOCK_WAIT_S, brief, is_denied, open_postgresql, open_server
from tracking.run_form import digest, run_form
from tracking.run_store import (
    STORED_RUNS,
    OpenStore,
    StoredRuns,
    StoreUnavailableError,
    runs_by_trial,
    search_stored_runs,
    stored_run_words,
)
from tracking.run_writer import experiment_of, show_view, write_runs
from tracking.sqlite_store import open_sqlite, read_stored_runs
from tracking.tracking_uri import check_form, is_server, shown

INGEST_LOCK = ".ingest.lock"
_LOCK_POLL_S = 0.05


def ingest(paths: ProjectPaths, study: str, records: Iterable[RunRecord], *, tracking_uri: str | None = None) -> int:
    """Returns how many runs were written into the store, whose tables are made when missing; the rest was there.

    Args:
        paths: where runs.sqlite lies.
        study: the name of the MLflow experiment.
        records: with their curves; of two records of a trial the last counts.
        tracking_uri: of a server or a PostgreSQL database; None or '' for runs.sqlite.

    Raises:
        StudyError: the store, or the study's experiment in it, cannot be used.
        StoreUnavailableError: it cannot be written now; the same call may succeed later.
    """
    uri = tracking_uri or None
    wanted = {record.trial.id: record for record in records}
    with errors_told(paths, uri):
        if uri is not None:
            check_form(uri)
        if not wanted or (uri is None and _has_all(paths, study, wanted)):
            return 0
        with ingesting_alone(paths), mlflow_settings(), open_store(paths, uri) as store:
            experiment = experiment_of(store, study)
            show_view(store, str(experiment.experiment_id))
            if uri is None:
                stored = read_stored_runs(paths, study)
            else:
                stored = _stored_runs(store, study, str(experiment.experiment_id))
            unwritten = _unwritten(study, wanted, stored)
            write_runs(store, experiment, [run_form(study, record) for record in unwritten], stored)
    return len(unwritten)


def store_name(paths: ProjectPaths, tracking_uri: str | None) -> str:
    """Returns the store as messages name it, without a password."""
    return f"MLflow's store {shown(tracking_uri)}" if tracking_uri else f"MLflow's database {paths.runs_sqlite}"


def open_store(paths: ProjectPaths, uri: str | None) -> contextlib.AbstractContextManager[OpenStore]:
    """Opens the store that an address means; None is runs.sqlite."""
    if uri is None:
        return open_sqlite(paths)
    return open_server(uri) if is_server(uri) else open_postgresql(uri)


def _stored_runs(store: OpenStore, study: str, experiment_id: str) -> StoredRuns:
    if store.engine is None:
        return search_stored_runs(store.api, experiment_id)
    from sqlalchemy import text

    with store.engine.connect() as connection:
        return runs_by_trial(connection.execute(text(STORED_RUNS), stored_run_words(study)))


def _has_all(paths: ProjectPaths, study: str, wanted: Mapping[str, RunRecord]) -> bool:
    return paths.runs_sqlite.exists() and not _unwritten(study, wanted, read_stored_runs(paths, study))


def _unwritten(study: str, wanted: Mapping[str, RunRecord], stored: StoredRuns) -> list[RunRecord]:
    """Returns the records that do not have exactly one run, complete and as they are now."""
    return [
        record
        for trial_id, record in wanted.items()
        if [run.digest for run in stored.get(trial_id, ())] != [digest(study, record)]
    ]


@contextlib.contextmanager
def ingesting_alone(paths: ProjectPaths) -> Generator[None]:
    """Waits for any other ingester: MLflow's schema migration and our search for a trial's run bear no company."""
    paths.runs_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(paths.runs_dir / INGEST_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreUnavailableError("another process has been writing runs all the time") from None
                time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def errors_told(paths: ProjectPaths, uri: str | None) -> Generator[None]:
    """Turns what libraries raise into the two errors that are promised, without passwords."""
    try:
        yield
    except (StudyError, StoreUnavailableError):
        raise
    except Exception as error:
        if not _is_of_the_store(error):
            raise
        if uri is not None and is_server(uri) and is_denied(error):
            raise StudyError(
                f"{store_name(paths, uri)} does not let us in ({brief(error, uri)}); give a user that may write (type: "
                "export MLFLOW_TRACKING_USERNAME=... MLFLOW_TRACKING_PASSWORD=..., then the same command)"
            ) from None
        raise StoreUnavailableError(brief(error, uri)) from (None if uri else error)


def _is_of_the_store(error: Exception) -> bool:
    """Returns whether an error came from a store or from the way to it, not from a mistake of ours."""
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return isinstance(error, (OSError, sqlite3.Error)) or bool(modules & {"mlflow", "sqlalchemy"})
