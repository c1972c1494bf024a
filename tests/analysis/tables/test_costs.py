import dataclasses

import pytest

from analysis.tables.costs import PARTS, cost_ratios, costs_of
from sweeps.record import CostClock, RunRecord
from tests.analysis.synthetic import record, study_points

CLOCK = CostClock(compile_s=36.0, input_wait_s=18.0, step_s=270.0, evaluation_s=18.0, checkpoint_s=9.0, lost_s=9.0)


def timed(run: RunRecord, clock: CostClock | None = CLOCK, *, cores: int = 10) -> RunRecord:
    """Returns the record of a run that kept a clock."""
    assert run.outcome is not None
    return dataclasses.replace(run, outcome=dataclasses.replace(run.outcome, clock=clock, cores=cores))


def test_models_are_added_up() -> None:
    """A row for each model, the cheapest first; hours are those of all its cores, and shares add up to one."""
    twice = CostClock(**{name: 2 * value for name, value in vars(CLOCK).items()})
    small, large = costs_of(
        [timed(record(model="f3"), twice), timed(record(model="f0")), timed(record(model="f0", seed=1), cores=20)]
    )
    assert (small.model, small.runs, large.model, large.runs) == ("f0", 2, "f3", 1)
    assert small.predicted_core_hours == pytest.approx(2 * 1600.0)
    assert small.billed_core_hours == pytest.approx(1.0 + 2.0)
    assert large.billed_core_hours == pytest.approx(2.0)
    for row in (small, large):
        assert tuple(row.shares) == PARTS
        assert row.shares == pytest.approx(
            {"compile": 0.1, "input_wait": 0.05, "step": 0.75, "evaluation": 0.05, "checkpoint": 0.025, "lost": 0.025}
        )


def test_runs_without_a_clock_are_left_out() -> None:
    """What is missing is missing: a trainer that keeps no clock has no row, and none with zeros."""
    assert costs_of([record()]) == ()
    (row,) = costs_of([record(), timed(record(seed=1))])
    assert row.runs == 1
    assert study_points([record(), timed(record(seed=1))]).costs == (row,)


def test_ratios_are_of_shares_where_units_differ() -> None:
    """In one unit a ratio says how far off the price was; in two, only how the models compare: equal is 1."""
    costs = costs_of([timed(record(model="f0")), timed(record(model="f1"))])  # one core-hour each, for 1600 and 2700
    assert cost_ratios(costs, is_relative=False) == pytest.approx([1 / 1600, 1 / 2700])
    assert cost_ratios(costs, is_relative=True) == pytest.approx([4300 / 2 / 1600, 4300 / 2 / 2700])
    assert cost_ratios((), is_relative=True) == []
