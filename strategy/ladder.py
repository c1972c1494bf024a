"""Up a ladder of budgets: fit below, predict the next rung's optimum, train it, compare, go up."""

import math

import numpy as np

from strategy.batch import choose, room_of, trials_at
from strategy.belief import Belief, believe
from strategy.predicting import predict
from strategy.questions import Question, best_within
from strategy.round import Round, State
from strategy.spec import StrategySpec
from strategy.stopping import StopRule, buys_line, standing_line
from strategy.two_trial import admissible
from sweeps.budget import format_core_hours

SPEND_SHARE, RUNG_FACTOR, BATCH_RUNS = 0.10, 2.5, 2
"""Defaults of the strategy's settings."""
_SHARE_POWER = 0.8
"""A rung of budget b may bring the spending to share x (b / highest rung) ** this: dear rungs get the most of it."""
_PORTIONS = 3
"""Batches in which a rung's allowance is used, so that later ones know what earlier ones showed."""
_USED = 0.9
"""A rung is over when so much of its allowance is used."""


def ladder_round(state: State, spec: StrategySpec, question: Question, until: StopRule | None = None) -> Round:
    """Returns the next runs: the rung's predicted optimum at its two rates, then what tells most of the question.

    Args:
        state: what is recorded, at least one finished run; its field's ceiling is the highest rung.
        spec: the strategy's settings.
        question: what is asked of the top, usually loss@BUDGET.
        until: when it is answered; absent: when the highest rung is done.
    """
    belief = believe(state.field, state.evidence)
    standing = standing_line(question, belief)
    if until is not None and (why := until.why_met(belief)) is not None:
        return Round(trials=(), lines=(standing, why))
    least = BATCH_RUNS if spec.batch_runs is None else spec.batch_runs
    share = SPEND_SHARE if spec.spend_share is None else spec.spend_share
    highest = rungs(state, RUNG_FACTOR if spec.rung_factor is None else spec.rung_factor)
    for rung in highest:
        allowance = share * state.field.grid_core_hours * (rung / highest[-1]) ** _SHARE_POWER
        room = room_of(state, allowance)
        places = _optimum(state, belief, rung, room)
        head = f"rung {format_core_hours(rung)}: its predicted optimum {_named(state, places)}"
        if not places and state.spent_core_hours < _USED * allowance:
            batch = max(room / _PORTIONS, float(state.field.core_hours.min()))
            places = choose(
                state, belief, question, core_hours=min(batch, room), room=room, ceiling=rung, least_runs=least
            )
            head = f"rung {format_core_hours(rung)}: what tells most of {question}"
        if places:
            return Round(
                trials=trials_at(state, places),
                lines=(standing, head, buys_line(state, question, belief)),
                predictions=predict(belief, places, made_by=spec.name),
            )
    return Round(trials=(), lines=(standing, "the ladder has no rung left, or nothing left to spend on one"))


def rungs(state: State, factor: float) -> tuple[float, ...]:
    """Returns the budgets of the rungs, from a few times the cheapest cell to the ceiling, rising [core-hours]."""
    prices = state.field.core_hours[state.field.is_trainable]
    top, bottom = float(prices.max()), float(prices.min())
    count = max(1, math.floor(math.log(top / bottom) / math.log(factor)))
    return tuple(top / factor**k for k in reversed(range(count)))


def _optimum(state: State, belief: Belief, rung: float, room: float) -> list[tuple[int, int]]:
    """Returns the rates still to be tried of a rung's predicted optimum, as far as there is room."""
    field = state.field
    trained = np.where(field.is_trainable[:, None], belief.mean, np.inf)
    cell, rate = best_within(trained, field, rung)
    done = {r for c, r, _ in state.evidence.runs.tolist() if c == cell}
    wanted = [r for r in (rate, *admissible(field, state.evidence, belief)[cell]) if r not in done]
    second_trial = list(dict.fromkeys(wanted))[: max(0, 2 - len(done))]
    affordable = int(max(room, 0.0) / float(field.core_hours[cell]))
    return [(cell, r) for r in second_trial if state.fresh(cell, r) is not None][:affordable]


def _named(state: State, places: list[tuple[int, int]]) -> str:
    rates = " and ".join(f"{state.field.peak_lrs(cell)[rate]:g}" for cell, rate in places)
    return f"{state.field.name(places[0][0])} at {rates}" if places else ""
