import dataclasses

from analysis.options import FitOptions
from analysis.picks.foresight import foreseen
from analysis.study_fit import fit_study
from tests.analysis.synthetic import reference_points, study_points, study_records

FAST = FitOptions(resamples=200)
RUNS = study_records(noise=0.005, seeds=2)


def test_picks_that_nobody_trained_are_predictions() -> None:
    """Beyond the dearest run: the pick's own figures, and what they rest on."""
    dearest = max(record.cost.core_hours for record in RUNS)
    result = fit_study(study_points(RUNS), dataclasses.replace(FAST, budgets=(3_000.0, 1.9 * dearest)))
    trained = {(r.trial.model, r.trial.epochs, r.trial.batch_images, r.trial.peak_lr) for r in RUNS}
    found = foreseen(result)
    picks = [pick for pick in result.picks if not pick.refused and pick.peak_lr is not None]
    new = [pick for pick in picks if (pick.model, pick.epochs, pick.batch_images, pick.peak_lr) not in trained]
    assert [(one.model, one.predicted_loss, one.low, one.high) for one in found] == [
        (pick.model, pick.predicted_loss, pick.low, pick.high) for pick in new
    ]
    assert found
    for one in found:
        assert one.low < one.predicted_loss < one.high
        assert (one.made_by, one.runs, one.dearest_core_hours) == ("fit", len(RUNS), dearest)
        assert one.cohort == RUNS[0].trial.cohort


def test_same_runs_have_one_digest() -> None:
    """In any order; another loss is another digest."""
    options = dataclasses.replace(FAST, budgets=(60_000.0,))
    one, again = (foreseen(fit_study(study_points(runs), options)) for runs in (RUNS, RUNS[::-1]))
    other = foreseen(fit_study(study_points(RUNS[1:]), options))
    assert one and [p.data_digest for p in one] == [p.data_digest for p in again]
    assert one[0].data_digest != other[0].data_digest


def test_tables_foresee_nothing() -> None:
    """A table has no study whose runs could answer."""
    assert foreseen(fit_study(reference_points(), FAST)) == ()
