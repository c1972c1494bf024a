import dataclasses

import pytest

from strategy.round import State
from sweeps.record import Status
from tests.strategy.worlds import begun, field_of, record_of


def test_state_counts_repeats_and_lets_failures_be():
    """What runs have used is theirs with repeats; begun are those that were neither settled nor failed nor given up."""
    field = field_of(3_000.0)
    trials = [field.trial(cell, 1, 0) for cell in range(4)]
    whole = record_of(trials[0], field, 2.5)
    repeated = dataclasses.replace(whole, repeated_steps=trials[0].steps // 2)
    half, failed = begun(trials[1], field), record_of(trials[2], field, None, status=Status.FAILED)
    state = State.read(field, [repeated, half, failed, begun(trials[3], field)], barred=frozenset({trials[3].id}))
    assert state.begun == (trials[1],)
    assert state.settled == {trials[0].id}
    used = 1.5 * field.core_hours[0] + 0.5 * field.core_hours[1] + field.core_hours[2] + 0.5 * field.core_hours[3]
    assert state.spent_core_hours == pytest.approx(used, rel=1e-3)
    assert state.overhead > 1.0


def test_fresh_trials_take_the_study_s_seeds_first():
    """Then the next numbers, and none of what is settled, spoken for, barred or diverged."""
    field = field_of(3_000.0, seeds=(5, 3))
    records = [record_of(field.trial(0, 1, 5), field, 2.5)]
    wild = record_of(field.trial(1, 1, 5), field, None, status=Status.DIVERGED)
    barred = field.trial(2, 1, 5).id
    state = State.read(field, [*records, wild], barred=frozenset({barred}))
    first = state.fresh(0, 1)
    assert first is not None and first.seed == 3
    second = state.fresh(0, 1, besides={first.id})
    assert second is not None and second.seed == 6
    assert state.fresh(1, 1) is None and state.fresh(2, 1) is None
