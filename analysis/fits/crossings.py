"""Hand-overs with their intervals: where the best size changes, and in how many resamples it does."""

import numpy as np

from analysis.estimators.frontier import Curves, Envelope, hand_overs
from analysis.fits.frontier_fit import Frontier
from analysis.laws import Floats
from analysis.result import Crossing
from analysis.solver.quantiles import interval


def crossings(frontier: Frontier, resampled: Envelope | None, *, level: float) -> tuple[Crossing, ...]:
    """Returns the hand-overs; with resamples also where, and in how many, the same two models follow each other."""
    curves = frontier.curves
    found = hand_overs(frontier.cells, curves, frontier.lower)
    if resampled is None:
        return tuple(Crossing(hand_over=at, low=None, high=None, share=None) for at in found)
    winner, models = resampled.winner.astype(np.int32), len(curves.models)
    pairs = winner[:, :-1] * models + winner[:, 1:]
    pairs[winner[:, :-1] < 0] = -1
    with_intervals: list[Crossing] = []
    for at in found:
        follows = pairs == curves.models.index(at.before) * models + curves.models.index(at.after)
        has_it = follows.any(axis=1)
        places = np.exp(_between(curves, at.after)[follows[has_it].argmax(axis=1)])
        low, high = interval(places, level=level) or (None, None)
        with_intervals.append(Crossing(hand_over=at, low=low, high=high, share=float(has_it.mean())))
    return tuple(with_intervals)


def _between(curves: Curves, after: str) -> Floats:
    """Returns where, between each sample of the grid and the next, a hand-over to `after` lies [log compute].

    In the middle, but where the cheapest run of `after` begins in between, for it cannot take over before.
    """
    left, right = curves.grid[:-1], curves.grid[1:]
    begins = curves.log_compute[curves.members[curves.models.index(after)][0]]
    return np.where((left <= begins) & (begins <= right), begins, (left + right) / 2)
