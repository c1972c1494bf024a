"""Shows a study in MLflow: its view, its own run with the report, and the compute-optimal model in the registry.

`publish` is called at the end of a sweep, and by whatever writes a report anew. It may be called as often as one likes:
where nothing is new in runs.sqlite, MLflow is not even imported.
"""

import contextlib
import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.record import RunRecord
from tracking.ledger import load_records
from tracking.mlflow_settings import environment, mlflow_settings
from tracking.model_registry import Chosen, choose, model_name, open_registry, register
from tracking.paths import ProjectPaths, folder_name
from tracking.remote_stores import server_credentials
from tracking.run_store import OpenStore
from tracking.run_table import TRIAL_ID_TAG, open_runs
from tracking.run_writer import experiment_of, show_view
from tracking.store import errors_told, ingesting_alone, open_store
from tracking.study_run import KIND_TAG, PUBLISHED_TAG, STUDY_KIND, find_runs, replace_files, study_run, write_headline
from tracking.study_summary import StudySummary, read_summary
from tracking.study_view import description
from tracking.tracking_uri import check_form, is_server, user_and_password, with_driver

_FORM = "1"
"""Part of every digest: a new form is published over the old one."""
_PUBLISHED = """
    SELECT published.value FROM experiments
    JOIN runs ON runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active'
    JOIN tags AS kind ON kind.run_uuid = runs.run_uuid AND kind.key = :kind_tag AND kind.value = :kind
    JOIN tags AS published ON published.run_uuid = runs.run_uuid AND published.key = :published_tag
    WHERE experiments.name = :study AND experiments.lifecycle_stage = 'active'
"""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What MLflow shows of a study now."""

    is_new: bool
    """Whether anything had to be written."""
    models: tuple[str, ...]
    """Addresses of the registered models, as in models:/scale_model@compute-optimal-10k."""
    lines: tuple[str, ...]
    """For people: what was registered and what was not, with the reason."""


def publish_report(
    paths: ProjectPaths, study: str, *, cohort: str | None = None, tracking_uri: str | None = None
) -> Published:
    """Publishes the files in the study's folder of reports, as `publish` does."""
    summary = read_summary(paths.reports_dir / folder_name(study), cohort=cohort)
    return publish(paths, study, summary, tracking_uri=tracking_uri)


def publish(
    paths: ProjectPaths,
    study: str,
    summary: StudySummary,
    *,
    records: Iterable[RunRecord] | None = None,
    tracking_uri: str | None = None,
) -> Published:
    """Brings view, description, study run and models up to date; leaves one study run and one version of a model.

    The runs must have been ingested. A PostgreSQL database keeps no files: report and weights stay where they are.

    Args:
        paths: where the project lies.
        study: the name of the MLflow experiment.
        summary: the report; read_summary reads one.
        records: of the study; read from the journals and runs.sqlite where they are not given.
        tracking_uri: of a server or a PostgreSQL database; None or '' for runs.sqlite.

    Raises:
        StudyError: the store, or the study's experiment in it, cannot be used.
        StoreUnavailableError: it cannot be written now; the same call may succeed later.
    """
    uri = tracking_uri or None
    known = load_records(paths, study) if records is None else list(records)
    choices = [choose(paths, study, known, pick, cohort=summary.cohort) for pick in summary.picks]
    digest = _digest(study, summary, choices)
    with errors_told(paths, uri):
        if uri is not None:
            check_form(uri)
        elif digest in _published(paths, study):
            return _told(study, choices, is_new=False)
        with ingesting_alone(paths), mlflow_settings(), _signed_in(uri), open_store(paths, uri) as store:
            unfound = _write(paths, uri, store, study, summary, choices, digest)
    return _told(study, [unfound.get(i, choice) for i, choice in enumerate(choices)], is_new=True)


def _write(
    paths: ProjectPaths,
    uri: str | None,
    store: OpenStore,
    study: str,
    summary: StudySummary,
    choices: Sequence[Chosen | str],
    digest: str,
) -> dict[int, str]:
    """Writes all of it, what says that it is complete last; returns the choices that could not be registered."""
    unfound: dict[int, str] = {}
    experiment_id = str(experiment_of(store, study).experiment_id)
    run = study_run(store, experiment_id, study)
    if (repository := _repository(store, uri, run)) is not None:
        replace_files(repository, summary.files)
    chosen = [(i, choice) for i, choice in enumerate(choices) if isinstance(choice, Chosen)]
    if chosen:
        with _registry(paths, uri) as registry:
            for i, choice in chosen:
                found = find_runs(store, experiment_id, TRIAL_ID_TAG, choice.record.trial.id)
                if not found:
                    unfound[i] = f"no model is registered for {choice.pick.budget}: its run is not in MLflow yet"
                    continue
                home = _model_home(paths, uri, study, found[0])
                kept = _artifacts(store, uri, home)
                register(registry, study, choice, run=found[0], home=home, repository=kept, summary=summary)
    headline = tuple(f"Pick: {pick.refused or pick}." for pick in summary.picks)
    law = () if summary.law is None else (f"Law: `{summary.law}`.",)
    text = description(study, experiment_id=experiment_id, headline=(*law, *headline), run_id=str(run.info.run_id))
    show_view(store, experiment_id, text)
    write_headline(store, str(run.info.run_id), summary, digest if not unfound else "")
    return unfound


def _repository(store: OpenStore, uri: str | None, run: Any) -> Any | None:
    """Returns the artifacts of a run; None where the store is a database that leaves them to a server."""
    return _artifacts(store, uri, str(run.info.artifact_uri)) if _keeps_files(uri) else None


def _keeps_files(uri: str | None) -> bool:
    return uri is None or is_server(uri)


def _model_home(paths: ProjectPaths, uri: str | None, study: str, run: Any) -> str:
    """Returns where a run's weights go: among its artifacts, or in this folder where the store keeps none."""
    if _keeps_files(uri):
        return str(run.info.artifact_uri)
    return (paths.artifacts_dir / folder_name(study) / str(run.info.run_id) / "artifacts").as_uri()


def _artifacts(store: OpenStore, uri: str | None, home: str) -> Any:
    """Opens a folder of artifacts by its address."""
    from mlflow.store.artifact import artifact_repository_registry as registry

    known: Any = registry
    address = None if uri is None else user_and_password(uri)[0]
    return known.get_artifact_repository(home, tracking_uri=address or store.shown_uri)


def _registry(paths: ProjectPaths, uri: str | None) -> contextlib.AbstractContextManager[Any]:
    if uri is None:
        return open_registry(f"sqlite:///{paths.runs_sqlite}", None)
    return open_registry(with_driver(uri), server_credentials(uri) if is_server(uri) else None)


@contextlib.contextmanager
def _signed_in(uri: str | None) -> Generator[None]:
    """Lets MLflow's artifacts be written with the user and password of the address, which it reads nowhere else."""
    _, user, password = user_and_password(uri) if uri is not None and is_server(uri) else ("", None, None)
    if not user or not password:
        yield
        return
    with environment({"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}):
        yield


def _published(paths: ProjectPaths, study: str) -> set[str]:
    """Returns the digest that runs.sqlite has, without MLflow."""
    if not paths.runs_sqlite.exists():
        return set()
    words = {"study": study, "kind_tag": KIND_TAG, "kind": STUDY_KIND, "published_tag": PUBLISHED_TAG}
    with open_runs(paths) as connection:
        found = [value for (value,) in connection.execute(_PUBLISHED, words)]
    return set(found) if len(found) == 1 else set()


def _digest(study: str, summary: StudySummary, choices: Sequence[Chosen | str]) -> str:
    """Returns what changes when anything that is shown does."""
    found = hashlib.sha256(f"{_FORM}\n{study}\n{summary}\n".encode(errors="surrogatepass"))
    for path in summary.files:
        found.update(f"{path.name}\n".encode(errors="surrogatepass"))
        found.update(hashlib.sha256(path.read_bytes()).digest())
    for choice in choices:
        if isinstance(choice, Chosen):
            weights = choice.weights.stat()
            found.update(f"{choice.record.trial.id} {weights.st_size} {weights.st_mtime_ns}\n".encode())
    return found.hexdigest()[:32]


def _told(study: str, choices: Sequence[Chosen | str], *, is_new: bool) -> Published:
    models: list[str] = []
    lines: list[str] = []
    for choice in choices:
        if isinstance(choice, str):
            lines.append(choice)
            continue
        models.append(f"models:/{model_name(study)}@{choice.pick.alias}")
        lines.append(f"registered in MLflow: {models[-1]}, the weights of {choice.record.trial.name}")
    return Published(is_new=is_new, models=tuple(models), lines=tuple(lines))
