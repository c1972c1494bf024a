"""A smooth curve through the losses of one compute budget, whose stiffest form is the parabola.

It minimises squared error + stiffness x integral of (third derivative)^2: a polyharmonic spline |r|^5 with a quadratic
drift (Wahba, Spline models for observational data, 1990, ch. 2). With infinite stiffness it is the parabola of approach
2 (arXiv:2203.15556 sec. 3.2), with little it interpolates as the splines of arXiv:2406.19146 do. One stiffness serves
all budgets: the one that predicts left-out runs near the minimum best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.laws import Floats

LEAST_SIZES = 4
"""Sizes that a parabola needs, so that one is left to contradict it."""
_LEAST_FOR_SPLINE = 6
_STIFFNESSES: tuple[float | None, ...] = (None, *(10.0**k for k in np.arange(4.0, -7.0, -0.5)))
"""None is infinite: the parabola."""
_HIGHEST = 0.12
"""Sizes whose loss is more than 12 % above the least tell nothing of where the least is, and bend the parabola."""
_AS_GOOD = 1.02
"""The stiffest curve is taken whose left-out error is within 2 % of the least."""
_JUDGED = 7
"""Left-out errors count for the sizes nearest to the minimum."""
_GRID = 400
_SURE_FREEDOM = 0.35
"""Residuals tell the noise when this part of the rows is left over as degrees of freedom."""
_LEAST_FREEDOM = 0.3


@dataclass(frozen=True, kw_only=True)
class Valley:
    """The runs of one budget."""

    log_params: Floats
    """Rising, all different, shape (n,)."""
    log_loss: Floats
    weights: Floats
    """How much each run counts, shape (n,): 1, or less where it is tainted."""

    @property
    def has_interior_minimum(self) -> bool:
        """Whether neither the smallest nor the largest size has the least loss."""
        return 0 < int(np.argmin(self.log_loss)) < len(self.log_loss) - 1

    def near_minimum(self) -> "Valley":
        """Returns the sizes whose loss is near the least; never fewer than the six nearest to the best."""
        high = self.log_loss - self.log_loss.min() > _HIGHEST
        nearest = np.argsort(np.abs(self.log_params - self.offset), kind="stable")[:_LEAST_FOR_SPLINE]
        high[nearest] = False
        # No holes: a size beyond one that is left out is left out too.
        best = int(np.argmin(self.log_loss))
        left = int(np.max(np.flatnonzero(high[:best]), initial=-1)) + 1
        right = best + int(np.min(np.flatnonzero(high[best:]), initial=len(high) - best))
        near = slice(left, right)
        return Valley(log_params=self.log_params[near], log_loss=self.log_loss[near], weights=self.weights[near])

    @property
    def offset(self) -> float:
        """Log parameters of the best run: curves are drawn about it."""
        return float(self.log_params[int(np.argmin(self.log_loss))])


@dataclass(frozen=True, kw_only=True)
class Smoother:
    """One stiffness for all valleys, and the noise it leaves."""

    stiffness: float | None
    """None: the parabola."""
    noise_sd: float
    """Standard deviation of log loss about the curves."""


def choose_smoother(valleys: Sequence[Valley], *, only_parabola: bool = False) -> Smoother:
    """Returns the stiffest curve whose mean left-out error is within 2 % of the least."""
    tried = (None,) if only_parabola else _STIFFNESSES
    scores = [_score(valleys, stiffness) for stiffness in tried]
    least = min(error for error, _ in scores)
    best = next(i for i, (error, _) in enumerate(scores) if error <= _AS_GOOD * least)
    return Smoother(stiffness=tried[best], noise_sd=scores[best][1])


def _score(valleys: Sequence[Valley], stiffness: float | None) -> tuple[float, float]:
    """Returns the mean absolute left-out error near the minima, and the noise."""
    errors: list[Floats] = []
    squares = rows = freedom = 0.0
    shrunk: list[Floats] = []
    for valley in valleys:
        x = valley.log_params - valley.offset
        hat = _hat(x, x, stiffness, valley.weights)
        lever = np.diag(hat)
        residual = valley.log_loss - hat @ valley.log_loss
        squares, freedom, rows = (
            squares + float(valley.weights @ residual**2),
            freedom + float((1 - lever).sum()),
            rows + len(x),
        )
        left_out = residual / np.maximum(1.0 - lever, 1e-9)
        judged = (np.abs(x) <= np.sort(np.abs(x))[min(_JUDGED, len(x)) - 1]) & (lever < 1.0 - 1e-6)
        errors.append(np.abs(left_out[judged]))
        # Where the curve runs through its points, residuals say nothing and left-out errors too much.
        shrunk.append((left_out**2 * np.maximum(1.0 - lever, _LEAST_FREEDOM))[judged])
    flat, doubtful = np.concatenate(errors), np.concatenate(shrunk)
    if not len(flat):
        return np.inf, np.nan
    is_sure = freedom >= _SURE_FREEDOM * rows
    variance = squares / max(freedom, 1e-9) if is_sure else float(doubtful.mean())
    return float(flat.mean()), float(np.sqrt(variance))


def minimum_of(
    valley: Valley, smoother: Smoother, draws: int, rng: np.random.Generator
) -> tuple[float, float, Floats] | None:
    """Returns log size and log loss at the curve's minimum, and (draws,) minima of curves with the noise drawn anew.

    The least of noisy losses lies below the least of true ones: by as much as the drawn curves' minima lie below the
    curve's the loss is put up. None when the curve has its minimum at an edge. A drawn minimum at an edge counts as it
    is: it shows how flat the valley is.
    """
    ends = (float(valley.log_params[0]), float(valley.log_params[-1]))
    grid: Floats = np.asarray(np.linspace(*ends, _GRID), dtype=np.float64) - valley.offset
    x = valley.log_params - valley.offset
    on_grid, on_rows = (_hat(x, at, smoother.stiffness, valley.weights) for at in (grid, x))
    curve = on_grid @ valley.log_loss
    place = int(np.argmin(curve))
    if not 0 < place < _GRID - 1:
        return None
    noise = smoother.noise_sd / np.sqrt(valley.weights) * rng.standard_normal((draws, len(x)))
    drawn = (on_rows @ valley.log_loss + noise) @ on_grid.T
    least = _vertex(grid, curve[None], np.array([place]))[0]
    places = np.argmin(drawn, axis=1)
    too_low = float(drawn.min(axis=1).mean() - curve[place]) if draws else 0.0
    return float(least + valley.offset), float(curve[place]) - too_low, _vertex(grid, drawn, places) + valley.offset


def curve_of(valley: Valley, smoother: Smoother, log_params: Floats) -> Floats:
    """Returns the curve's log loss at some log sizes."""
    x = valley.log_params - valley.offset
    return _hat(x, log_params - valley.offset, smoother.stiffness, valley.weights) @ valley.log_loss


def _vertex(grid: Floats, curves: Floats, places: np.ndarray) -> Floats:
    """Returns the minima of curves (R, grid), refined by a parabola through three samples."""
    inner = np.clip(places, 1, len(grid) - 2)
    rows = np.arange(len(curves))
    left, middle, right = (curves[rows, inner + k] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    exact = grid[inner] + np.clip(shift, -1.0, 1.0) * (grid[1] - grid[0])
    return np.where((places > 0) & (places < len(grid) - 1), exact, grid[places])


def _hat(x: Floats, at: Floats, stiffness: float | None, weights: Floats) -> Floats:
    """Returns the matrix (at, x) that turns losses at `x`, each of a weight, into the curve at `at`."""
    drift, drift_at = np.vander(x, 3), np.vander(at, 3)
    if stiffness is None or len(x) < _LEAST_FOR_SPLINE:
        root = np.sqrt(weights)
        return drift_at @ np.linalg.pinv(drift * root[:, None]) * root
    # -|r|^5 is conditionally positive definite of order 3.
    rows = len(x)
    system = np.zeros((rows + 3, rows + 3))
    system[:rows, :rows] = -(np.abs(x[:, None] - x) ** 5) + stiffness * np.diag(1 / weights)
    system[:rows, rows:], system[rows:, :rows] = drift, drift.T
    solved = np.linalg.pinv(system) if np.linalg.cond(system) > 1e14 else np.linalg.inv(system)
    return np.hstack([-(np.abs(at[:, None] - x) ** 5), drift_at]) @ solved[:, :rows]
