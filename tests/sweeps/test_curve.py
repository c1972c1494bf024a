"""At which steps a run reports, and what it may have trained unseen."""

import dataclasses
import itertools

from hypothesis import given
from hypothesis import strategies as st

from sweeps.curve import curve_steps, next_report, unreported
from sweeps.trial import Trial
from tests.strategy.worlds import field_of


@given(steps=st.integers(1, 10**8))
def test_reports_rise_and_end_with_the_last_step(steps: int) -> None:
    """Log-spaced: about two a doubling, none beyond the end, and no gap of more than a doubling."""
    points = curve_steps(steps)
    assert points[-1] == steps and points[0] >= 1
    assert list(points) == sorted(set(points))
    assert len(points) <= 2 * steps.bit_length() + 1
    assert all(upper <= 2 * lower + 1 for lower, upper in itertools.pairwise(points))


@given(steps=st.integers(1, 10**6), step=st.integers(0, 10**6))
def test_next_report_is_the_first_beyond(steps: int, step: int) -> None:
    """The least of the points above, or the end."""
    beyond = [point for point in curve_steps(steps) if point > step]
    assert next_report(step, steps) == (beyond[0] if beyond else steps)


def _trial(epochs: float) -> Trial:
    field = field_of(110_000.0)
    return dataclasses.replace(field.trial(0, 1, 0), epochs=epochs)


@given(epochs=st.sampled_from([0.25, 1.0, 8.0]), began=st.floats(0.0, 1.0), died=st.floats(0.0, 1.0))
def test_what_dies_unheard_is_bounded(epochs: float, began: float, died: float) -> None:
    """However far an attempt came after its last report, no more is counted as missing than was possible, nor less."""
    trial = _trial(epochs)
    steps = trial.steps
    # Nothing is saved beyond what was told of, so an attempt begins at or below the front.
    first = int(began * (steps - 1))
    last_trained = first + int(died * (steps - 1 - first))
    told = [point for point in curve_steps(steps) if first < point <= last_trained]
    last = told[-1] if told else None
    hidden = last_trained - (first if last is None else last)
    assert hidden <= unreported(trial, last, front=max(first, last or 0)) <= steps


def test_a_program_of_the_user_s_reports_when_it_likes() -> None:
    """All that is left of it may have been trained."""
    trial = dataclasses.replace(_trial(1.0), program="mine 1")
    assert unreported(trial, None, front=0) == trial.steps
    assert unreported(trial, 100, front=100) == trial.steps - 100
    assert unreported(trial, None, front=300, began=300) == trial.steps - 300
