import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.tables.judged import calibration, judge
from sweeps.prediction import Prediction
from sweeps.record import RunRecord, Status
from tests.analysis.synthetic import record


def run(*, started: float, loss: float | None = 2.0, status: Status = Status.FINISHED, seed: int = 0) -> RunRecord:
    """Returns a run of one cell that began then."""
    return dataclasses.replace(record(loss=loss, status=status, seed=seed), started_unix_s=started)


def prediction(*, made: float = 10.0, loss: float = 2.0, low: float = 1.9, high: float = 2.1) -> Prediction:
    """Returns a prediction of that cell."""
    trial = run(started=0.0).trial
    return Prediction(
        model=trial.model, epochs=trial.epochs, batch_images=trial.batch_images, peak_lr=trial.peak_lr,
        cohort=trial.cohort, predicted_loss=loss, low=low, high=high, level=0.9, made_by="informed", runs=5,
        dearest_core_hours=1.0, core_hours=2.0, data_digest="0" * 16, made_unix_s=made,
    )  # fmt: skip


def test_only_foresight_is_judged() -> None:
    """A prediction that was made after the first run began is left out, whatever began after it."""
    early, late = run(started=5.0), run(started=20.0, seed=1, loss=2.05)
    assert judge([prediction()], [early, late], cohort=None) == ()
    (one,) = judge([prediction()], [late, dataclasses.replace(late, started_unix_s=30.0)], cohort=None)
    assert one.actual_loss == 2.05
    (open_one,) = judge([prediction()], [], cohort=None)
    assert (open_one.actual_loss, open_one.log_error, open_one.is_within) == (None, None, None)


@given(order=st.permutations(range(4)))
def test_the_first_run_that_began_counts(order: list[int]) -> None:
    """Whatever the order of the records: not the best one, not the last one."""
    runs = [run(started=11.0 + n, loss=2.0 + 0.01 * n, seed=n) for n in range(4)]
    (one,) = judge([prediction()], [runs[n] for n in order], cohort=None)
    assert one.actual_loss == 2.0


def test_runs_that_came_to_no_loss_stay_open() -> None:
    """A diverged or unfinished run is no loss that a prediction could have missed."""
    (one,) = judge([prediction()], [run(started=11.0, loss=None, status=Status.DIVERGED)], cohort=None)
    assert one.actual_loss is None


def test_other_cells_and_cohorts_are_others() -> None:
    """Neither another rate nor another cohort answers a prediction; a cohort may be asked for."""
    elsewhere = dataclasses.replace(prediction(), peak_lr=0.05)
    (one,) = judge([elsewhere], [run(started=11.0)], cohort=None)
    assert one.actual_loss is None
    foreign = dataclasses.replace(prediction(), cohort="feedbeef")
    assert [one.prediction for one in judge([foreign, prediction()], [], cohort=prediction().cohort)] == [prediction()]
    assert judge([foreign], [run(started=11.0)], cohort=None)[0].actual_loss is None


def test_calibration_counts_what_it_says() -> None:
    """Four predictions, three trained, two of them within; errors are log of predicted over reached."""
    runs = {0.05: 2.0, 0.1: 2.2, 0.2: 2.05}
    records = [dataclasses.replace(record(peak_lr=rate, loss=loss), started_unix_s=20.0) for rate, loss in runs.items()]
    made = [dataclasses.replace(prediction(), peak_lr=rate) for rate in (*runs, 0.4)]
    found = calibration(judge(made, records, cohort=None))
    assert found is not None
    assert (found.made, found.trained, found.within, found.level) == (4, 3, 2, 0.9)
    errors = [math.log(2.0 / loss) for loss in runs.values()]
    assert found.mean_log_error == pytest.approx(sum(errors) / 3)
    assert found.rms_log_error == pytest.approx(math.sqrt(sum(error**2 for error in errors) / 3))
    assert found.sentence.startswith(
        "predictions: 4 frozen, 3 trained since; 2 of them (67%) within their 90% interval"
    )


def test_calibration_of_nothing() -> None:
    """None without predictions; with none trained it says that."""
    assert calibration(()) is None
    found = calibration(judge([prediction()], [], cohort=None))
    assert found is not None and found.sentence == "predictions: 1 frozen, none trained yet"
