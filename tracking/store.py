"""The one file that talks to MLflow: brings records into runs.sqlite, in batches, as often as one likes.

What the database holds is first read without MLflow; where nothing is new, MLflow is not even imported. The digest of a
record is the last thing written of its run: a run without it is completed by the next ingestion. MLflow cannot take a
logged number back, so a run that holds one that its record no longer has (an attempt was repeated) is deleted, in
MLflow's sense, and written anew.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.errors import StudyError
from sweeps.record import RunRecord
from tracking.attempt_file import lock
from tracking.paths import ProjectPaths, folder_name
from tracking.run_form import MetricPoint, RunForm, digest, run_form
from tracking.run_table import DIGEST_TAG, TAINTED_TAG, TRIAL_ID_TAG, is_tainted, open_runs

METRICS_PER_BATCH = 1000
"""What MLflow takes at once (mlflow.utils.validation); params and tags of a run are far below their limit of 100."""
INGEST_LOCK = ".ingest.lock"

_STORED_RUNS = """
    SELECT id.value, runs.run_uuid, runs.start_time, runs.end_time, digest.value, tainted.value
    FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    JOIN tags AS id ON id.run_uuid = runs.run_uuid AND id.key = :trial_id
    LEFT JOIN tags AS digest ON digest.run_uuid = runs.run_uuid AND digest.key = :digest
    LEFT JOIN tags AS tainted ON tainted.run_uuid = runs.run_uuid AND tainted.key = :tainted
    WHERE experiments.name = :study AND experiments.lifecycle_stage = 'active'
    ORDER BY runs.run_uuid
"""
_STORED_METRICS = "SELECT key, value, timestamp, step FROM metrics WHERE run_uuid = ? AND NOT is_nan"


class RunStore(Protocol):
    """What is used of MLflow's store, most of which it leaves without types."""

    engine: Any

    def get_experiment_by_name(self, experiment_name: str) -> Any | None:
        """Returns an experiment, deleted ones too."""
        ...

    def create_experiment(self, name: str, artifact_location: str, tags: Sequence[Any]) -> str:
        """Returns its id."""
        ...

    def create_run(self, experiment_id: str, user_id: str, start_time: int, tags: Sequence[Any], run_name: str) -> Any:
        """Returns the new run, which is running."""
        ...

    def update_run_info(self, run_id: str, run_status: Any, end_time: int | None, run_name: str | None) -> Any:
        """Changes what is not None."""
        ...

    def log_batch(self, run_id: str, metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]) -> None:
        """Writes params, then metrics, then tags, each in a transaction of its own."""
        ...

    def delete_run(self, run_id: str) -> None:
        """Marks a run as deleted."""
        ...


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """An active run of the study as the database has it."""

    run_uuid: str
    start_unix_ms: int
    end_unix_ms: int | None
    digest: str | None
    """Missing where the run was written in part."""
    is_tainted: bool


def ingest(paths: ProjectPaths, study: str, records: Iterable[RunRecord]) -> int:
    """Returns how many runs were written into runs.sqlite, which is made when it is missing; the rest was there.

    Args:
        paths: where the database lies.
        study: the name of the MLflow experiment.
        records: with their curves; of two records of a trial the last counts.

    Raises:
        StudyError: the database, or the study's experiment in it, cannot be used.
    """
    wanted = {record.trial.id: record for record in records}
    if not wanted or (paths.runs_sqlite.exists() and not _unwritten(study, wanted, _stored_runs(paths, study))):
        return 0
    with _ingesting_alone(paths), _open_store(paths) as store:
        stored = _stored_runs(paths, study)
        unwritten = _unwritten(study, wanted, stored)
        experiment_id = _experiment_id(store, paths, study)
        for record in unwritten:
            _write(store, paths, experiment_id, run_form(study, record), stored.get(record.trial.id, ()))
    return len(unwritten)


def _unwritten(
    study: str, wanted: Mapping[str, RunRecord], stored: Mapping[str, Sequence[StoredRun]]
) -> list[RunRecord]:
    """Returns the records that do not have exactly one run, complete and as they are now."""
    return [
        record
        for trial_id, record in wanted.items()
        if [run.digest for run in stored.get(trial_id, ())] != [digest(study, record)]
    ]


def _stored_runs(paths: ProjectPaths, study: str) -> dict[str, list[StoredRun]]:
    words = {"study": study, "trial_id": TRIAL_ID_TAG, "digest": DIGEST_TAG, "tainted": TAINTED_TAG}
    stored: defaultdict[str, list[StoredRun]] = defaultdict(list)
    with open_runs(paths) as connection:
        for trial_id, run_uuid, start, end, written, tainted in connection.execute(_STORED_RUNS, words):
            run = StoredRun(
                run_uuid=run_uuid,
                start_unix_ms=start,
                end_unix_ms=end,
                digest=written,
                is_tainted=is_tainted(tainted),
            )
            stored[trial_id].append(run)
    return dict(stored)


def _stored_metrics(paths: ProjectPaths, run_uuid: str) -> set[MetricPoint]:
    with open_runs(paths) as connection:
        rows = connection.execute(_STORED_METRICS, (run_uuid,)).fetchall()
    return {MetricPoint(key=key, value=value, unix_ms=unix_ms, step=step) for key, value, unix_ms, step in rows}


@contextlib.contextmanager
def _ingesting_alone(paths: ProjectPaths) -> Generator[None]:
    """Waits for any other ingester: MLflow's schema migration and our search for a trial's run bear no company."""
    paths.runs_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(paths.runs_dir / INGEST_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _open_store(paths: ProjectPaths) -> Generator[RunStore]:
    if "?" in str(paths.runs_sqlite):
        raise StudyError(
            f"{paths.runs_sqlite} cannot be MLflow's database: it takes what follows a question mark for an option; "
            "use a folder without one (type: LOGLOG_ROOT=/somewhere/else make sweep ...)"
        )
    # Read by MLflow when it is imported.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make_store: Callable[[str, str], RunStore] = SqlAlchemyStore
    artifacts = paths.artifacts_dir.as_uri()
    if not paths.runs_sqlite.exists():
        _create_database(paths, make_store)
    uri = f"sqlite:///{paths.runs_sqlite}"
    try:
        store = make_store(uri, artifacts)
    except MlflowException as error:
        raise StudyError(
            f"MLflow does not open {paths.runs_sqlite}: {error.message} (if it says so: mlflow db upgrade '{uri}')"
        ) from error
    try:
        yield store
    finally:
        # The last connection to close takes the write-ahead log with it: one file remains.
        store.engine.dispose()


def _create_database(paths: ProjectPaths, make_store: Callable[[str, str], RunStore]) -> None:
    """Makes the database under another name first: a migration killed half-way can be neither used nor mended."""
    unfinished = paths.root / "runs.sqlite.unfinished"
    for suffix in ("", "-wal", "-shm", "-journal"):
        unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
    make_store(f"sqlite:///{unfinished}", paths.artifacts_dir.as_uri()).engine.dispose()
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        # Readers and the writer do not wait for each other; it is a property of the file.
        connection.execute("PRAGMA journal_mode = wal")
    unfinished.replace(paths.runs_sqlite)


def _experiment_id(store: RunStore, paths: ProjectPaths, study: str) -> str:
    experiment: Any = store.get_experiment_by_name(study)
    if experiment is None:
        from mlflow.entities import ExperimentTag

        # Without it MLflow's pages ask what kind of experiment this is.
        kind = ExperimentTag("mlflow.experimentKind", "custom_model_development")
        return str(store.create_experiment(study, (paths.artifacts_dir / folder_name(study)).as_uri(), [kind]))
    if experiment.lifecycle_stage != "active":
        raise StudyError(
            f"the experiment {study!r} was deleted in MLflow, so its runs cannot be written; restore it (type: "
            f".venv/bin/mlflow experiments restore -x {experiment.experiment_id}, with "
            f"MLFLOW_TRACKING_URI='sqlite:///{paths.runs_sqlite}')"
        )
    return str(experiment.experiment_id)


def _write(store: RunStore, paths: ProjectPaths, experiment_id: str, form: RunForm, runs: Sequence[StoredRun]) -> None:
    """Leaves exactly one active run of the trial, complete."""
    from mlflow.entities import Metric, Param, RunStatus, RunTag

    run, *extra = sorted(runs, key=lambda run: run.digest != form.tags[DIGEST_TAG]) or (None,)
    logged = _stored_metrics(paths, run.run_uuid) if run is not None else set[MetricPoint]()
    if run is not None and not _can_become(run, form, logged):
        extra, run, logged = [*extra, run], None, set[MetricPoint]()
    for other in extra:
        store.delete_run(other.run_uuid)
    if run is None:
        tags = [RunTag(TRIAL_ID_TAG, form.trial_id)]
        run_uuid = str(store.create_run(experiment_id, "", form.start_unix_ms, tags, form.name).info.run_id)
    else:
        run_uuid = run.run_uuid
    if form.status != "RUNNING" or run is not None:
        store.update_run_info(run_uuid, RunStatus.from_string(form.status), form.end_unix_ms, None)
    tags = dict(form.tags)
    if any(stored.is_tainted for stored in runs):
        tags[TAINTED_TAG] = "true"
    metrics = [Metric(m.key, m.value, m.unix_ms, m.step) for m in form.metrics if m not in logged]
    params = [Param(key, value) for key, value in form.params.items()]
    while len(metrics) > METRICS_PER_BATCH:
        store.log_batch(run_uuid, metrics[:METRICS_PER_BATCH], [], [])
        metrics = metrics[METRICS_PER_BATCH:]
    # MLflow writes params, metrics and tags in this order: with its digest the run is complete.
    store.log_batch(run_uuid, metrics, params, [RunTag(key, value) for key, value in tags.items()])


def _can_become(run: StoredRun, form: RunForm, logged: set[MetricPoint]) -> bool:
    """Returns whether a stored run needs additions only."""
    has_same_times = run.start_unix_ms == form.start_unix_ms and run.end_unix_ms in (None, form.end_unix_ms)
    return has_same_times and logged <= set(form.metrics)
