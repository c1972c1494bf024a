import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.estimators.best_rate import cells_of
from analysis.estimators.frontier import (
    curves_of,
    envelope,
    envelope_weights,
    hand_overs,
    log_losses,
    measured_frontier,
)
from analysis.tables.points import Point, PointSet
from tests.analysis.synthetic import reference_points, study_points, study_records

_ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(1.0, 1e6), st.floats(0.1, 10.0)),
    min_size=1,
    max_size=25,
    unique_by=lambda row: (row[0], round(math.log(row[1]), 6)),
)


def points(rows: list[tuple[str, float, float]]) -> PointSet:
    """Points of a table from (model, core-hours, loss)."""
    made = tuple(Point(model=model, core_hours=hours, loss=loss) for model, hours, loss in rows)
    return PointSet(points=made, set_aside=(), source="rows")


@given(_ROWS)
def test_the_frontier_is_a_falling_subset_of_the_cells(rows: list[tuple[str, float, float]]) -> None:
    """Along the frontier compute rises and loss falls, and each of its members was measured."""
    cells = cells_of(points(rows))
    frontier = measured_frontier(cells, "core_hours")
    assert all(any(cell is other for other in cells) for cell in frontier)
    assert all(a.loss > b.loss for a, b in itertools.pairwise(frontier))
    assert all((a.core_hours or 0) < (b.core_hours or 0) for a, b in itertools.pairwise(frontier))
    assert min(cell.loss for cell in cells) == frontier[-1].loss


@given(_ROWS, st.floats(1.0, 2.0), st.floats(1.001, 2.0))
def test_a_dominated_cell_changes_nothing(rows: list[tuple[str, float, float]], dearer: float, worse: float) -> None:
    """A cell of another model that costs more and is worse leaves the frontier as it was."""
    before = measured_frontier(cells_of(points(rows)), "core_hours")
    _, hours, loss = rows[0]
    after = measured_frontier(cells_of(points([*rows, ("d", hours * dearer, loss * worse)])), "core_hours")
    assert [(c.model, c.loss) for c in after] == [(c.model, c.loss) for c in before]


@given(_ROWS)
def test_the_envelope_falls_and_lies_on_or_below_every_curve(rows: list[tuple[str, float, float]]) -> None:
    """The interpolated envelope never rises, and no cell lies below it."""
    cells = cells_of(points(rows))
    curves = curves_of(cells, "core_hours")
    lower = envelope(curves, log_losses(cells)[None])
    covered = np.isfinite(lower.log_loss[0])
    assert (np.diff(lower.log_loss[0][covered]) <= 1e-12).all()
    assert lower.log_loss[0].min() >= log_losses(cells).min() - 1e-9
    for cell in cells:
        after = curves.grid >= math.log(cell.core_hours or 1.0)
        here = lower.log_loss[0][after & lower.is_covered[0]]
        # Between samples a curve may dip; at the cell's own model the next sample bounds it.
        assert not len(here) or here.min() <= math.log(cell.loss) + np.ptp(log_losses(cells))


def test_the_winner_is_the_model_whose_curve_is_lowest() -> None:
    """Two crossing curves hand over where they cross, and the envelope follows the lower one on both sides."""
    rows = [("a", 1.0, 2.0), ("a", 100.0, 1.0), ("b", 1.0, 4.0), ("b", 100.0, 0.5)]
    cells = cells_of(points(rows))
    curves = curves_of(cells, "core_hours")
    lower = envelope(curves, log_losses(cells)[None])
    (at,) = hand_overs(cells, curves, lower)
    assert (at.before, at.after) == ("a", "b")
    # ln 2 - s ln C = ln 4 - 3 s ln C with s = ln 2 / ln 100: C = 10.
    assert at.compute == pytest.approx(10.0, rel=1e-6)
    assert at.is_free and not at.is_forced_by_cap and not at.is_first_cell


def test_reference_hand_overs() -> None:
    """The sizes of Fig. 2 hand over where they were read to, and it is told which change was forced."""
    cells = cells_of(reference_points())
    curves = curves_of(cells, "core_hours")
    found = hand_overs(cells, curves, envelope(curves, log_losses(cells)[None]))
    wanted = [("F0", "F1", 720), ("F1", "F3", 4900), ("F3", "F3+", 5500), ("F3+", "F7", 58_000)]
    for at, (before, after, core_hours) in zip(found, wanted, strict=False):
        assert (at.before, at.after) == (before, after)
        assert at.compute == pytest.approx(core_hours, rel=0.07)
    assert [at.is_first_cell for at in found[:4]] == [True, False, False, False]
    assert [at.is_free for at in found[:4]] == [False, True, True, False]
    assert [at.is_forced_by_cap for at in found[:4]] == [False, False, False, True]
    assert found[3].cut_off == ("F0", "F1", "F3", "F3+")


def test_models_are_ordered_by_size_and_not_by_name() -> None:
    """F3+ comes after F3 and before F7, as its cost per epoch says."""
    assert curves_of(cells_of(reference_points()), "core_hours").models == ("F0", "F1", "F3", "F3+", "F7", "F7+")


def test_a_curve_that_rises_again_does_not_raise_the_envelope() -> None:
    """A budget need not be spent: beyond the best cell the envelope stays at its loss."""
    cells = cells_of(points([("a", 1.0, 3.0), ("a", 10.0, 1.0), ("a", 100.0, 2.0)]))
    curves = curves_of(cells, "core_hours")
    lower = envelope(curves, log_losses(cells)[None])
    # The samples fall beside the best cell, by half a sample at most.
    assert lower.log_loss[0, -1] == pytest.approx(0.0, abs=0.01)


def test_envelope_of_many_members_equals_each_alone() -> None:
    """Members of a batch do not touch each other."""
    cells = cells_of(study_points(study_records(rates=(0.1,), seeds=1)))
    curves = curves_of(cells, "core_hours")
    losses = log_losses(cells) + 0.05 * np.random.default_rng(0).normal(size=(5, len(cells)))
    together = envelope(curves, losses)
    for row in range(5):
        alone = envelope(curves, losses[row : row + 1])
        assert np.array_equal(together.winner[row], alone.winner[0])
        assert together.log_loss[row] == pytest.approx(alone.log_loss[0])


def test_a_sample_weighs_as_the_cells_it_lies_between() -> None:
    """At a tainted cell a quarter, half-way to the next one the mean, on a level stretch what the last fall weighed."""
    rows = [("a", 1.0, 4.0), ("a", 4.0, 2.0), ("a", 16.0, 3.0), ("b", 17.0, 1.9), ("b", 256.0, 1.0)]
    made = tuple(
        Point(model=model, core_hours=hours, loss=loss, taint="wrong" if hours == 4.0 else None)
        for model, hours, loss in rows
    )
    cells = cells_of(PointSet(points=made, set_aside=(), source="rows"))
    curves = curves_of(cells, "core_hours")
    weights = envelope_weights(cells, curves, envelope(curves, log_losses(cells)[None]))

    def at(hours: float) -> float:
        return float(weights[np.argmin(np.abs(curves.grid - math.log(hours)))])

    assert at(1.0) == 1.0 and at(256.0) == 1.0
    assert at(2.0) == pytest.approx(0.625, abs=0.02)
    assert at(4.0) == pytest.approx(0.25, abs=0.02)
    assert at(15.0) == pytest.approx(0.25, abs=0.02)  # the curve rises again: the tainted cell's loss is held
    assert at(30.0) == 1.0
