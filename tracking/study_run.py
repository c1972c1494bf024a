"""The study's own run in its experiment: the headline as metrics and tags, the report and the figures as artifacts.

The runs of trials do not name it as their parent: docs/decisions/mlflow-schema.md says why.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracking.run_store import OpenStore
from tracking.study_summary import StudySummary

KIND_TAG = "loglog.kind"
STUDY_KIND = "study"
PUBLISHED_TAG = "loglog.published"
"""The digest of what was published; written last, so that a publication that was cut is repeated."""
_ACTIVE_ONLY = 1
_MOST_FOUND = 100


def study_run(store: OpenStore, experiment_id: str, study: str) -> Any:
    """Returns the study's run, which is made when it is missing; of several, all but the oldest are deleted."""
    from mlflow.entities import RunTag

    found = find_runs(store, experiment_id, KIND_TAG, STUDY_KIND)
    for extra in found[1:]:
        store.api.delete_run(extra.info.run_id)
    if found:
        return found[0]
    tags = [RunTag(KIND_TAG, STUDY_KIND), RunTag("loglog.study", study)]
    return store.api.create_run(experiment_id, "", round(1000 * time.time()), tags, f"study {study}")


def find_runs(store: OpenStore, experiment_id: str, tag: str, value: str) -> list[Any]:
    """Returns the active runs with this tag, oldest first."""
    wanted = f"tags.\"{tag}\" = '{value}'"
    order = ["attributes.start_time ASC"]
    return list(store.api.search_runs([experiment_id], wanted, _ACTIVE_ONLY, _MOST_FOUND, order, None))


def write_headline(store: OpenStore, run_id: str, summary: StudySummary, digest: str) -> None:
    """Writes metrics and tags, and ends the run; MLflow's params cannot be changed, so a headline is none."""
    from mlflow.entities import Metric, RunStatus, RunTag

    now_ms = round(1000 * time.time())
    metrics = [Metric(key, value, now_ms, 0) for key, value in _metrics(summary)]
    tags = {**_tags(summary), PUBLISHED_TAG: digest}
    store.api.update_run_info(run_id, RunStatus.from_string("FINISHED"), now_ms, None)
    store.api.log_batch(run_id, metrics, [], [RunTag(key, value) for key, value in tags.items()])


def _metrics(summary: StudySummary) -> Iterator[tuple[str, float]]:
    values: dict[str, float | None] = {
        "exponent": summary.exponent,
        "exponent_low": summary.exponent_low,
        "exponent_high": summary.exponent_high,
    }
    for pick in summary.picks:
        name = f"predicted_loss_{pick.budget}"
        values |= {name: pick.predicted_loss, f"{name}_low": pick.low, f"{name}_high": pick.high}
    yield from ((key, float(value)) for key, value in values.items() if value is not None)


def _tags(summary: StudySummary) -> Mapping[str, str]:
    tags = {f"loglog.pick_{pick.budget}": pick.refused or str(pick) for pick in summary.picks}
    if summary.law is not None:
        tags["loglog.law"] = summary.law
    if summary.fit_hash is not None:
        tags["loglog.fit_sha256"] = summary.fit_hash
    return tags


def replace_files(repository: Any, files: tuple[Path, ...]) -> None:
    """Leaves exactly these files among a run's artifacts."""
    names = {path.name for path in files}
    for old in repository.list_artifacts():
        if old.path not in names:
            repository.delete_artifacts(old.path)
    for path in files:
        repository.log_artifact(str(path))
