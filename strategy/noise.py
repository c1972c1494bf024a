"""The noise floor: how far runs of one cell and learning rate scatter that differ in their seed alone."""

from dataclasses import dataclass

import numpy as np

from strategy.evidence import Evidence, best_rates
from strategy.field import Field, Floats, Ints

PRIOR_SD, PRIOR_FREEDOM = 0.005, 2.0
"""Before any cell was run twice: half a per cent, worth two repeats."""
_SLOPE_SD = 0.25
"""Prior deviation of d log sd / d log images and / d log params: noise changes slowly, in either direction."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseFloor:
    """Standard deviation of a run's log loss about its cell's."""

    sd: Floats
    """Of each cell of the field, (cells,)."""
    freedom: float
    """Repeats it rests on, degrees of freedom; 0: the prior alone."""
    slope_params: float
    """d log sd / d log parameters."""
    slope_images: float


def noise_floor(field: Field, evidence: Evidence) -> NoiseFloor:
    """Returns the scatter over seeds as a slow function of size and data, drawn towards a constant.

    Maximum a posteriori of log variances with chi-squared likelihoods: groups of n runs with one cell and rate.
    """
    x = np.stack([field.log_params - field.log_params.mean(), field.log_images - field.log_images.mean()], axis=1)
    squares, freedom, where = _groups(evidence)
    theta = np.array([np.log(PRIOR_SD), 0.0, 0.0])
    if len(where):
        theta = _fit(x[where], squares, freedom)
    return NoiseFloor(
        sd=np.exp(theta[0] + x @ theta[1:]),
        freedom=float(freedom.sum()),
        slope_params=float(theta[1]),
        slope_images=float(theta[2]),
    )


def _groups(evidence: Evidence) -> tuple[Floats, Floats, Ints]:
    """Returns sums of squares about the group mean, degrees of freedom and cell of repeated (cell, rate).

    Rates above the best of their cell are left out: near the edge of stability runs scatter for another reason.
    """
    squares: list[float] = []
    freedom: list[float] = []
    where: list[int] = []
    best = best_rates(evidence)
    for cell, rate, runs in evidence.runs.tolist():
        if runs < 2 or rate > best[cell]:
            continue
        own = evidence.log_loss[(evidence.cell == cell) & (evidence.rate == rate)]
        squares.append(float(((own - own.mean()) ** 2).sum()))
        freedom.append(runs - 1.0)
        where.append(cell)
    return np.array(squares), np.array(freedom), np.array(where, dtype=np.intp)


def _fit(x: Floats, squares: Floats, freedom: Floats) -> Floats:
    """Returns log sd at the middle of the field and its slopes by Fisher scoring."""
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    variance = (squares.sum() + PRIOR_FREEDOM * PRIOR_SD**2) / (freedom.sum() + PRIOR_FREEDOM)
    theta = np.array([0.5 * np.log(variance), 0.0, 0.0])
    for _ in range(30):
        variance = np.exp(2 * (design @ theta))
        slope = design.T @ (squares / variance - freedom)
        slope += np.array([PRIOR_FREEDOM * (PRIOR_SD**2 / np.exp(2 * theta[0]) - 1), 0, 0])
        slope[1:] -= theta[1:] / _SLOPE_SD**2
        information = 2 * (design * freedom[:, None]).T @ design
        information += np.diag([2 * PRIOR_FREEDOM, 1 / _SLOPE_SD**2, 1 / _SLOPE_SD**2])
        step = np.linalg.solve(information, slope)
        theta = theta + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    return theta
