from pathlib import Path

import pytest

from analysis.tables.filters import parse_filters
from analysis.tables.foreign_points import points_from_mlflow
from sweeps.errors import StudyError

COLUMNS = {"loss": "val_loss", "params": "n", "flops": "metrics.flops", "group": "model"}


@pytest.fixture
def mlruns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of MLflow's with a run in each state, and an experiment without runs."""
    from mlflow.entities import Metric, Param, RunStatus
    from mlflow.store.tracking.file_store import FileStore

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = tmp_path / "mlruns"
    store = FileStore(str(folder), str(folder))
    experiment = store.create_experiment("scaling", "artifacts", [])
    for place, status in enumerate(("FINISHED", "FINISHED", "RUNNING", "FAILED", "KILLED")):
        run_id = store.create_run(experiment, "me", place + 1, [], f"run{place}").info.run_id
        metrics = [Metric("val_loss", 3.0, 1, 0), Metric("val_loss", 2.0 - place / 10, 2, 1)]
        metrics += [Metric("flops", 1e18 * (place + 1), 1, 0), Metric("lr", 0.5, 1, 0)]
        params = [Param("n", "70M"), Param("model", "<b>$x"), Param("lr", "0.1")]
        store.log_batch(run_id, metrics, params, [])
        if status != "RUNNING":
            store.update_run_info(run_id, RunStatus.from_string(status), 100, None)
    return folder


def test_runs_become_points_as_rows_of_a_table_do(mlruns: Path) -> None:
    """Suffixes, derived tokens and set-asides are those of tables; runs that did not finish are set aside too."""
    points = points_from_mlflow(str(mlruns), "scaling", columns=COLUMNS)
    assert [(p.model, p.loss, p.params, p.flops) for p in points.points] == [
        ("<b>$x", 2.0, 7e7, 1e18),
        ("<b>$x", 1.9, 7e7, 2e18),
    ]
    assert points.points[0].tokens == pytest.approx(1e18 / 6 / 7e7)
    assert points.derived == ("tokens",)
    assert points.source == "experiment scaling"
    assert [(item.reason, item.rows) for item in points.set_aside] == [
        ("run still running", (3,)),
        ("run failed", (4,)),
        ("run killed", (5,)),
    ]


def test_names_filters_and_prefixes_lead_to_the_same_runs(mlruns: Path) -> None:
    """Columns are told from the plain names; of a param and a metric the plain name is the metric."""
    one = points_from_mlflow(str(mlruns), "scaling", columns=COLUMNS, filters=parse_filters(["flops>1.5e18"]))
    assert len(one.points) == 1
    guessed = points_from_mlflow(str(mlruns), "scaling")
    assert dict(guessed.columns) == {
        "loss": "val_loss",
        "params": "n",
        "flops": "flops",
        "peak_lr": "lr",
        "group": "model",
    }
    assert guessed.points[0].peak_lr == 0.5
    param = points_from_mlflow(str(mlruns), "scaling", columns={"loss": "val_loss", "peak_lr": "params.lr"})
    assert param.points[0].peak_lr == 0.1


def test_what_is_not_there_is_one_clear_error(mlruns: Path) -> None:
    """A metric that no run has, an experiment without runs, and one that is not there."""
    with pytest.raises(StudyError, match=r"experiment scaling has no column 'vall_loss'; .*did you mean 'val_loss'"):
        points_from_mlflow(str(mlruns), "scaling", columns={"loss": "vall_loss"})
    with pytest.raises(StudyError, match="Default holds no runs"):
        points_from_mlflow(str(mlruns), "Default")
    with pytest.raises(StudyError, match=r"'scalign' is not there in .*; it has Default, scaling|scaling, Default"):
        points_from_mlflow(str(mlruns), "scalign")
