"""From starts to minima: a few reweighted Gauss-Newton steps, then damped exact Newton, for many members at once."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.laws import Floats
from analysis.solver.design import Derivatives, Design
from analysis.solver.seeds import solve

_REWEIGHTED_STEPS = 6
_MAX_ITERATIONS = 300
_LOWEST_LOG_COEFFICIENT = -25.0
"""Relative to the mean loss: a term this small is zero, and its derivative too."""
_LONGEST_STEP = 2.0
_ELEMENTS_AT_ONCE = 1 << 15
"""Members x rows of one step, so that its arrays stay in a core's cache."""
_FREE_STEP = 1e6
"""Damping beyond which a step says nothing of the slope."""
_EXACT = 1e-14
"""Mean squared log residual of rows that a law describes to a ten-millionth: no loss was ever measured so well."""
_NOTHING_GAINED = 1e-7
"""Relative gain of a last step below which a member that is still moving counts as arrived."""


@dataclass(frozen=True, kw_only=True)
class Minima:
    """Where R members ended."""

    theta: Floats
    """Shape (R, p)."""
    cost: Floats
    """Shape (R,)."""
    converged: npt.NDArray[np.bool_]
    """Shape (R,): whether no step leads further down."""


def minimise(design: Design, theta: Floats, y: Floats, weights: Floats, *, most_steps: int = _MAX_ITERATIONS) -> Minima:
    """Returns the minima reached from `theta` (R, p); `y` and `weights` are (R, n), or (1, n) for all members alike."""
    rows = y.shape[1]
    at_once = max(1, _ELEMENTS_AT_ONCE // max(1, rows))
    parts = [
        _minimise(design, theta[some], _own(y, some), _own(weights, some), most_steps)
        for some in (slice(i, i + at_once) for i in range(0, len(theta), at_once))
    ]
    if not parts:
        return Minima(theta=theta, cost=np.zeros(0), converged=np.zeros(0, dtype=bool))
    return Minima(
        theta=np.concatenate([part.theta for part in parts]),
        cost=np.concatenate([part.cost for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
    )


def _own(values: Floats, some: slice | npt.NDArray[np.intp]) -> Floats:
    return values if len(values) == 1 else values[some]


def _minimise(design: Design, theta: Floats, y: Floats, weights: Floats, most_steps: int) -> Minima:
    """Members leave the batch as they finish, so that stragglers cost little."""
    theta = theta.copy()
    for pull in design.pulls:
        if np.isinf(pull.strength):
            theta[:, pull.index] = pull.towards
    terms = len(design.law.terms)
    lowest = float(np.mean(y[np.isfinite(y)])) + _LOWEST_LOG_COEFFICIENT
    active: npt.NDArray[np.intp] = np.arange(len(theta), dtype=np.intp)
    cost, converged = np.zeros(len(theta)), np.zeros(len(theta), dtype=bool)
    damping, gain = np.full(len(theta), 1e-3), np.full(len(theta), np.inf)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        at = design.derivatives(theta, y, weights, exact=False)
        cost[:] = at.cost
        for iteration in range(most_steps):
            exact = iteration >= _REWEIGHTED_STEPS
            if iteration == _REWEIGHTED_STEPS:
                at = design.derivatives(theta[active], _own(y, active), _own(weights, active), exact=True)
            trial = theta[active] + _step(design, at, damping[active])
            trial[:, :terms] = np.maximum(trial[:, :terms], lowest)
            there = design.derivatives(trial, _own(y, active), _own(weights, active), exact=exact)
            better = there.cost <= at.cost
            small = np.abs(at.cost - there.cost) <= 1e-13 * np.abs(at.cost) + 1e-300
            gain[active] = np.where(better, at.cost - there.cost, gain[active])
            theta[active] = np.where(better[:, None], trial, theta[active])
            at = _merge(at, there, better)
            cost[active] = at.cost
            damping[active] = np.clip(np.where(better, damping[active] * 0.2, damping[active] * 8.0), 1e-12, 1e12)
            done = (better & small & exact) | (~better & (damping[active] >= 1e10))
            converged[active[done]] = True
            if not done.any():
                continue
            active, at = active[~done], _take(at, ~done)
            if not len(active):
                break
    # A floor that slides towards zero has no minimum to arrive at: it has arrived when nothing is gained.
    converged |= (gain <= _NOTHING_GAINED * cost) & (damping < _FREE_STEP)
    converged |= cost <= _EXACT * weights.sum(axis=1)
    return Minima(theta=theta, cost=cost, converged=converged & np.isfinite(cost))


def _step(design: Design, at: Derivatives, damping: Floats) -> Floats:
    gradient, hessian = at.gradient.copy(), at.hessian.copy()
    held = design.pinned
    gradient[:, held] = 0.0
    hessian[:, held] = 0.0
    hessian[:, :, held] = 0.0
    places: npt.NDArray[np.intp] = np.arange(gradient.shape[1], dtype=np.intp)
    diagonal = np.maximum(np.abs(hessian[:, places, places]), 1e-12)
    hessian[:, places, places] += damping[:, None] * diagonal + held
    step = -solve(hessian, gradient)
    return np.nan_to_num(np.clip(step, -_LONGEST_STEP, _LONGEST_STEP))


def _merge(at: Derivatives, there: Derivatives, better: npt.NDArray[np.bool_]) -> Derivatives:
    return Derivatives(
        cost=np.where(better, there.cost, at.cost),
        gradient=np.where(better[:, None], there.gradient, at.gradient),
        hessian=np.where(better[:, None, None], there.hessian, at.hessian),
    )


def _take(at: Derivatives, some: npt.NDArray[np.bool_]) -> Derivatives:
    return Derivatives(cost=at.cost[some], gradient=at.gradient[some], hessian=at.hessian[some])
