"""An open MLflow store as ingestion sees it, and which runs of a study it holds; knows no kind of store."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tracking.run_form import MetricPoint
from tracking.run_table import DIGEST_TAG, TAINTED_TAG, TRIAL_ID_TAG, is_marked

RUNS_PER_PAGE = 500
"""Of a server: a run is some kilobytes."""
_ACTIVE_ONLY = 1

STORED_RUNS = """
    SELECT id.value, runs.run_uuid, runs.start_time, runs.end_time, digest.value, tainted.value
    FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    JOIN tags AS id ON id.run_uuid = runs.run_uuid AND id.key = :trial_id
    LEFT JOIN tags AS digest ON digest.run_uuid = runs.run_uuid AND digest.key = :digest
    LEFT JOIN tags AS tainted ON tainted.run_uuid = runs.run_uuid AND tainted.key = :tainted
    WHERE experiments.name = :study AND experiments.lifecycle_stage = 'active'
    ORDER BY runs.run_uuid
"""


class StoreUnavailableError(RuntimeError):
    """The store cannot be written at the moment: locked, unreachable or overloaded. Later it may be."""


class RunStore(Protocol):
    """What is used of MLflow's stores, most of which they leave without types."""

    def get_experiment_by_name(self, experiment_name: str) -> Any | None:
        """Returns an experiment, deleted ones too."""
        ...

    def create_experiment(self, name: str, artifact_location: str | None, tags: Sequence[Any]) -> str:
        """Returns its id."""
        ...

    def get_experiment(self, experiment_id: str) -> Any:
        """Returns an experiment with its tags."""
        ...

    def set_experiment_tag(self, experiment_id: str, tag: Any) -> None:
        """Writes a tag over the one of the same key."""
        ...

    def search_experiments(self, *, max_results: int) -> Sequence[Any]:
        """Returns the first of them."""
        ...

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str,
        run_view_type: int,
        max_results: int,
        order_by: list[str],
        page_token: str | None,
    ) -> Any:
        """Returns a page of runs, with a token for the next one."""
        ...

    def get_run(self, run_id: str) -> Any:
        """Returns a run with its params, its tags and the last value of each metric."""
        ...

    def get_metric_history(self, run_id: str, metric_key: str) -> Iterable[Any]:
        """Returns every value that was logged of a metric."""
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
class OpenStore:
    """A store that can be written now."""

    api: RunStore
    engine: Any | None
    """SQLAlchemy's, of a database that is reached directly; a server has none."""
    artifacts_uri: str | None
    """Where artifacts of new experiments go, a folder for each; a server decides by itself."""
    shown_uri: str
    """As messages show it."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """An active run of the study as the store has it."""

    run_uuid: str
    start_unix_ms: int
    end_unix_ms: int | None
    digest: str | None
    """Missing where the run was written in part."""
    is_marked: bool
    """Whether a person has marked it as tainted."""


StoredRuns = Mapping[str, Sequence[StoredRun]]
"""The active runs of each trial, by its id."""


def stored_run_words(study: str) -> dict[str, str]:
    """Returns the parameters of STORED_RUNS."""
    return {"study": study, "trial_id": TRIAL_ID_TAG, "digest": DIGEST_TAG, "tainted": TAINTED_TAG}


def runs_by_trial(rows: Iterable[Sequence[Any]]) -> StoredRuns:
    """Returns the runs in the rows of STORED_RUNS."""
    stored: defaultdict[str, list[StoredRun]] = defaultdict(list)
    for trial_id, run_uuid, start, end, digest, tainted in rows:
        run = StoredRun(
            run_uuid=run_uuid,
            start_unix_ms=start,
            end_unix_ms=end,
            digest=digest,
            is_marked=is_marked(tainted),
        )
        stored[trial_id].append(run)
    return dict(stored)


def search_stored_runs(store: RunStore, experiment_id: str) -> StoredRuns:
    """Returns the runs of an experiment that MLflow's own search finds: the way to those of a server."""
    rows: list[Sequence[Any]] = []
    token: str | None = None
    while True:
        page = store.search_runs([experiment_id], "", _ACTIVE_ONLY, RUNS_PER_PAGE, ["attributes.start_time ASC"], token)
        for run in page:
            tags: Mapping[str, str] = run.data.tags
            if TRIAL_ID_TAG in tags:
                # A server says 0 where there is no end.
                told = (run.info.run_id, run.info.start_time, run.info.end_time or None)
                rows.append((tags[TRIAL_ID_TAG], *told, tags.get(DIGEST_TAG), tags.get(TAINTED_TAG)))
        token = page.token
        if not token:
            return runs_by_trial(rows)


def stored_metrics(store: RunStore, run_uuid: str) -> set[MetricPoint]:
    """Returns every number that was logged of a run."""
    return {
        MetricPoint(key=key, value=metric.value, unix_ms=metric.timestamp, step=metric.step)
        for key in store.get_run(run_uuid).data.metrics
        for metric in store.get_metric_history(run_uuid, key)
        if not math.isnan(metric.value)
    }
