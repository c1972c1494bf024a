"""Records straight out of runs.sqlite, read-only and without MLflow, whose import alone takes seconds."""

import contextlib
import dataclasses
import json
import logging
import math
import sqlite3
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeps.errors import StudyError
from sweeps.record import Progress, RunRecord
from tracking.paths import ProjectPaths
from tracking.record_json import record_from, trial_from

_log = logging.getLogger(__name__)

TRIAL_ID_TAG = "loglog.trial_id"
TRIAL_TAG = "loglog.trial"
RECORD_TAG = "loglog.record"
DIGEST_TAG = "loglog.digest"
TAINTED_TAG = "loglog.tainted"
"""A person may set it on a run in MLflow's pages; it is never taken back."""
OWN_TAINT = "true: "
"""How the tag begins where nobody has set it and the run's own record says what is wrong."""

_MLFLOW_TABLES = {"experiments", "runs", "tags", "metrics", "params", "latest_metrics"}
_MAKE_SOME = "type: make sweep BUDGET=2k"

# Deleted runs and experiments stay in MLflow's tables until `mlflow gc`.
_RUNS = """
    SELECT runs.run_uuid, trial.value, record.value, tainted.value
    FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    JOIN tags AS trial ON trial.run_uuid = runs.run_uuid AND trial.key = :trial
    JOIN tags AS record ON record.run_uuid = runs.run_uuid AND record.key = :record
    LEFT JOIN tags AS tainted ON tainted.run_uuid = runs.run_uuid AND tainted.key = :tainted
    WHERE experiments.lifecycle_stage = 'active' AND (:study IS NULL OR experiments.name = :study)
    ORDER BY runs.start_time, runs.run_uuid
"""
_STUDIES = """
    SELECT name FROM experiments WHERE lifecycle_stage = 'active' AND EXISTS (
        SELECT 1 FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = :record
        WHERE runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    ) ORDER BY experiment_id
"""
_POINTS = """
    SELECT metrics.run_uuid, metrics.key, metrics.step, metrics.timestamp, metrics.value
    FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    JOIN metrics ON metrics.run_uuid = runs.run_uuid
        AND metrics.key IN ('train_loss', 'val_loss', 'images', 'wall_s', 'shared_steps')
    WHERE experiments.lifecycle_stage = 'active' AND (:study IS NULL OR experiments.name = :study)
"""


Points = Mapping[tuple[int, int], Mapping[str, float]]
"""(step, time [ms]) -> metric -> value."""


@contextlib.contextmanager
def open_runs(paths: ProjectPaths) -> Generator[sqlite3.Connection]:
    """Opens runs.sqlite for reading only.

    Raises:
        StudyError: it does not exist, cannot be read, or is no database of MLflow's.
    """
    path = paths.runs_sqlite
    if not path.is_file():
        raise StudyError(f"no runs have been recorded: there is no {path} ({_MAKE_SOME})")
    try:
        with contextlib.closing(_connect(path)) as connection:
            found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if missing := sorted(_MLFLOW_TABLES - found):
                raise StudyError(
                    f"{path} is a database, but not one of MLflow's: it has no table {', '.join(missing)}; "
                    f"move it away ({_MAKE_SOME})"
                )
            yield connection
    except sqlite3.Error as error:
        raise StudyError(
            f"{path} cannot be read as MLflow's SQLite database ({error}); if it is damaged, move it away: what the "
            "journals hold is written into a new one (type: make sweep again)"
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20.0)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.OperationalError:
        # A folder that one may only read: the write-ahead log cannot be opened there, and where none lies none is owed.
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    return connection


def read_records(paths: ProjectPaths, study: str | None, *, curves: bool = False) -> list[RunRecord]:
    """Returns the records of a study's runs, or of all studies, oldest first; runs of other programs are passed over.

    Args:
        paths: where the project lies.
        study: the name of an MLflow experiment; None for all.
        curves: whether records carry their points; MLflow was given at most 200 of each run.

    Raises:
        StudyError: runs.sqlite does not exist or is no database of MLflow's.
    """
    words = {"study": study, "trial": TRIAL_TAG, "record": RECORD_TAG, "tainted": TAINTED_TAG}
    with open_runs(paths) as connection:
        rows = connection.execute(_RUNS, words).fetchall()
        points = _points_by_run(connection.execute(_POINTS, {"study": study})) if curves else {}
    records = (
        _record(run_uuid, trial_text, record_text, tainted, points.get(run_uuid, {}))
        for run_uuid, trial_text, record_text, tainted in rows
    )
    return [record for record in records if record is not None]


def list_studies(paths: ProjectPaths) -> list[str]:
    """Returns the names of the studies that have runs, oldest first; raises StudyError as read_records does."""
    with open_runs(paths) as connection:
        return [name for (name,) in connection.execute(_STUDIES, {"record": RECORD_TAG})]


def _record(run_uuid: str, trial_text: str, record_text: str, tainted: str | None, points: Points) -> RunRecord | None:
    try:
        fields: dict[str, Any] = json.loads(record_text)
        trial = trial_from(json.loads(trial_text))
        record = record_from(fields, trial=trial, curve=_curve(points))
        return dataclasses.replace(record, is_marked=True) if is_marked(tainted) else record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("run %s in runs.sqlite is passed over: %s", run_uuid, error)
        return None


def is_marked(tag: str | None) -> bool:
    """Returns whether a person has marked the run by the tag: with anything but nothing, false, no and 0."""
    text = (tag or "").strip().lower()
    return text not in ("", "false", "no", "0") and not text.startswith(OWN_TAINT)


def _points_by_run(rows: Iterable[tuple[str, str, int, int, float]]) -> dict[str, Points]:
    points: defaultdict[str, dict[tuple[int, int], dict[str, float]]] = defaultdict(dict)
    for run_uuid, key, step, unix_ms, value in rows:
        points[run_uuid].setdefault((step, unix_ms), {})[key] = value
    return dict(points)


def _curve(points: Points) -> tuple[Progress, ...]:
    """Returns the points at which images were counted: the outcome has its own, later values at the last step."""
    return tuple(
        Progress(
            step=step,
            images=round(point["images"]),
            train_loss=point.get("train_loss", math.nan),
            val_loss=point.get("val_loss"),
            wall_s=point.get("wall_s", math.nan),
            shared_steps=round(point.get("shared_steps", 0.0)),
        )
        for (step, _), point in sorted(points.items())
        if "images" in point
    )
