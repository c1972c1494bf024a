"""Downstream error as a function of held-out loss: Err(L) = epsilon - k exp(-gamma L) (arXiv:2403.08540 eq. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.estimators.bootstrap import case_weights
from analysis.laws import Floats
from analysis.solver.quantiles import LEVEL, interval

_LEAST_CELLS = 5
_GRID = 400
_REFINEMENTS = 3


@dataclass(frozen=True, kw_only=True)
class Downstream:
    """The fitted curve; epsilon is the error of a model that knows nothing."""

    epsilon: float
    k: float
    gamma: float
    gamma_interval: tuple[float, float] | None
    residual_sd: float
    """Of the error, in its own unit."""
    cells: int
    sampled_losses: tuple[float, float]

    def error_at(self, loss: float) -> float:
        """Returns the error expected at a loss."""
        return float(self.epsilon - self.k * np.exp(-self.gamma * loss))


def fit_downstream(
    cells: Sequence[Cell], *, resamples: int, rng: np.random.Generator, level: float = LEVEL
) -> Downstream | None:
    """Returns the least-squares curve through (loss, error) of the cells; None with fewer than five or no fall.

    With gamma fixed the curve is linear in epsilon and k: gamma is searched on a grid that is refined about its best
    value, and the same grid serves every case resample.
    """
    known = [cell for cell in cells if cell.error is not None]
    loss: Floats = np.array([cell.loss for cell in known], dtype=np.float64)
    error: Floats = np.array([cell.error for cell in known], dtype=np.float64)
    if len(known) < _LEAST_CELLS or np.ptp(loss) <= 1e-9 * loss.max() or np.ptp(error) == 0:
        return None
    own = np.array([[cell.fit_weight for cell in known]], dtype=np.float64)
    gammas: Floats = np.asarray(np.geomspace(0.01, 50.0, _GRID), dtype=np.float64) / float(np.ptp(loss))
    for _ in range(_REFINEMENTS):
        best = int(np.argmin(_squares(loss, error, own, gammas)[0]))
        low, high = float(gammas[max(0, best - 1)]), float(gammas[min(_GRID - 1, best + 1)])
        gammas = np.asarray(np.linspace(low, high, _GRID), dtype=np.float64)
    gamma = float(gammas[int(np.argmin(_squares(loss, error, own, gammas)[0]))])
    falls = np.exp(-gamma * (loss - loss.min()))
    coefficients: Floats = np.asarray(np.polyfit(falls, error, 1, w=np.sqrt(own[0])), dtype=np.float64)
    slope, level_error = float(coefficients[0]), float(coefficients[1])
    if not slope < 0:
        return None
    residual: Floats = error - level_error - slope * falls
    weights = case_weights(len(known), max(resamples, 1), rng) * own
    around: Floats = gamma * np.asarray(np.geomspace(1 / 30, 30, _GRID), dtype=np.float64)
    drawn = around[np.argmin(_squares(loss, error, weights, around), axis=1)]
    return Downstream(
        epsilon=level_error,
        k=float(-slope * np.exp(min(gamma * float(loss.min()), 700.0))),
        gamma=gamma,
        gamma_interval=interval(drawn, level=level) if resamples else None,
        residual_sd=float(np.sqrt((residual**2).sum() / max(1, len(known) - 3))),
        cells=len(known),
        sampled_losses=(float(loss.min()), float(loss.max())),
    )


def _squares(loss: Floats, error: Floats, weights: Floats, gammas: Floats) -> Floats:
    """Returns the residual sums of squares (R, G) of weighted lines of error on exp(-gamma loss)."""
    x = np.exp(-np.outer(gammas, loss - loss.min()))
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y = weights @ x.T / total, (weights @ error)[:, None] / total
    xx = weights @ (x**2).T / total - mean_x**2
    xy = weights @ (x * error).T / total - mean_x * mean_y
    yy = (weights @ error**2)[:, None] / total - mean_y**2
    return yy - np.where(xx > 1e-15, xy**2 / np.where(xx > 1e-15, xx, 1.0), 0.0)
