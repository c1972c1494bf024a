"""When the last job is over, held against bounds that any handing out keeps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.show.makespan import MOST_JOBS, Compiling, Job, Lane, makespan_s

LENGTHS = st.lists(st.floats(min_value=0.01, max_value=1e4), min_size=1, max_size=30)


def jobs_of(lengths: list[float], programs: int = 1) -> list[Job]:
    """Returns jobs, the longest of the highest rank."""
    return [Job(name=str(n), program=n % programs, train_s=seconds, rank=seconds) for n, seconds in enumerate(lengths)]


@given(LENGTHS, st.integers(1, 8), st.lists(st.floats(0.0, 100.0), max_size=8))
def test_between_the_bounds_of_list_scheduling(lengths: list[float], workers: int, busy: list[float]) -> None:
    """Not before the longest job or an even share of all work, and at most one job later than that share."""
    lanes = [Lane(free_s=seconds) for seconds in busy] + [Lane()] * workers
    share = (sum(lengths) + sum(busy)) / len(lanes)
    found = makespan_s(lanes, jobs_of(lengths))
    assert max(*lengths, *busy, share) <= found * (1 + 1e-9)
    assert found <= max(max(busy, default=0.0), share + max(lengths)) * (1 + 1e-9)


@given(LENGTHS, st.integers(1, 4))
def test_each_program_is_compiled_once_on_one_worker(lengths: list[float], programs: int) -> None:
    """One worker compiles every program once, whatever the order."""
    met = min(programs, len(lengths))
    found = makespan_s([Lane()], jobs_of(lengths, programs), Compiling(cold_s=10.0, warm_s=1.0))
    assert found == pytest.approx(sum(lengths) + 10.0 * met)


@given(LENGTHS)
def test_a_chain_takes_the_sum(lengths: list[float]) -> None:
    """Jobs each of which waits for the one before take as long as one worker, however many there are."""
    jobs = [
        Job(name=str(n), program=0, train_s=seconds, after=str(n - 1) if n else None)
        for n, seconds in enumerate(lengths)
    ]
    assert makespan_s([Lane(warm=frozenset({0}))] * 3, jobs, Compiling(compiled_s={0: 0.0})) == pytest.approx(
        sum(lengths)
    )


def test_what_runs_frees_what_waits_for_it() -> None:
    """A job that goes on from one in training begins when that is over, and one whose forerunner is gone at once."""
    lanes = [Lane(free_s=5.0, at=("first",)), Lane()]
    assert makespan_s(lanes, [Job(name="second", program=0, train_s=2.0, after="first")]) == 7.0
    assert makespan_s(lanes, [Job(name="second", program=0, train_s=2.0, after="long ago")]) == 5.0


def test_jobs_that_wait_for_one_another_end_the_count() -> None:
    """A circle is no reason to hang."""
    jobs = [Job(name="a", program=0, train_s=1.0, after="b"), Job(name="b", program=0, train_s=1.0, after="a")]
    assert makespan_s([Lane()], jobs) == 0.0


def test_a_program_in_the_cache_is_had_for_less() -> None:
    """Compiled elsewhere: the cheaper time; being compiled elsewhere: the other job comes first."""
    jobs = jobs_of([4.0, 3.0], programs=2)
    compiling = Compiling(cold_s=10.0, warm_s=1.0, compiled_s={0: 0.0, 1: 0.0})
    assert makespan_s([Lane()], jobs, compiling) == pytest.approx(9.0)
    underway = Compiling(cold_s=10.0, warm_s=1.0, compiled_s={0: 2.0})
    assert makespan_s([Lane(warm=frozenset({1}))], jobs, underway) == pytest.approx(3.0 + 1.0 + 4.0)


def test_of_very_many_jobs_the_work_is_spread() -> None:
    """Beyond what can be handed out one by one, time is work over workers."""
    jobs = jobs_of([1.0] * (MOST_JOBS + 1))
    assert makespan_s([Lane()] * 4, jobs) == pytest.approx((MOST_JOBS + 1) / 4)


def test_jobs_need_a_lane() -> None:
    """Nobody works for nobody."""
    assert makespan_s([], []) == 0.0
    with pytest.raises(ValueError, match="lane"):
        makespan_s([], jobs_of([1.0]))
