"""The three approaches side by side: how the best size grows with compute. They are compared, never averaged."""

from collections.abc import Sequence

import numpy as np

from analysis.estimators.allocation import Price, Surface
from analysis.estimators.best_rate import Cell
from analysis.estimators.frontier import envelope_weights
from analysis.estimators.isoflop import IsoFlopFit, isoflop_groups
from analysis.estimators.line import Line
from analysis.fits.frontier_fit import Frontier
from analysis.laws import Floats
from analysis.refusal import Refusal
from analysis.result import AllocationEstimate, Estimate, Fit
from analysis.solver.quantiles import interval

_LEAST_SIZES = 3


def allocations(
    frontier: Frontier, isoflop: IsoFlopFit | None, surface: Fit | None, price: Price | None, *, level: float
) -> tuple[AllocationEstimate, ...]:
    """Returns N* ~ C^a as the envelope, the isoFLOP minima and the surface see it; a refused one says why."""
    if not any(cell.params for cell in frontier.cells):
        return ()
    found = [_from_envelope(frontier)]
    found += _from_isoflop(isoflop, frontier.cells, level)
    found.append(_from_surface(surface, price, level))
    return tuple(found)


def _estimate(
    approach: str, value: float, bounds: tuple[float, float] | None, stderr: float | None, points: int, remark: str
) -> AllocationEstimate:
    low, high = bounds or (None, None)
    return AllocationEstimate(
        approach=approach,
        exponent_params=Estimate(value=value, stderr=stderr, low=low, high=high),
        exponent_data=Estimate(
            value=1 - value,
            stderr=stderr,
            low=None if high is None else 1 - high,
            high=None if low is None else 1 - low,
        ),
        points=points,
        remark=remark,
        refused=None,
    )


def _refused(approach: str, code: str, reason: str, next: str) -> AllocationEstimate:
    return AllocationEstimate(
        approach=approach, exponent_params=None, exponent_data=None, points=0, remark="",
        refused=Refusal(code=code, reason=reason, next=next),
    )  # fmt: skip


def _from_envelope(frontier: Frontier) -> AllocationEstimate:
    """Approach 1: the sizes that hold the lower envelope, evenly in log compute."""
    first = [int(members[0]) for members in frontier.curves.members]
    sizes = np.array([frontier.cells[i].params or np.nan for i in first])
    winner = frontier.lower.winner[0]
    held = {int(w) for w in winner[winner >= 0]}
    usable = [w for w in held if np.isfinite(sizes[w])]
    if len(usable) < _LEAST_SIZES or not frontier.has_models:
        return _refused(
            "envelope", "too_few_sizes",
            f"{len(usable)} sizes hold the envelope in turn, and a power law of the best size needs {_LEAST_SIZES}",
            "add sizes, or runs of more budgets",
        )  # fmt: skip
    x, log_sizes = frontier.curves.grid, np.log(sizes)
    slope = _slopes(x, log_sizes, winner[None], envelope_weights(frontier.cells, frontier.curves, frontier.lower))[0]
    remark = "steps of discrete sizes, not a continuous optimum: resamples do not know how far off"
    return _estimate("envelope", float(slope), None, None, len(usable), remark)


def _slopes(x: Floats, log_sizes: Floats, winner: np.ndarray, weights: Floats) -> Floats:
    """Returns the least-squares slope of log size on log compute for each row of winners (R, grid)."""
    seen = winner >= 0
    y = np.where(seen, log_sizes[np.maximum(winner, 0)], 0.0)
    seen &= np.isfinite(y)
    y, weight = np.where(seen, y, 0.0), seen * weights
    total = np.maximum(weight.sum(axis=1), 1e-300)
    mean_x, mean_y = weight @ x / total, (weight * y).sum(axis=1) / total
    spread = weight @ x**2 / total - mean_x**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((weight * y) @ x / total - mean_x * mean_y) / spread


def _from_isoflop(fit: IsoFlopFit | None, cells: Sequence[Cell], level: float) -> list[AllocationEstimate]:
    if fit is None:
        groups = isoflop_groups(cells)
        reason = (
            f"{len(groups)} compute budgets were run with four sizes or more, and fewer than three of them have their "
            "least loss at neither the smallest nor the largest size"
        )
        if not groups:
            reason = "runs do not come in compute budgets of four sizes or more"
        return [
            _refused(
                "isoflop", "no_interior_minimum", reason, "run three budgets with sizes on both sides of the best one"
            )
        ]
    seen = len(fit.used)
    left = [budget.refused for budget in fit.budgets if budget.refused]
    remark = f"minima of smooth curves through {seen} budgets"
    if left:
        remark += f"; {len(left)} refused ({', '.join(sorted(set(left)))})"
    found = [_line_estimate("isoflop", fit.line, seen, remark, level)]
    if fit.parabola is not None:
        bias = "parabolas: biased where losses rise unevenly on both sides, the more the wider the sizes"
        found.append(_line_estimate("isoflop_parabola", fit.parabola, seen, bias, level))
    return found


def _line_estimate(approach: str, line: Line, points: int, remark: str, level: float) -> AllocationEstimate:
    half = line.slope_half_width(level)
    sd = float(np.sqrt(line.covariance[1, 1]))
    return _estimate(approach, line.slope, (line.slope - half, line.slope + half), sd, points, remark)


def _from_surface(fit: Fit | None, price: Price | None, level: float) -> AllocationEstimate:
    if fit is None:
        return _refused(
            "surface", "no_surface", "the runs do not carry a surface: sizes and data must vary, and not in step",
            "run each size with several amounts of data",
        )  # fmt: skip
    value = float(Surface.of(fit.law, fit.values).exponent_params)
    drawn = Surface.of(fit.law, fit.draws).exponent_params if fit.draws else np.zeros(0)
    remark = "a = beta / (alpha + beta)"
    if price is not None and not price.is_one:
        remark += "; of the budget N D: compute is not proportional to it here"
    bounds = interval(drawn, level=level) if len(drawn) else None
    return _estimate("surface", value, bounds, float(drawn.std()) if len(drawn) > 1 else None, fit.n_points, remark)
