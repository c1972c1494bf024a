"""The ledger of predictions: appended to, never changed, and readable whatever happened to its writer."""

import dataclasses

import pytest

from sweeps.prediction import Prediction
from tracking.paths import ProjectPaths
from tracking.predictions import freeze, read_predictions

PREDICTION = Prediction(
    model="f1", epochs=2.0, batch_images=32, peak_lr=0.2, cohort="c0ffee00", predicted_loss=2.5, low=2.4, high=2.6,
    level=0.9, made_by="informed", runs=7, dearest_core_hours=400.0, core_hours=5400.0, data_digest="d" * 16,
)  # fmt: skip


@pytest.fixture
def paths(tmp_path):
    """A project folder with nothing in it."""
    return ProjectPaths(root=tmp_path)


def test_frozen_with_time_and_code_version(paths):
    """What was frozen comes back with when and by which code it was made."""
    (frozen,) = freeze(paths, "demo", [PREDICTION])
    assert frozen.made_unix_s > 0 and frozen.code_version
    assert read_predictions(paths, "demo") == (frozen,)
    assert dataclasses.replace(frozen, made_unix_s=0.0, code_version="") == PREDICTION


def test_same_prediction_from_same_data_is_kept_once(paths):
    """A command that is typed again freezes nothing new; other data make another prediction."""
    freeze(paths, "demo", [PREDICTION])
    assert freeze(paths, "demo", [PREDICTION]) == ()
    later = dataclasses.replace(PREDICTION, data_digest="e" * 16, predicted_loss=2.51)
    freeze(paths, "demo", [later])
    assert [one.predicted_loss for one in read_predictions(paths, "demo")] == [2.5, 2.51]


def test_torn_line_loses_no_other(paths, caplog):
    """A writer that was killed within a line costs that line only."""
    freeze(paths, "demo", [PREDICTION])
    with paths.predictions_file("demo").open("ab") as file:
        file.write(b'{"model": "f3", "epo')
    freeze(paths, "demo", [dataclasses.replace(PREDICTION, model="f7")])
    assert [one.model for one in read_predictions(paths, "demo")] == ["f1", "f7"]
    assert "passed over" in caplog.text


def test_nothing_frozen_is_no_file(paths):
    """A study without predictions has none, and asking makes no folder."""
    assert read_predictions(paths, "demo") == ()
    assert freeze(paths, "demo", []) == ()
    assert not paths.runs_dir.exists()
