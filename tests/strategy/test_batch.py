import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.batch import MOST_RUNS, choose, opening, room_of, trials_at
from strategy.belief import believe
from strategy.questions import Question, parse_question
from strategy.round import State
from strategy.two_trial import admissible
from sweeps.record import Status
from tests.strategy.worlds import field_of, record_of, runs, true_log_loss

QUESTIONS = ("optimum@10k", "loss@10k", "exponent")


def state_of(*, left: float = np.inf, ceiling: float | None = None, cells: range = range(3)) -> State:
    """Returns the state after a few runs of cheap cells."""
    field = field_of(10_000.0, ceiling=ceiling)
    return State.read(field, runs(field, true_log_loss(field), cells), left_core_hours=left)


def test_opening_is_the_cheapest_cell_at_every_rate() -> None:
    """All rates of the study and one of them twice, so that the noise is seen."""
    field = field_of(10_000.0)
    found = opening(State.read(field, []))
    assert sorted(field.find(trial) for trial in found.trials) == [(0, 1), (0, 2), (0, 2), (0, 3)]
    assert len({trial.id for trial in found.trials}) == 4


@pytest.mark.parametrize(("left", "count"), [(0.0, 0), (399.0, 0), (850.0, 2), (1e9, 4)])
def test_opening_goes_as_far_as_the_cap(left: float, count: int) -> None:
    """Whole runs only."""
    assert len(opening(State.read(field_of(10_000.0), [], left_core_hours=left)).trials) == count


def test_nothing_is_opened_below_the_cheapest_cell() -> None:
    """A ceiling below it says so."""
    found = opening(State.read(field_of(10_000.0, ceiling=100.0), []))
    assert found.is_over and found.lines == ("no cell is cheap enough to be trained",)


@settings(max_examples=20)
@given(
    question=st.sampled_from(QUESTIONS),
    core_hours=st.floats(100.0, 40_000.0),
    room=st.floats(0.0, 30_000.0),
    ceiling=st.sampled_from([None, 800.0, 5_000.0]),
    least=st.integers(1, 6),
)
def test_a_batch_stays_within_its_bounds(
    question: str, core_hours: float, room: float, ceiling: float | None, least: int
) -> None:
    """Never more than there is room for, than the ceiling allows of one run, or than a batch holds."""
    state = state_of()
    field = state.field
    belief = believe(field, state.evidence)
    places = choose(
        state, belief, parse_question(question), core_hours=core_hours, room=room, ceiling=ceiling, least_runs=least
    )
    prices = [float(field.core_hours[cell]) for cell, _ in places]
    assert sum(prices) <= room
    assert len(places) <= MOST_RUNS
    assert not prices or len(prices) <= least or sum(prices[:-1]) < core_hours
    assert ceiling is None or max(prices, default=0.0) <= 1.01 * ceiling
    allowed = admissible(field, state.evidence, belief)
    assert all(rate in allowed[cell] for cell, rate in places)
    trials = trials_at(state, places)
    assert len({trial.id for trial in trials}) == len(places)
    assert sorted(field.find(trial) for trial in trials) == sorted(places)


def test_cells_above_the_ceiling_of_the_field_are_left_out() -> None:
    """They are predicted only."""
    state = state_of(ceiling=3_000.0)
    belief = believe(state.field, state.evidence)
    places = choose(state, belief, parse_question("loss@10k"), core_hours=20_000.0, room=20_000.0)
    assert places and all(state.field.is_trainable[cell] for cell, _ in places)


def test_where_a_run_diverged_none_is_chosen() -> None:
    """Nor at a higher rate of the cell."""
    field = field_of(3_000.0)
    records = runs(field, true_log_loss(field), range(2))
    free = State.read(field, records)
    question = Question(kind="loss", budget_core_hours=3_000.0)
    first = choose(free, believe(field, free.evidence), question, core_hours=1.0, room=1e6)[0]
    wild = record_of(field.trial(*first, 0), field, None, status=Status.DIVERGED)
    state = State.read(field, [*records, wild])
    places = choose(state, believe(field, state.evidence), question, core_hours=20_000.0, room=20_000.0)
    assert places and not any(cell == first[0] and rate >= first[1] for cell, rate in places)


def test_room_keeps_a_reserve_and_counts_overheads() -> None:
    """What pre-emptions made be trained again will be again: less can be begun."""
    import dataclasses

    state = state_of()
    assert room_of(state, 100_000.0) == pytest.approx(95_000.0 - state.spent_core_hours)
    dearer = dataclasses.replace(state, spent_core_hours=2.0 * state.spent_core_hours)
    assert room_of(dearer, 100_000.0) == pytest.approx((95_000.0 - dearer.spent_core_hours) / 2.0)
    assert room_of(state, 0.0) == 0.0
    assert room_of(state_of(left=10.0), 100_000.0) == 10.0
