"""From what was asked and what is recorded to what is trained next: a pure function, so the driver may die."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from strategy import informed, ladder
from strategy.batch import opening, trials_at
from strategy.belief import MOST_CELLS
from strategy.field import Field
from strategy.questions import Question, check_question, parse_question
from strategy.round import Round, State
from strategy.spec import StrategySpec
from strategy.stopping import StopRule, parse_until
from strategy.two_trial import tunings
from sweeps.budget import READING_TOLERANCE, Budget, format_core_hours, parse_core_hours
from sweeps.errors import StudyError
from sweeps.record import RunRecord
from sweeps.study import Study


@dataclass(frozen=True, kw_only=True, eq=False)
class Inquiry:
    """A study that is run by rounds: what may be trained, by which strategy, what is asked and when it is answered."""

    field: Field
    spec: StrategySpec
    question: Question
    until: StopRule | None

    @classmethod
    def of(cls, study: Study, budget: Budget, spec: StrategySpec, until: str | None = None) -> "Inquiry":
        """Returns the inquiry; raises StudyError where the strategy's settings, question or stop rule cannot be.

        No run costs more than the budget. What is asked of a larger one is predicted.
        """
        ceiling = None if spec.ceiling is None else parse_core_hours(spec.ceiling, what="strategy.ceiling")
        _check(study, spec, ceiling, budget)
        rule = None if until is None else parse_until(until)
        question = _question(spec, budget, rule)
        asked = [one.budget_core_hours or 0.0 for one in (question, *([rule.question] if rule else []))]
        top = max(budget.core_hours, *asked)
        field = Field(study=study, budget_core_hours=top, ceiling_core_hours=ceiling or budget.core_hours)
        if len(field.cells) > MOST_CELLS and spec.name != "two_trial":
            raise StudyError(
                f"strategy={spec.name} chooses among at most {MOST_CELLS} cells, and study {study.name} has "
                f"{len(field.cells)} within {budget} (try: strategy=two_trial, or fewer study.epochs)"
            )
        if len(field.cells):
            for one in (*([question] if spec.question else []), *([rule.question] if rule else [])):
                check_question(one, field)
        return cls(field=field, spec=spec, question=question, until=rule)

    @property
    def share(self) -> float | None:
        """The part of the full grid's core-hours that may be used; None where the strategy has no such limit."""
        defaults = {"informed": informed.SPEND_SHARE, "ladder": ladder.SPEND_SHARE}
        return self.spec.spend_share or defaults.get(self.spec.name)

    def next_round(
        self,
        records: Iterable[RunRecord],
        *,
        left_core_hours: float = math.inf,
        barred: frozenset[str] = frozenset(),
    ) -> Round:
        """Returns what is trained next; an empty round when the strategy is done. Runs that were begun are ended first.

        Args:
            records: all of the study.
            left_core_hours: what a spend cap leaves.
            barred: ids of trials that were given up in this command.
        """
        state = State.read(self.field, records, left_core_hours=left_core_hours, barred=barred)
        if state.begun:
            return Round(trials=state.begun, lines=("going on with runs that were begun",))
        if self.spec.name == "two_trial":
            return two_trial_round(state)
        if not len(state.evidence):
            return opening(state)
        choose = ladder.ladder_round if self.spec.name == "ladder" else informed.informed_round
        return choose(state, self.spec, self.question, self.until)


def two_trial_round(state: State) -> Round:
    """Returns the rates of all cells whose neighbours are tuned, with every seed of the study."""
    field = state.field
    found = tunings(field, state.evidence)
    done = {(cell, rate) for cell, rate, _ in state.evidence.runs.tolist()} | set(state.evidence.diverged)
    places = [
        (cell, rate)
        for cell, tuning in found.items()
        for rate in tuning.rates
        if (cell, rate) not in done and state.fresh(cell, rate) is not None
    ]
    affordable: list[tuple[int, int]] = []
    used = 0.0
    for cell, rate in sorted(places, key=lambda place: float(field.core_hours[place[0]])):
        used += float(field.core_hours[cell]) * len(field.study.seeds)
        if used <= state.left_core_hours:
            affordable += [(cell, rate)] * len(field.study.seeds)
    decided = sum(tuning.is_decided for tuning in found.values())
    line = f"{decided} of {int(field.is_trainable.sum())} cells have their learning rate by the two-trial rule"
    spent, grid = state.spent_core_hours, field.grid_core_hours
    cost = f"{format_core_hours(spent)} core-hours used, {100 * spent / grid:.0f} % of the full grid's"
    return Round(trials=trials_at(state, affordable), lines=(f"{line}; {cost}",))


def _question(spec: StrategySpec, budget: Budget, rule: StopRule | None) -> Question:
    """Returns what is asked: as it was typed, else what the stop rule asks, else of the budget."""
    if spec.question is not None:
        return parse_question(spec.question)
    if rule is not None:
        return rule.question
    kind = "optimum" if spec.name == "informed" else "loss"
    return Question(kind=kind, budget_core_hours=budget.core_hours)


def _check(study: Study, spec: StrategySpec, ceiling: float | None, budget: Budget) -> None:
    if study.picks:
        raise StudyError(
            f"strategy={spec.name} chooses among a grid, but a pick file names its own cells; leave one out"
        )
    if spec.spend_share is not None and not 0.0 < spec.spend_share <= 1.0:
        raise StudyError(
            f"strategy.spend_share={spec.spend_share:g} is no part of the grid: above 0, at most 1 (try: 0.25)"
        )
    if spec.tolerance is not None and not 0.0 < spec.tolerance < 1.0:
        raise StudyError(f"strategy.tolerance={spec.tolerance:g} is no part of a loss (try: 0.0005)")
    if spec.rung_factor is not None and not 1.0 < spec.rung_factor <= 100.0:
        raise StudyError(f"strategy.rung_factor={spec.rung_factor:g} makes no ladder: above 1, at most 100 (try: 2.5)")
    if ceiling is not None and ceiling > READING_TOLERANCE * budget.core_hours:
        raise StudyError(
            f"strategy.ceiling={spec.ceiling} lies above the budget of {budget}: cells above the budget are not looked "
            "at (leave it out, or raise BUDGET)"
        )
