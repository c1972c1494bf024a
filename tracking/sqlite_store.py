"""runs.sqlite as an MLflow store to write to: made once, opened for one ingestion, one file when it is closed."""

import contextlib
import sqlite3
from collections.abc import Callable, Generator
from typing import Any

from sweeps.errors import StudyError
from tracking.paths import ProjectPaths
from tracking.run_store import (
    STORED_RUNS,
    OpenStore,
    StoredRuns,
    StoreUnavailableError,
    runs_by_trial,
    stored_run_words,
)
from tracking.run_table import open_runs

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def read_stored_runs(paths: ProjectPaths, study: str) -> StoredRuns:
    """Returns the study's runs without MLflow, whose import takes seconds.

    Raises:
        StoreUnavailableError: another program keeps the database locked.
        StudyError: it cannot be read.
    """
    try:
        with open_runs(paths) as connection:
            return runs_by_trial(connection.execute(STORED_RUNS, stored_run_words(study)))
    except StudyError as error:
        cause = error.__cause__
        # The low byte: the others say which lock it was.
        if isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in _BUSY:
            raise StoreUnavailableError(f"{paths.runs_sqlite}: {cause}") from error
        raise


@contextlib.contextmanager
def open_sqlite(paths: ProjectPaths) -> Generator[OpenStore]:
    """Opens runs.sqlite, which is made when it is missing; nobody else may be making it.

    Raises:
        StudyError: MLflow does not open it, or its path has a question mark.
    """
    if "?" in str(paths.runs_sqlite):
        raise StudyError(
            f"{paths.runs_sqlite} cannot be MLflow's database: it takes what follows a question mark for an option; "
            "use a folder without one (type: LOGLOG_ROOT=/somewhere/else make sweep ...)"
        )
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make_store: Callable[[str, str], Any] = SqlAlchemyStore
    artifacts = paths.artifacts_dir.as_uri()
    if not paths.runs_sqlite.exists():
        _create_database(paths, make_store)
    uri = f"sqlite:///{paths.runs_sqlite}"
    try:
        store = make_store(uri, artifacts)
    except MlflowException as error:
        if error.error_code == "TEMPORARILY_UNAVAILABLE":
            raise
        raise StudyError(
            f"MLflow does not open {paths.runs_sqlite}: {error.message} (if it says so: mlflow db upgrade '{uri}')"
        ) from error
    try:
        yield OpenStore(api=store, engine=store.engine, artifacts_uri=artifacts, shown_uri=uri)
    finally:
        # The last connection to close takes the write-ahead log with it: one file remains.
        store.engine.dispose()


def _create_database(paths: ProjectPaths, make_store: Callable[[str, str], Any]) -> None:
    """Makes the database under another name first: a migration killed half-way can be neither used nor mended."""
    unfinished = paths.root / "runs.sqlite.unfinished"
    for suffix in ("", "-wal", "-shm", "-journal"):
        unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
    make_store(f"sqlite:///{unfinished}", paths.artifacts_dir.as_uri()).engine.dispose()
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        # Readers and the writer do not wait for each other; it is a property of the file.
        connection.execute("PRAGMA journal_mode = wal")
    unfinished.replace(paths.runs_sqlite)
