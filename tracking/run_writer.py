"""Writes runs into an open MLflow store: new ones of a database in bulk, all others through MLflow's own functions.

MLflow writes a curve through one object for each number, about 250 ms for 200 points; the same rows go into its tables
in one statement, twenty times as fast. A test holds the two equal. MLflow cannot take a logged number back, so a run
that holds one that its record no longer has (an attempt was repeated) is deleted, in MLflow's sense, and written anew.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweeps.errors import StudyError
from tracking.paths import folder_name
from tracking.run_form import MetricPoint, RunForm
from tracking.run_store import OpenStore, RunStore, StoredRun, StoredRuns, stored_metrics
from tracking.run_table import DIGEST_TAG, TAINTED_TAG, TRIAL_ID_TAG
from tracking.study_view import OWN_WORDS, view_tags

NOTE_TAG = "mlflow.note.content"
METRICS_PER_BATCH = 1000
"""What MLflow takes at once (mlflow.utils.validation); params and tags of a run are far below their limit of 100."""
LONGEST_TEXT = 6000
"""Letters of a param that MLflow keeps; of a tag it keeps some more."""
METRICS_PER_TRANSACTION = 20_000
"""Some 0.2 s of writing, for which others who write into the database wait."""
BUSY_TIMEOUT_S = 20.0
"""How long a database waits for another writer, as MLflow has it for SQLite."""


def experiment_of(store: OpenStore, study: str) -> Any:
    """Returns the study's experiment, which is made when it is missing; raises StudyError where it was deleted."""
    experiment = store.api.get_experiment_by_name(study)
    if experiment is None:
        from mlflow.entities import ExperimentTag

        tags = [ExperimentTag(key, value) for key, value in view_tags().items()]
        location = store.artifacts_uri and f"{store.artifacts_uri}/{folder_name(study)}"
        store.api.create_experiment(study, location, tags)
        experiment = store.api.get_experiment_by_name(study)
    if experiment is None or experiment.lifecycle_stage != "active":
        identity = "ID" if experiment is None else experiment.experiment_id
        raise StudyError(
            f"the experiment {study!r} was deleted in MLflow, so its runs cannot be written; restore it (type: "
            f".venv/bin/mlflow experiments restore -x {identity}, with MLFLOW_TRACKING_URI='{store.shown_uri}')"
        )
    return experiment


def show_view(store: OpenStore, experiment_id: str, description: str | None = None) -> None:
    """Writes how the experiment opens in MLflow's pages, and what they say of it unless a person has written that."""
    from mlflow.entities import ExperimentTag

    present: Mapping[str, str] = store.api.get_experiment(experiment_id).tags
    wanted = dict(view_tags())
    note = present.get(NOTE_TAG, "")
    if description is not None and (not note.strip() or OWN_WORDS in note):
        wanted[NOTE_TAG] = description
    for key, value in wanted.items():
        if present.get(key) != value:
            store.api.set_experiment_tag(experiment_id, ExperimentTag(key, value))


def write_runs(store: OpenStore, experiment: Any, forms: Sequence[RunForm], stored: StoredRuns) -> None:
    """Leaves exactly one active run of each trial, complete."""
    new: list[RunForm] = []
    for form in forms:
        if store.engine is not None and not stored.get(form.trial_id) and _fits(form):
            new.append(form)
        else:
            _write(store.api, str(experiment.experiment_id), form, stored.get(form.trial_id, ()))
    for batch in _batches(new):
        _insert(store.engine, experiment, batch)


def _fits(form: RunForm) -> bool:
    """Returns whether every text is short enough for its column; MLflow's functions cut longer ones."""
    return all(len(text) <= LONGEST_TEXT for texts in (form.params, form.tags) for text in texts.values())


def _batches(forms: Sequence[RunForm]) -> Iterator[list[RunForm]]:
    batch: list[RunForm] = []
    metrics = 0
    for form in forms:
        batch.append(form)
        metrics += len(form.metrics)
        if metrics >= METRICS_PER_TRANSACTION:
            yield batch
            batch, metrics = [], 0
    if batch:
        yield batch


def _write(store: RunStore, experiment_id: str, form: RunForm, runs: Sequence[StoredRun]) -> None:
    """Completes, replaces or makes the run of one trial; its digest is the last thing that is written."""
    from mlflow.entities import Metric, Param, RunStatus, RunTag

    run, *extra = sorted(runs, key=lambda run: run.digest != form.tags[DIGEST_TAG]) or (None,)
    logged = stored_metrics(store, run.run_uuid) if run is not None else set[MetricPoint]()
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
    if any(stored.is_marked for stored in runs):
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


def _insert(engine: Any, experiment: Any, forms: Sequence[RunForm]) -> None:
    """Writes new runs in one transaction: all of them are there, complete, or none is."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from sqlalchemy import insert, text

    runs = [(uuid.uuid4().hex, form) for form in forms]
    tables: list[tuple[Any, list[dict[str, Any]]]] = [
        (SqlRun, [_run_row(run_uuid, form, experiment) for run_uuid, form in runs]),
        (SqlParam, [row for run_uuid, form in runs for row in _param_rows(run_uuid, form)]),
        (
            SqlMetric,
            [_metric_row(run_uuid, metric) for run_uuid, form in runs for metric in dict.fromkeys(form.metrics)],
        ),
        (
            SqlLatestMetric,
            [_metric_row(run_uuid, metric) for run_uuid, form in runs for metric in _latest(form.metrics)],
        ),
        (SqlTag, [row for run_uuid, form in runs for row in _tag_rows(run_uuid, form)]),
    ]
    patience_ms = round(1000 * BUSY_TIMEOUT_S)
    is_sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        connection.execute(text(f"{'PRAGMA busy_timeout' if is_sqlite else 'SET LOCAL lock_timeout'} = {patience_ms}"))
        for model, rows in tables:
            if rows:
                connection.execute(insert(model.__table__), rows)


def _run_row(run_uuid: str, form: RunForm, experiment: Any) -> dict[str, Any]:
    """Returns what MLflow's create_run and update_run_info write."""
    from mlflow.utils import uri

    uris: Any = uri
    return {
        "run_uuid": run_uuid,
        "name": form.name,
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "user_id": "",
        "status": form.status,
        "start_time": form.start_unix_ms,
        "end_time": form.end_unix_ms,
        "source_version": "",
        "lifecycle_stage": "active",
        "artifact_uri": uris.append_to_uri_path(experiment.artifact_location, run_uuid, "artifacts"),
        "experiment_id": int(experiment.experiment_id),
    }


def _param_rows(run_uuid: str, form: RunForm) -> list[dict[str, Any]]:
    return [{"run_uuid": run_uuid, "key": key, "value": value} for key, value in form.params.items()]


def _tag_rows(run_uuid: str, form: RunForm) -> list[dict[str, Any]]:
    tags = {**form.tags, "mlflow.runName": form.name}
    return [{"run_uuid": run_uuid, "key": key, "value": value} for key, value in tags.items()]


def _metric_row(run_uuid: str, metric: MetricPoint) -> dict[str, Any]:
    return {
        "run_uuid": run_uuid,
        "key": metric.key,
        "value": metric.value,
        "timestamp": metric.unix_ms,
        "step": metric.step,
        "is_nan": False,  # a form has finite numbers only
    }


def _latest(metrics: Sequence[MetricPoint]) -> list[MetricPoint]:
    """Returns the value of each metric that MLflow takes for the run's own."""
    latest: dict[str, MetricPoint] = {}
    for metric in metrics:
        known = latest.get(metric.key)
        if known is None or (metric.step, metric.unix_ms, metric.value) > (known.step, known.unix_ms, known.value):
            latest[metric.key] = metric
    return list(latest.values())
