"""The noise floor: how far runs of one cell and learning rate scatter that differ in their seed alone."""

from dataclasses import dataclass

import numpy as np

from analysis.estimators.noise_floor import fit_log_sd
from strategy.evidence import Evidence, best_rates
from strategy.field import Field, Floats, Ints


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

    Every cell and rate with several runs is a group.
    """
    x = np.stack([field.log_params - field.log_params.mean(), field.log_images - field.log_images.mean()], axis=1)
    squares, freedom, where = _groups(evidence)
    theta, _ = fit_log_sd(x[where], squares, freedom)
    return NoiseFloor(
        sd=np.exp(theta[0] + x @ theta[1:]),
        freedom=float(freedom.sum()),
        slope_params=float(theta[1]),
        slope_images=float(theta[2]),
    )


def _groups(evidence: Evidence) -> tuple[Floats, Floats, Ints]:
    """Returns sums of squares about the group mean, degrees of freedom and cell of repeated (cell, rate).

    Rates above the best of their cell are left out, and cells that diverged at every rate: near the edge of stability
    runs scatter for another reason.
    """
    squares: list[float] = []
    freedom: list[float] = []
    where: list[int] = []
    best = best_rates(evidence)
    for cell, rate, runs in evidence.runs.tolist():
        if runs < 2 or rate > best.get(cell, -1):
            continue
        own = evidence.log_loss[(evidence.cell == cell) & (evidence.rate == rate)]
        squares.append(float(((own - own.mean()) ** 2).sum()))
        freedom.append(runs - 1.0)
        where.append(cell)
    return np.array(squares), np.array(freedom), np.array(where, dtype=np.intp)
