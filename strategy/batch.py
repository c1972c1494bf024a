"""Batches of runs: which are worth most per core-hour, and what to run before anything is known."""

from collections.abc import Sequence

import numpy as np

from strategy.belief import Belief
from strategy.design import outlook
from strategy.questions import Question, outlook_on
from strategy.round import Round, State
from strategy.two_trial import admissible
from sweeps.trial import Trial

MOST_RUNS = 64
"""In a batch."""
_RESERVE = 0.05
"""Part of what may be used that is kept for steps that pre-emptions make be trained again."""


def opening(state: State) -> Round:
    """Returns what is run before anything is known: the cheapest cell at every rate, one of them twice."""
    cells = np.flatnonzero(state.field.is_trainable)
    if not len(cells):
        return Round(trials=(), lines=("no cell is cheap enough to be trained",))
    cell, rates = int(cells[0]), [int(rate) for rate in state.field.asked_rates]
    trials = trials_at(state, [*((cell, rate) for rate in rates), (cell, rates[len(rates) // 2])])
    price = float(state.field.core_hours[cell])
    affordable = int(min(state.left_core_hours / price, len(trials)))
    line = f"first {state.field.name(cell)}, the cheapest cell, at every learning rate and once more for the noise"
    return Round(trials=trials[:affordable], lines=(line,))


def room_of(state: State, allowance_core_hours: float) -> float:
    """Returns the price of the runs that may still be begun, given what all runs together may use [core-hours]."""
    left = min((1.0 - _RESERVE) * allowance_core_hours - state.spent_core_hours, state.left_core_hours)
    return max(0.0, left / state.overhead)


def choose(
    state: State, belief: Belief, question: Question, *, core_hours: float, room: float,
    ceiling: float | None = None, least_runs: int = 1,
) -> list[tuple[int, int]]:  # fmt: skip
    """Returns the (cell, rate) of a batch, the most telling per core-hour first; one may come several times.

    Runs count by the expected improvement of the pick where an optimum is asked for, else by the variance they take
    from the answer. The rates of a cell are those of the two-trial rule.

    Args:
        state: what may be trained.
        belief: what is known.
        question: what is asked.
        core_hours: of the whole batch; the run that reaches it is still in.
        room: what the batch never costs more than [core-hours].
        ceiling: of one run [core-hours]; absent: the field's.
        least_runs: in the batch, where there is room for them.
    """
    view = outlook(belief) if question.kind == "optimum" else outlook_on(question, belief)
    field, rates = state.field, state.field.rate_count
    price = np.repeat(field.core_hours, rates)
    allowed = _allowed(state, belief).ravel()
    if ceiling is not None:
        allowed &= np.repeat(field.is_within(ceiling), rates)
    budget = question.budget_core_hours or field.budget_core_hours
    choices = np.flatnonzero(np.repeat(field.is_within(budget), rates))
    places: list[tuple[int, int]] = []
    used = 0.0
    while (used < core_hours or len(places) < least_runs) and len(places) < MOST_RUNS:
        gains = view.gains(choices) if question.kind == "optimum" else view.asked_variance - view.variances_left()
        score = np.where(allowed & (used + price <= room), gains / price, 0.0)
        best = int(score.argmax())
        if score[best] <= 0.0:
            break
        places.append((best // rates, best % rates))
        used += float(price[best])
        view = view.after(best)
    return places


def trials_at(state: State, places: Sequence[tuple[int, int]]) -> tuple[Trial, ...]:
    """Returns a fresh trial for each place, with the next seed for each time that a place comes again."""
    found: dict[str, Trial] = {}
    for cell, rate in places:
        trial = state.fresh(cell, rate, besides=found)
        if trial is not None:
            found[trial.id] = trial
    return tuple(found.values())


def _allowed(state: State, belief: Belief) -> np.ndarray:
    """Returns where runs may be made, (cells, rates)."""
    field = state.field
    allowed = np.zeros((len(field.cells), field.rate_count), dtype=bool)
    for cell, rates in admissible(field, state.evidence, belief).items():
        if field.is_trainable[cell]:
            allowed[cell, list(rates)] = [state.fresh(cell, rate) is not None for rate in rates]
    return allowed
