"""One turn of a strategy: what to train next, what is expected of it, and what to tell the person who waits."""

import itertools
from collections.abc import Container, Iterable
from dataclasses import dataclass

from strategy.evidence import Evidence
from strategy.field import Field
from sweeps.prediction import Prediction
from sweeps.record import RunRecord, Status
from sweeps.spent import core_hours_spent
from sweeps.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a strategy wants, given what is recorded: the same records give the same round."""

    trials: tuple[Trial, ...]
    """To be trained now, none of them settled; empty: the strategy is done."""
    lines: tuple[str, ...] = ()
    """For people: why these, what is known now, what more core-hours would buy."""
    predictions: tuple[Prediction, ...] = ()
    """Of losses at cells and rates that nothing was trained at."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be trained."""
        return not self.trials


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """What a strategy looks at: the field, its finished runs, and what may still be used."""

    field: Field
    evidence: Evidence
    begun: tuple[Trial, ...]
    """Trials of the field that were started and not ended: they are ended before others begin."""
    spent_core_hours: float
    """What the runs of the field have used."""
    left_core_hours: float
    """What the spend cap leaves; infinite without one."""
    barred: frozenset[str]
    """Ids of trials that cannot be had: they failed, or do not fit."""
    settled: frozenset[str]
    """Ids of trials that need no further attempt."""

    @classmethod
    def read(
        cls,
        field: Field,
        records: Iterable[RunRecord],
        *,
        left_core_hours: float = float("inf"),
        barred: frozenset[str] = frozenset(),
    ) -> "State":
        """Returns the state that records show.

        Args:
            field: what may be trained.
            records: of the study; runs that are none of the field's count nowhere.
            left_core_hours: what a spend cap leaves.
            barred: ids of trials given up in this command.
        """
        own = [record for record in records if field.find(record.trial) is not None]
        own.sort(key=lambda record: record.trial.id)  # records in any order give the same round, sums to the last digit
        unfit = frozenset(record.trial.id for record in own if record.status is Status.OUT_OF_MEMORY)
        settled = frozenset(record.trial.id for record in own if record.is_settled)
        begun = [
            record.trial
            for record in own
            if not record.is_settled and record.status is not Status.FAILED and record.trial.id not in barred
        ]
        return cls(
            field=field,
            evidence=Evidence.read(field, own),
            begun=tuple(begun),
            spent_core_hours=sum(core_hours_spent(record) for record in own),
            left_core_hours=left_core_hours,
            barred=barred | unfit,
            settled=settled,
        )

    @property
    def overhead(self) -> float:
        """What runs have used over their price: more than 1 where pre-emptions make steps be trained again."""
        price = float(self.field.core_hours[self.evidence.cell].sum())
        return max(1.0, self.spent_core_hours / price) if price else 1.0

    def fresh(self, cell: int, rate: int, *, besides: Container[str] = ()) -> Trial | None:
        """Returns a trial of a cell and rate that nobody has trained: the study's seeds first, then the next numbers.

        None where one of this cell and rate is barred: the others would fare no better.

        Args:
            cell: position in the field.
            rate: likewise.
            besides: ids of trials that are spoken for.
        """
        field, runs = self.field, self.evidence
        used = set(runs.seed[(runs.cell == cell) & (runs.rate == rate)].tolist())
        seeds = field.study.seeds
        for seed in itertools.chain((s for s in seeds if s not in used), itertools.count(max(seeds) + 1)):
            if seed in used:
                continue
            trial = field.trial(cell, rate, seed)
            if trial.id in self.barred or (cell, rate) in runs.diverged:
                return None
            if trial.id not in self.settled and trial.id not in besides:
                return trial
        return None
