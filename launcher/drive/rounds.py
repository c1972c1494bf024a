"""A study by rounds: the strategy is asked what is worth training, that is trained, and it is asked again."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from analysis.tables.judged import judge
from launcher.contract.backend import TRAINER
from launcher.drive.launch import launch_rounds
from launcher.drive.reconcile import Settlement
from launcher.drive.spending import SpendLedger
from launcher.settings.request import Request
from launcher.show.progress import View
from strategy.choosing import Inquiry
from strategy.round import Round
from sweeps.plan import Pack, packs_of
from sweeps.record import RunRecord
from tracking.paths import ProjectPaths
from tracking.predictions import freeze

_MOST_LINES = 3
"""Of predictions of one round that are held against what was reached."""


@dataclass(kw_only=True)
class Rounds:
    """What a strategy has asked for so far in one command."""

    inquiry: Inquiry
    records: Callable[[], list[RunRecord]]
    """All of the study, as known at the moment of the call."""
    on_round: Callable[[Round], None]
    """Called with every round before its trials are handed in: predictions are frozen here."""
    told: list[Round] = field(default_factory=list[Round])

    def next_packs(self, ledger: SpendLedger, view: View, given_up: frozenset[str]) -> Sequence[Pack]:
        """Returns the packs of the next round, none when the strategy is done."""
        cap = ledger.cap_core_hours
        left = math.inf if cap is None else cap - ledger.spent_core_hours - ledger.reserved_core_hours
        records = self.records()
        for line in _foresight(self.told[-1] if self.told else None, records):
            view.say(f"round {len(self.told)}: {line}")
        found = self.inquiry.next_round(records, left_core_hours=left, barred=given_up)
        self.told.append(found)
        for line in found.lines:
            view.say(f"round {len(self.told)}: {line}")
        self.on_round(found)
        return packs_of(found.trials, self.inquiry.field.study)


def _foresight(last: Round | None, records: Sequence[RunRecord]) -> list[str]:
    """Returns a line for each prediction of the last round that was trained since, the dearest first."""
    if last is None:
        return []
    judged = judge(last.predictions, records, cohort=None)
    known = [one for one in judged if one.actual_loss is not None]
    dearest = sorted(known, key=lambda one: -one.prediction.core_hours)[:_MOST_LINES]
    return [
        f"{one.prediction.model}-e{one.prediction.epochs:g} at {one.prediction.peak_lr:g} was predicted to reach "
        f"{one.prediction.predicted_loss:.4g} ({one.prediction.low:.4g} to {one.prediction.high:.4g}) and reached "
        f"{one.actual_loss:.4g}{'' if one.is_within else ': outside its interval'}"
        for one in dearest
    ]


def settle_rounds(
    request: Request,
    paths: ProjectPaths,
    inquiry: Inquiry,
    *,
    trainer: str = TRAINER,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Settlement, tuple[Round, ...]]:
    """Returns what became of all trials that a strategy asked for, and its rounds.

    Raises:
        SweepStopped: the sweep cannot go on.
        StudyError: the user has to mend something.
    """
    from tracking.ledger import load_records

    study = request.study.name

    def records() -> list[RunRecord]:
        # What an unfinished run has used is in its curve.
        return load_records(paths, study, curves=True)

    def on_round(found: Round) -> None:
        freeze(paths, study, found.predictions)

    rounds = Rounds(inquiry=inquiry, records=records, on_round=on_round)
    settlement = launch_rounds(request, paths, rounds.next_packs, records(), trainer=trainer, say=say)
    return settlement, tuple(rounds.told)
