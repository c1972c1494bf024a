"""A time left that does not jump about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.show.calm import Calm


class Clock:
    """A clock that is moved by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        """Returns the time [s]."""
        return self.now_s


@given(st.lists(st.tuples(st.floats(0.1, 50.0), st.floats(0.0, 1e4)), min_size=1, max_size=30))
def test_never_outside_what_was_estimated(told: list[tuple[float, float]]) -> None:
    """The end that is shown lies between the earliest and the latest that was ever estimated."""
    clock = Clock()
    calm = Calm(clock)
    ends: list[float] = []
    for wait_s, left_s in told:
        clock.now_s += wait_s
        before = len(ends)

        def estimate(left_s: float = left_s) -> float:
            ends.append(clock.now_s + left_s)
            return left_s

        shown_s = calm.shown_s(estimate)
        assert len(ends) - before <= 1
        assert shown_s is not None and shown_s >= 0.0
        assert shown_s == 0.0 or min(ends) - 1e-6 <= clock.now_s + shown_s <= max(ends) + 1e-6


def test_runs_down_by_the_clock_and_follows_gently() -> None:
    """Between estimates it runs down; an estimate twice as long moves it a little, and in the end all the way."""
    clock = Clock()
    calm = Calm(clock)
    assert calm.shown_s(lambda: None) is None
    clock.now_s = 1.0
    assert calm.shown_s(lambda: 100.0) == 100.0
    clock.now_s = 1.1
    assert calm.shown_s(lambda: 1.0 / 0.0) == pytest.approx(99.9)  # too soon to be asked
    for _ in range(50):
        clock.now_s += 1.0
        assert calm.shown_s(lambda: 101.0 - clock.now_s) == pytest.approx(101.0 - clock.now_s)
    clock.now_s += 1.0
    shown_s = calm.shown_s(lambda: 100.0)
    assert shown_s is not None and 49.0 < shown_s < 65.0
    for _ in range(200):
        clock.now_s += 1.0
        shown_s = calm.shown_s(lambda: 200.0)
    assert shown_s == pytest.approx(200.0, abs=25.0)


def test_forgets_when_the_work_changes() -> None:
    """A new round is shown as estimated, at once."""
    clock = Clock()
    calm = Calm(clock)
    assert calm.shown_s(lambda: 100.0) == 100.0
    calm.forget()
    assert calm.shown_s(lambda: 7.0) == 7.0
