"""Asynchronous successive halving within each cell: learning rates of the same model, epochs, batch and seed compete.

Imported by the process of the Tune loop only, for it loads Ray Tune.
"""

from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from launcher.on_ray.ray_trainable import PERCENT_DONE, TRAIN_LOSS

WHOLE = 100.0
"""A run's length in the unit that rungs are counted in [percent of its steps]."""


@dataclass(frozen=True)
class _Entry:
    """All that Tune's scheduler asks of a trial; a trial that is submitted again is the same entry."""

    trial_id: str


@dataclass
class _Race:
    halving: Any
    standing: set[str] = field(default_factory=set[str])
    """Trials that may still become the cell's best: not stopped, not diverged, not given up."""
    outrun: set[str] = field(default_factory=set[str])


class AshaByCell:
    """Says which trials have fallen behind in their cell, by Tune's own ASHA, one for each cell."""

    def __init__(self, *, reduction_factor: int, grace_fraction: float) -> None:
        self._reduction_factor = reduction_factor
        self._grace = min(WHOLE, max(1.0, WHOLE * grace_fraction))
        self._races: dict[str, _Race] = {}

    def add(self, cell: str, trial_id: str) -> None:
        """Enters a trial into the race of its cell; a repeated start changes nothing."""
        if cell not in self._races:
            halving: Any = AsyncHyperBandScheduler
            self._races[cell] = _Race(
                halving(
                    time_attr=PERCENT_DONE,
                    metric=TRAIN_LOSS,
                    mode="min",
                    max_t=WHOLE,
                    grace_period=self._grace,
                    reduction_factor=self._reduction_factor,
                    stop_last_trials=False,
                )
            )
        race = self._races[cell]
        race.halving.on_trial_add(None, _Entry(trial_id))
        if trial_id not in race.outrun:
            race.standing.add(trial_id)

    def is_outrun(self, cell: str, trial_id: str, result: dict[str, Any]) -> bool:
        """Returns whether a trial has to stop at this result; never the last one of its cell that stands."""
        race = self._races[cell]
        if trial_id not in race.standing or result.get(PERCENT_DONE, WHOLE) >= WHOLE:
            return False
        decision = race.halving.on_trial_result(None, _Entry(trial_id), result)
        if decision != TrialScheduler.STOP or len(race.standing) == 1:
            return False
        race.standing.discard(trial_id)
        race.outrun.add(trial_id)
        return True

    def drop(self, cell: str, trial_id: str) -> None:
        """Takes a trial that has diverged or failed out of the race: nobody is stopped for being behind it alone."""
        self._races[cell].standing.discard(trial_id)
