"""Next-best runs by what they teach per core-hour, batch by batch, until the question is answered well enough."""

from strategy.batch import choose, room_of, trials_at
from strategy.belief import Belief, believe
from strategy.predicting import predict
from strategy.questions import Question, best_within, expected_regret
from strategy.round import Round, State
from strategy.spec import StrategySpec
from strategy.stopping import StopRule, buys_line, standing_line
from sweeps.budget import format_core_hours

SPEND_SHARE, TOLERANCE, BATCH_RUNS = 0.25, 0.0005, 2
"""Defaults of the strategy's settings."""
_BATCH_OF_GRID, _BATCH_OF_SPENT = 0.02, 0.25
"""A batch costs this part of the full grid, or this part of what was spent, whichever is more: few, growing rounds."""


def informed_round(state: State, spec: StrategySpec, question: Question, until: StopRule | None = None) -> Round:
    """Returns the next batch of runs.

    Args:
        state: what is recorded, at least one finished run, and what may be spent.
        spec: the strategy's settings.
        question: what is asked.
        until: when it is answered; absent: an optimum by the strategy's tolerance, all else when the share is spent.
    """
    belief = believe(state.field, state.evidence)
    standing = standing_line(question, belief)
    done = until.why_met(belief) if until is not None else _why_known(spec, question, belief)
    if done is not None:
        return Round(trials=(), lines=(standing, done))
    share = SPEND_SHARE if spec.spend_share is None else spec.spend_share
    room = room_of(state, share * state.field.grid_core_hours)
    batch = max(_BATCH_OF_GRID * state.field.grid_core_hours, _BATCH_OF_SPENT * state.spent_core_hours)
    least = BATCH_RUNS if spec.batch_runs is None else spec.batch_runs
    places = choose(state, belief, question, core_hours=min(batch, room), room=room, least_runs=least)
    buys = buys_line(state, question, belief)
    if not places:
        rest = f"{format_core_hours(room)} core-hours are left of {100 * share:.0f} % of the grid"
        return Round(trials=(), lines=(standing, buys, f"{rest} or of the cap: no run fits in or tells more"))
    return Round(
        trials=trials_at(state, places),
        lines=(standing, buys),
        predictions=predict(belief, places, made_by=spec.name),
    )


def _why_known(spec: StrategySpec, question: Question, belief: Belief) -> str | None:
    if question.kind != "optimum" or question.budget_core_hours is None:
        return None
    tolerance = TOLERANCE if spec.tolerance is None else spec.tolerance
    if expected_regret(belief, question.budget_core_hours) > tolerance:
        return None
    cell, _ = best_within(belief.mean, belief.field, question.budget_core_hours)
    return f"the choice is known to {100 * tolerance:.2g} % of its loss: {belief.field.name(cell)}"
