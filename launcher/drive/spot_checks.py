"""strategy=trunk: cells that are also trained with the study's own schedule, so that the two laws can be compared."""

from collections.abc import Iterable

from launcher.settings.request import Request
from strategy.schedules import SPOT_CHECKS, spot_checks
from sweeps.record import RunRecord
from sweeps.trial import Trial


def all_spot_checks(request: Request) -> tuple[Trial, ...]:
    """Returns the trials of the request's spot checks; none where its schedule is the study's own."""
    own = request.own_study
    if own is None:
        return ()
    count = request.strategy.spot_checks
    return spot_checks(own, request.budget.core_hours, SPOT_CHECKS if count is None else count)


def pending_spot_checks(request: Request, records: Iterable[RunRecord]) -> tuple[Trial, ...]:
    """Returns those that still need a run."""
    settled = {record.trial.id for record in records if record.is_settled}
    return tuple(trial for trial in all_spot_checks(request) if trial.id not in settled)
