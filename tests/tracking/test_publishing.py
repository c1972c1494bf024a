"""A study is shown alike in every kind of store, once, and as often as one likes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.errors import StudyError
from tests.tracking.places import Place
from tests.tracking.places import place as place
from tests.tracking.places import postgres as postgres
from tests.tracking.places import postgres_uri as postgres_uri
from tests.tracking.places import server_uri as server_uri
from tracking.mlflow_settings import environment
from tracking.paths import folder_name
from tracking.publishing import publish, publish_report
from tracking.run_table import list_studies, read_records
from tracking.study_run import KIND_TAG
from tracking.study_summary import read_summary
from tracking.study_view import VIEW_TAG
from tracking.tracking_uri import with_driver


def a_pick(**changes: Any) -> dict[str, Any]:
    """A pick as fit.json has it."""
    pick: dict[str, Any] = {"budget_core_hours": 10_000.0, "model": "f3", "epochs": 2.0, "peak_lr": 0.8}
    pick |= {"batch_images": 32, "predicted_loss": 1.5, "low": 1.4, "high": 1.6, "refused": None}
    return pick | changes


def write_report(place: Place, *picks: dict[str, Any], slope: float = 0.1) -> Path:
    """The folder of a report with these picks."""
    folder = place.paths.reports_dir / folder_name(place.study)
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {"a": {"value": 2.5, "low": 2.0, "high": 3.0}, "b": {"value": slope, "low": 0.09, "high": 0.12}}
    law = {"name": "power", "formula": "L = a C^-b", "parameters": parameters}
    (folder / "fit.json").write_text(json.dumps({"law": law, "picks": picks}))
    (folder / "report.html").write_text("<h1>the study</h1>")
    return folder


def keep_weights(place: Place, record: Any) -> Path:
    """The final weights of a run."""
    path = place.paths.weights_file(record.trial.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, kernel=np.arange(6.0).reshape(2, 3) + record.trial.seed)
    return path


def client(place: Place) -> Any:
    """MLflow's own client, as a user would have it."""
    from mlflow import MlflowClient

    uri = with_driver(place.uri) if place.uri else f"sqlite:///{place.paths.runs_sqlite}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def study_runs(place: Place) -> list[Any]:
    """The study's own runs that are not deleted."""
    return [run for run in place.runs() if run.data.tags.get(KIND_TAG) == "study"]


def files_of(place: Place, run: Any) -> set[str]:
    """The names of a run's artifacts."""
    return {file.path for file in client(place).list_artifacts(run.info.run_id)}


def keeps_files(place: Place) -> bool:
    """Whether the store keeps artifacts: a PostgreSQL alone does not."""
    return place.uri is None or place.uri.startswith("http")


def test_the_study_has_one_run_that_holds_its_report(place: Place, made: Any) -> None:
    """It bears the headline and the files; published again it is the same run, with the files of now."""
    place.ingest(made.record())
    folder = write_report(place, a_pick())
    (folder / "old.png").write_bytes(b"old")
    assert publish_report(place.paths, place.study, tracking_uri=place.uri).is_new
    (first,) = study_runs(place)
    (folder / "old.png").unlink()
    write_report(place, a_pick(predicted_loss=1.45), slope=0.11)
    assert publish_report(place.paths, place.study, tracking_uri=place.uri).is_new
    (run,) = study_runs(place)
    assert run.info.run_id == first.info.run_id
    assert (run.info.run_name, run.info.status) == (f"study {place.study}", "FINISHED")
    found = run.data.metrics
    assert (found["exponent"], found["exponent_low"], found["exponent_high"]) == (-0.11, -0.12, -0.09)
    assert (found["predicted_loss_10k"], found["predicted_loss_10k_low"]) == (1.45, 1.4)
    assert run.data.tags["loglog.pick_10k"] == "f3 x 2 epochs for 10k core-hours, loss 1.45 (1.4 to 1.6)"
    if keeps_files(place):
        assert files_of(place, run) == {"fit.json", "report.html"}


def test_ingestion_and_readers_pass_the_study_run_over(place: Place, made: Any) -> None:
    """A study run is no trial: nothing duplicates it, disturbs it or takes it for a record."""
    place.ingest(made.record())
    write_report(place, a_pick())
    publish_report(place.paths, place.study, tracking_uri=place.uri)
    (before,) = study_runs(place)
    assert place.ingest(made.record(), made.record(1)) == 1
    (after,) = study_runs(place)
    assert after.to_dictionary() == before.to_dictionary()
    assert len(place.runs()) == 3
    if place.uri is None:
        assert [record.trial.seed for record in read_records(place.paths, place.study)] == [0, 1]
        assert place.study in list_studies(place.paths)


def test_the_picks_model_is_registered_once_and_loads_back(place: Place, made: Any) -> None:
    """The alias leads to the weights of the best run, with where they come from; again, there is no second version."""
    better = made.record(1, outcome=made.outcome(selection_loss=1.2, val_loss=1.6))
    place.ingest(made.record(), better)
    for record in (made.record(), better):
        keep_weights(place, record)
    # A sweep has its records in journals; here there are none.
    known = {"records": [made.record(), better], "tracking_uri": place.uri}
    published = publish(place.paths, place.study, read_summary(write_report(place, a_pick())), **known)
    publish(place.paths, place.study, read_summary(write_report(place, a_pick(predicted_loss=1.45))), **known)
    assert published.models == (f"models:/{place.study}@compute-optimal-10k",)
    mlflow = client(place)
    (version,) = mlflow.search_model_versions(f"name = '{place.study}'")
    assert mlflow.get_model_version_by_alias(place.study, "compute-optimal-10k").version == version.version
    (run,) = [run for run in place.runs() if run.data.tags.get("loglog.trial_id") == better.trial.id]
    assert version.run_id == run.info.run_id
    assert version.tags["loglog.trial_id"] == better.trial.id
    assert version.tags["loglog.predicted_loss"] == "1.45 (1.4 to 1.6)"
    assert version.tags["loglog.data"] == "parts" and version.tags["loglog.code_version"] == "abc123"
    loaded = download(place, published.models[0])
    with np.load(loaded / f"{better.trial.id}.npz") as archive:
        assert archive["kernel"].tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert json.loads((loaded / "trial.json").read_text())["model"] == "f3"


def download(place: Place, address: str) -> Path:
    """What docs/tracking.md tells to type."""
    import mlflow.artifacts as artifacts

    uri = with_driver(place.uri) if place.uri else f"sqlite:///{place.paths.runs_sqlite}"
    library: Any = artifacts
    import mlflow

    before = mlflow.get_registry_uri()
    mlflow.set_registry_uri(uri)
    try:
        with environment({"MLFLOW_TRACKING_URI": uri}):
            return Path(library.download_artifacts(artifact_uri=address, tracking_uri=uri))
    finally:
        mlflow.set_registry_uri(before)


@pytest.mark.parametrize(
    ("pick", "reason"),
    [
        (a_pick(epochs=4.0), "was not trained"),
        (a_pick(refused={"code": "far", "reason": "beyond the runs", "next": ""}), "beyond the runs"),
        (a_pick(), "weights of f3-e2-lr0.8-s0 are not kept"),
    ],
)
@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_what_has_no_weights_is_said_and_not_registered(
    place: Place, made: Any, pick: dict[str, Any], reason: str
) -> None:
    """A pick beyond the runs, one that was refused and one whose weights are gone leave the registry as it is."""
    place.ingest(made.record())
    if reason != "weights of f3-e2-lr0.8-s0 are not kept":
        keep_weights(place, made.record())
    write_report(place, pick)
    published = publish_report(place.paths, place.study, tracking_uri=place.uri)
    assert published.models == ()
    (line,) = published.lines
    assert reason in line
    assert list(client(place).search_registered_models()) == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_where_nothing_is_new_nothing_is_written(place: Place, made: Any) -> None:
    """The second of two calls says the same and leaves runs.sqlite as it was; a run marked by a person is no model."""
    place.ingest(made.record())
    keep_weights(place, made.record())
    write_report(place, a_pick())
    first = publish_report(place.paths, place.study)
    before = place.paths.runs_sqlite.read_bytes()
    assert publish_report(place.paths, place.study) == dataclasses.replace(first, is_new=False)
    assert place.paths.runs_sqlite.read_bytes() == before


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_persons_description_stays(place: Place, made: Any) -> None:
    """The experiment has the view and a description of ours, until somebody writes his own."""
    place.ingest(made.record())
    write_report(place, a_pick())
    publish_report(place.paths, place.study)
    experiment = client(place).get_experiment_by_name(place.study)
    assert "selectedColumns" in experiment.tags[VIEW_TAG]
    assert "f3 x 2 epochs for 10k core-hours" in experiment.tags["mlflow.note.content"]
    client(place).set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "mine")
    write_report(place, a_pick(predicted_loss=1.3))
    publish_report(place.paths, place.study)
    assert client(place).get_experiment_by_name(place.study).tags["mlflow.note.content"] == "mine"


def test_a_folder_without_files_is_no_report(tmp_path: Path) -> None:
    """What is missing, or is no fit, is said with what to type."""
    with pytest.raises(StudyError, match="make fit"):
        read_summary(tmp_path)
    (tmp_path / "fit.json").write_text("[1]")
    with pytest.raises(StudyError, match="not a fit"):
        read_summary(tmp_path)
