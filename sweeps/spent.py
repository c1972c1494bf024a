"""What records say of a grid: what is settled, what was used, and what the rest will cost."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sweeps.grid import Floats, Grid, Ints
from sweeps.record import RunRecord, Status


def core_hours_spent(record: RunRecord, *, has_curve: bool = False) -> float:
    """Returns what a run has used [core-hours]: its price times the part of its steps that was done, repeats included.

    Steps taken over from a shorter run were paid for there. One that died after a report counts as far as the next, for
    it may have come there.

    Args:
        record: of the run.
        has_curve: whether it has its curve: then a run without progress has done nothing; else it counts in full, so
            that a cap holds in any case.
    """
    done = _steps_behind(record, unknown=0 if has_curve else record.trial.steps)
    steps = max(0, done - record.shared_steps) + record.repeated_steps + record.unseen_steps
    return record.cost.core_hours * steps / record.trial.steps


def _steps_behind(record: RunRecord, *, unknown: int) -> int:
    """Returns the steps that a run need not do again."""
    return unknown if record.steps_done is None else record.steps_done


@dataclass(frozen=True, kw_only=True)
class GridRecords:
    """What records say about a grid."""

    settled: frozenset[int]
    """Numbers of the trials that need no further attempt."""
    underway: dict[int, float]
    """Trial number to core-hours that an unfinished run has behind it."""
    barren: frozenset[int]
    """Settled trials that came to no end, so that longer ones may find nothing to take over."""
    spent_core_hours: float

    @classmethod
    def read(cls, grid: Grid, records: Iterable[RunRecord], *, accepts_stopped: bool) -> "GridRecords":
        """Returns what records say; with `accepts_stopped` runs that were ended early are done."""
        settled: set[int] = set()
        barren: set[int] = set()
        underway: dict[int, float] = {}
        spent = 0.0
        for record in records:
            used = core_hours_spent(record)
            spent += used
            number = grid.find(record.trial)
            if number is not None and (record.is_settled or (accepts_stopped and record.status is Status.STOPPED)):
                settled.add(number)
                if record.status is not Status.FINISHED:
                    barren.add(number)
            elif number is not None:
                behind = _steps_behind(record, unknown=record.trial.steps)
                underway[number] = record.cost.core_hours * behind / record.trial.steps
        return cls(settled=frozenset(settled), underway=underway, barren=frozenset(barren), spent_core_hours=spent)

    def pending_runs(self, grid: Grid, cells: Ints) -> Ints:
        """Returns how many runs of each cell need an attempt, (cells,)."""
        return grid.runs_per_cell - _runs_by_cell(grid, self.settled)[cells]

    def owed_core_hours(self, grid: Grid, cells: Ints) -> Floats:
        """Returns what the pending runs of each cell will cost, steps that are shared once only, (cells,)."""
        shared = grid.columns.core_hours - grid.trained_core_hours
        pending = self.pending_runs(grid, cells)
        owed = grid.trained_core_hours[cells] * pending
        # Behind a run that came to no end, as many as there are may have to begin at 0.
        before = grid.predecessors[cells]
        alone = np.where(before >= 0, _runs_by_cell(grid, self.barren)[np.maximum(before, 0)], 0)
        owed += shared[cells] * np.minimum(alone, pending)
        credit = np.zeros(grid.cell_count)
        for number, used in self.underway.items():
            cell = number // grid.runs_per_cell
            credit[cell] += max(0.0, min(used, float(grid.columns.core_hours[cell])) - float(shared[cell]))
        return owed - credit[cells]


def _runs_by_cell(grid: Grid, trials: Iterable[int]) -> Ints:
    """Returns how many of these trials each cell has."""
    numbers = np.array(sorted(trials), dtype=np.int64)
    return np.bincount(numbers // grid.runs_per_cell, minlength=grid.cell_count)
