"""Predictions that were frozen before anything was trained there, joined with what the runs then reached."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeps.prediction import Prediction
from sweeps.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class JudgedPrediction:
    """One prediction and the first run that was started there after it was made."""

    prediction: Prediction
    actual_loss: float | None
    """Held-out loss of that run [nats]; missing while none has finished."""

    @property
    def log_error(self) -> float | None:
        """log of predicted over actual loss."""
        return None if self.actual_loss is None else math.log(self.prediction.predicted_loss / self.actual_loss)

    @property
    def is_within(self) -> bool | None:
        """Whether the interval holds the run's loss."""
        if self.actual_loss is None:
            return None
        return self.prediction.low <= self.actual_loss <= self.prediction.high


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How the predictions of a study have fared so far."""

    made: int
    trained: int
    within: int
    """Of the trained ones, those whose interval held the loss."""
    level: float
    """Part that was meant to."""
    mean_log_error: float
    """Predicted over actual: above zero where runs did better than predicted."""
    rms_log_error: float

    @property
    def sentence(self) -> str:
        """How they fared, in words."""
        if not self.trained:
            return f"predictions: {self.made} frozen, none trained yet"
        return (
            f"predictions: {self.made} frozen, {self.trained} trained since; {self.within} of them "
            f"({self.within / self.trained:.0%}) within their {self.level:.0%} intervals, error "
            f"{self.rms_log_error:.2%} (rms), {self.mean_log_error:+.2%} on average"
        )


def judge(
    predictions: Iterable[Prediction], records: Sequence[RunRecord], *, cohort: str | None
) -> tuple[JudgedPrediction, ...]:
    """Returns the predictions of one cohort, each with the first run at its cell and rate that began after it.

    A prediction of a cell whose run had begun before says nothing about foresight and is left out.
    """
    first: dict[tuple[object, ...], RunRecord] = {}
    for record in sorted(records, key=lambda record: record.started_unix_s):
        trial = record.trial
        first.setdefault((trial.cohort, trial.model, trial.epochs, trial.batch_images, trial.peak_lr), record)
    judged: list[JudgedPrediction] = []
    for one in predictions:
        if cohort is not None and one.cohort != cohort:
            continue
        record = first.get((one.cohort, one.model, one.epochs, one.batch_images, one.peak_lr))
        if record is not None and record.started_unix_s < one.made_unix_s:
            continue
        judged.append(JudgedPrediction(prediction=one, actual_loss=None if record is None else record.val_loss))
    return tuple(judged)


def calibration(judged: Sequence[JudgedPrediction]) -> Calibration | None:
    """Returns how predictions fared; None where none was made."""
    if not judged:
        return None
    errors = [one.log_error for one in judged if one.log_error is not None]
    return Calibration(
        made=len(judged),
        trained=len(errors),
        within=sum(one.is_within is True for one in judged),
        level=statistics.fmean(one.prediction.level for one in judged),
        mean_log_error=statistics.fmean(errors) if errors else 0.0,
        rms_log_error=math.sqrt(statistics.fmean(error**2 for error in errors)) if errors else 0.0,
    )
