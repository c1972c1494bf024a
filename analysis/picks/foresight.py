"""Picks that nobody has trained yet, as predictions to be frozen."""

from analysis.result import Pick, ScalingFit
from sweeps.canonical import short_hash
from sweeps.prediction import Prediction


def foreseen(result: ScalingFit) -> tuple[Prediction, ...]:
    """Returns a prediction for each pick of recorded runs whose configuration was not trained."""
    points, cohort = result.points, result.points.cohort
    if points.study is None or cohort is None:
        return ()
    trained = {(one.model, one.epochs, one.batch_images, one.peak_lr) for one in points.points}
    digest = short_hash(tuple(sorted(f"{p.model} {p.epochs} {p.peak_lr} {p.seed} {p.loss!r}" for p in points.points)))
    dearest = max((one.core_hours for one in points.points if one.core_hours), default=0.0)
    found = (_prediction(pick, cohort, digest, len(points.points), dearest, result.fit.level) for pick in result.picks)
    return tuple(one for one in found if one and (one.model, one.epochs, one.batch_images, one.peak_lr) not in trained)


def _prediction(pick: Pick, cohort: str, digest: str, runs: int, dearest: float, level: float) -> Prediction | None:
    known = (pick.predicted_loss, pick.low, pick.high, pick.epochs, pick.core_hours)
    if pick.refused or pick.model is None or pick.batch_images is None or pick.peak_lr is None or None in known:
        return None
    assert pick.predicted_loss and pick.low and pick.high and pick.epochs and pick.core_hours
    return Prediction(
        model=pick.model,
        epochs=pick.epochs,
        batch_images=pick.batch_images,
        peak_lr=pick.peak_lr,
        cohort=cohort,
        predicted_loss=pick.predicted_loss,
        low=pick.low,
        high=pick.high,
        level=level,
        made_by="fit",
        runs=runs,
        dearest_core_hours=dearest,
        core_hours=pick.core_hours,
        data_digest=digest,
    )
