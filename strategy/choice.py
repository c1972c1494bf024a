"""The configuration that a strategy names for its budget, and what is known of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from strategy.belief import Belief, believe
from strategy.field import Field
from strategy.questions import Answer, Question, answer, best_within
from strategy.round import State
from sweeps.record import RunRecord
from sweeps.trial import Trial


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """Where the least loss is expected within the field's budget."""

    belief: Belief
    cell: int
    """Position in the field."""
    rate: int
    """Likewise."""
    known: Answer
    """The best loss within the budget [nats]."""
    spent_core_hours: float
    """What the field's runs have used."""

    @property
    def trial(self) -> Trial:
        """What to train, with the study's first seed."""
        return self.belief.field.trial(self.cell, self.rate, self.belief.field.study.seeds[0])


def choice_of(field: Field, records: Iterable[RunRecord]) -> Choice | None:
    """Returns what the records of a field lead to; None before anything was run."""
    state = State.read(field, records)
    if not len(state.evidence):
        return None
    belief = believe(field, state.evidence)
    cell, rate = best_within(belief.mean, field, field.budget_core_hours)
    known = answer(Question(kind="loss", budget_core_hours=field.budget_core_hours), belief)
    return Choice(belief=belief, cell=cell, rate=rate, known=known, spent_core_hours=state.spent_core_hours)
