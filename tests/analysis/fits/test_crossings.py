import math

import numpy as np
import pytest

from analysis.estimators.best_rate import cells_of
from analysis.estimators.frontier import envelope, log_losses
from analysis.fits.crossings import crossings
from analysis.fits.frontier_fit import Frontier
from analysis.tables.points import Point
from tests.analysis.synthetic import table

ROWS = [("a", 1.0, 2.0), ("a", 100.0, 1.0), ("b", 1.0, 4.0), ("b", 100.0, 0.5)]
"""Two curves that cross at 10."""


def frontier() -> Frontier:
    """Two models whose curves cross at 10 core-hours."""
    points = [Point(model=model, core_hours=hours, loss=loss) for model, hours, loss in ROWS]
    return Frontier.of(cells_of(table(points)), "core_hours", has_models=True)


def test_without_resamples_a_crossing_is_a_place() -> None:
    """Where the curves meet, and nothing about how surely."""
    (found,) = crossings(frontier(), None, level=0.9)
    assert found.hand_over.compute == pytest.approx(10.0, rel=1e-6)
    assert found.low is found.high is found.share is None


def test_the_interval_is_that_of_the_places_in_resamples() -> None:
    """Curves moved up and down cross at places in closed form, whose quantiles are the interval."""
    of = frontier()
    rng = np.random.default_rng(0)
    moves = 0.1 * rng.normal(size=400)
    # Moving b by m: ln 2 - s x = ln 4 - 3 s x + m at x = (ln 2 + m) / (2 s), where s = ln 2 / ln 100.
    slope = math.log(2) / math.log(100)
    places = np.exp((math.log(2) + moves) / (2 * slope))
    is_b = np.array([cell.model == "b" for cell in of.cells])
    drawn = log_losses(of.cells)[None] + moves[:, None] * is_b
    (found,) = crossings(of, envelope(of.curves, drawn), level=0.9)
    assert found.share == pytest.approx(1.0)
    # The places are read off the grid of the envelope.
    step = float(of.curves.grid[1] - of.curves.grid[0])
    assert found.low is not None and found.high is not None
    wanted = np.quantile(places, [0.05, 0.95])
    assert math.log(found.low) == pytest.approx(math.log(wanted[0]), abs=step)
    assert math.log(found.high) == pytest.approx(math.log(wanted[1]), abs=step)


def test_the_share_counts_resamples_in_which_the_models_follow_each_other() -> None:
    """Where b is far worse there is no hand-over to it."""
    of = frontier()
    is_b = np.array([cell.model == "b" for cell in of.cells])
    worse = np.where(np.arange(100) < 30, 3.0, 0.0)
    (found,) = crossings(of, envelope(of.curves, log_losses(of.cells)[None] + worse[:, None] * is_b), level=0.9)
    assert found.share == pytest.approx(0.7)
