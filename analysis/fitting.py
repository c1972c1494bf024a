"""Fits a law to losses: variable projection finds the basin, damped Newton ends at machine precision.

With the exponents fixed a law is linear in its coefficients, so a whole grid of exponents costs a few matrix products.
The best few grid points are then polished on the real objective. Everything is deterministic, and works on many
resamples at once: losses and weights may differ per member, the design is shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.laws import Floats, Law

_EXPONENT_GRID = np.geomspace(0.01, 2.5, 48)
_SEEDS_POLISHED = 8
_LOWEST_LOG_COEFFICIENT = -25.0
"""Relative to the mean loss: a term this small is zero, and its derivative too."""
_MAX_ITERATIONS = 200
_MEMBERS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class FitBatch:
    """Parameters of R members."""

    parameters: dict[str, Floats]
    """Shape (R,) each."""
    objective: Floats
    """Sum over rows of weight x Huber(log residual), shape (R,)."""
    converged: np.ndarray
    """Shape (R,), bool."""


def huber(residual: Floats, delta: float | None) -> Floats:
    """Returns r^2 / 2 within `delta` of zero, delta (|r| - delta / 2) outside; r^2 / 2 everywhere without a delta."""
    if delta is None:
        return 0.5 * residual**2
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


def fit_law(law: Law, log_values: Mapping[str, Floats], log_loss: Floats, *, delta: float | None) -> FitBatch:
    """Returns the best fit of `law` to one set of rows as a batch of one member.

    Minimises the sum over rows of Huber(log prediction - log_loss); the sum, because optimisers stop early on the mean
    (arXiv:2404.10102 sec. 4). Without a `delta`: least squares on log losses.
    """
    design = _Design.of(law, log_values)
    seeds = _grid_seeds(design, log_loss)
    repeated = np.tile(log_loss, (len(seeds), 1))
    batch = _polish(design, seeds, repeated, np.ones_like(repeated), delta=delta)
    best = int(np.nanargmin(batch.objective))
    return _member(batch, best)


def fit_many(
    law: Law,
    log_values: Mapping[str, Floats],
    log_loss: Floats,
    weights: Floats,
    *,
    start: FitBatch,
    delta: float | None,
) -> FitBatch:
    """Returns the fits of R resamples, each started at `start` (one member).

    Args:
        law: what is fitted.
        log_values: log of each variable over the n shared rows.
        log_loss: log losses, shape (R, n).
        weights: how often a row counts in a resample, shape (R, n); 0 leaves it out.
        start: the fit of the unresampled rows.
        delta: as in fit_law.
    """
    design = _Design.of(law, log_values)
    if law.terms[0].exponent and len(law.terms) == 1 and delta is None:
        return _straight_lines(design, log_loss, weights)
    first = design.inward({name: values[:1] for name, values in start.parameters.items()})
    parts: list[FitBatch] = []
    for i in range(0, max(1, len(log_loss)), _MEMBERS_AT_ONCE):
        some = slice(i, i + _MEMBERS_AT_ONCE)
        starts = np.repeat(first, len(log_loss[some]), axis=0)
        parts.append(_polish(design, starts, log_loss[some], weights[some], delta=delta))
    return FitBatch(
        parameters={name: np.concatenate([part.parameters[name] for part in parts]) for name in law.parameters},
        objective=np.concatenate([part.objective for part in parts]),
        converged=np.concatenate([part.converged for part in parts]),
    )


def _member(batch: FitBatch, index: int) -> FitBatch:
    one = slice(index, index + 1)
    return FitBatch(
        parameters={name: values[one] for name, values in batch.parameters.items()},
        objective=batch.objective[one],
        converged=batch.converged[one],
    )


@dataclass(frozen=True, kw_only=True)
class _Design:
    """The rows of a fit: log variables centred, which takes the condition of the problem from 1e11 to 1e3."""

    law: Law
    x: Floats
    """Centred log variable of each term, 0 for a constant; shape (terms, n)."""
    centre: Floats
    """What was subtracted, shape (terms,)."""
    power_terms: tuple[int, ...]
    """Which terms have an exponent."""

    @classmethod
    def of(cls, law: Law, log_values: Mapping[str, Floats]) -> "_Design":
        count = len(next(iter(log_values.values())))
        rows = [log_values[term.variable] if term.variable else np.zeros(count) for term in law.terms]
        centre = np.array([row.mean() for row in rows])
        return cls(
            law=law,
            x=np.stack(rows) - centre[:, None],
            centre=centre,
            power_terms=tuple(i for i, term in enumerate(law.terms) if term.exponent),
        )

    def outward(self, theta: Floats) -> dict[str, Floats]:
        """Returns the parameters people read; theta is (R, p): log coefficients at the centre, then exponents."""
        terms = len(self.law.terms)
        log_coefficients = theta[:, :terms].copy()
        for column, term in enumerate(self.power_terms):
            log_coefficients[:, term] += theta[:, terms + column] * self.centre[term]
        columns = np.concatenate([np.exp(log_coefficients), theta[:, terms:]], axis=1)
        return {name: columns[:, i] for i, name in enumerate(self.law.parameters)}

    def inward(self, parameters: Mapping[str, Floats]) -> Floats:
        """Returns theta (R, p) of the parameters people read."""
        columns = np.stack([parameters[name] for name in self.law.parameters], axis=1)
        terms = len(self.law.terms)
        theta = np.concatenate([np.log(np.maximum(columns[:, :terms], 1e-300)), columns[:, terms:]], axis=1)
        for column, term in enumerate(self.power_terms):
            theta[:, term] -= theta[:, terms + column] * self.centre[term]
        return theta


def _grid_seeds(design: _Design, log_loss: Floats) -> Floats:
    """Returns the most promising starts (seeds, p), from linear fits of the coefficients at each grid exponent.

    Rows are weighted by 1 / L^2, so that the linear residual imitates the log residual.
    """
    terms = len(design.law.terms)
    grids = [_EXPONENT_GRID if i in design.power_terms else np.zeros(1) for i in range(terms)]
    loss = np.exp(log_loss)
    columns = [np.exp(-np.outer(grid, design.x[i])) / loss for i, grid in enumerate(grids)]
    index = np.stack([axis.ravel() for axis in np.meshgrid(*[np.arange(len(g)) for g in grids], indexing="ij")])
    normal = np.empty((index.shape[1], terms, terms))
    right = np.empty((index.shape[1], terms))
    for i in range(terms):
        right[:, i] = columns[i].sum(axis=1)[index[i]]
        for j in range(terms):
            normal[:, i, j] = (columns[i] @ columns[j].T)[index[i], index[j]]
    ridge = 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(terms)
    coefficients = _solve(normal + ridge, right)
    # A negative coefficient has no logarithm: start from a small positive one, and let the polish decide.
    smallest = 1e-3 * float(loss.min())
    coefficients = np.maximum(coefficients, smallest)
    residual = np.einsum("gi,gij,gj->g", coefficients, normal, coefficients)
    residual -= 2 * (coefficients * right).sum(axis=1)
    best = np.argsort(residual, kind="stable")[:_SEEDS_POLISHED]
    exponents = [grids[term][index[term][best]] for term in design.power_terms]
    return np.concatenate([np.log(coefficients[best]), np.stack(exponents, axis=1)], axis=1)


def _straight_lines(design: _Design, log_loss: Floats, weights: Floats) -> FitBatch:
    """Returns weighted least-squares lines of log loss on log compute, in closed form."""
    x, total = design.x[0], np.maximum(weights.sum(axis=1), 1e-300)
    y = np.where(weights > 0, log_loss, 0.0)
    mean_x, mean_y = weights @ x / total, (weights * y).sum(axis=1) / total
    spread = weights @ x**2 / total - mean_x**2
    exact = spread > 1e-12
    slope = ((weights * y) @ x / total - mean_x * mean_y) / np.where(exact, spread, 1.0)
    theta = np.stack([mean_y - slope * mean_x, -slope], axis=1)
    residual = theta[:, :1] - theta[:, 1:] * x - y
    return FitBatch(
        parameters=design.outward(theta), objective=(weights * huber(residual, None)).sum(axis=1), converged=exact
    )


def _polish(design: _Design, theta: Floats, y: Floats, weights: Floats, *, delta: float | None) -> FitBatch:
    """Returns the minima reached from `theta` (R, p): a few reweighted Gauss-Newton steps, then damped exact Newton.

    Members leave the batch as they finish, so that stragglers cost little.
    """
    theta = theta.copy()
    y = np.where(weights > 0, y, 0.0)
    floor = np.log(np.exp(y).mean()) + _LOWEST_LOG_COEFFICIENT
    terms = len(design.law.terms)
    damping = np.full(len(theta), 1e-3)
    cost = _cost(design, theta, y, weights, delta)
    converged = np.zeros(len(theta), dtype=bool)
    active = np.arange(len(theta))
    for iteration in range(_MAX_ITERATIONS):
        gradient, hessian = _derivatives(design, theta[active], y[active], weights[active], delta, exact=iteration >= 6)
        diagonal = np.maximum(np.abs(np.einsum("rpp->rp", hessian)), 1e-12)
        damped = hessian + (damping[active, None] * diagonal)[:, :, None] * np.eye(theta.shape[1])
        step = -_solve(damped, gradient)
        trial = theta[active] + np.clip(step, -2.0, 2.0)
        trial[:, :terms] = np.maximum(trial[:, :terms], floor)
        trial_cost = _cost(design, trial, y[active], weights[active], delta)
        better = trial_cost <= cost[active]
        gain = cost[active] - trial_cost
        theta[active] = np.where(better[:, None], trial, theta[active])
        cost[active] = np.where(better, trial_cost, cost[active])
        damping[active] = np.clip(np.where(better, damping[active] * 0.2, damping[active] * 8.0), 1e-12, 1e12)
        small = np.abs(gain) <= 1e-13 * cost[active] + 1e-300
        done = (better & small & (iteration > 6)) | (~better & (damping[active] >= 1e10))
        converged[active[done]] = True
        active = active[~done]
        if not len(active):
            break
    return FitBatch(parameters=design.outward(theta), objective=cost, converged=converged)


def _predict(design: _Design, theta: Floats) -> tuple[Floats, Floats]:
    """Returns log predictions (R, n) and the share of each term in them (R, terms, n)."""
    terms = len(design.law.terms)
    z = np.repeat(theta[:, :terms, None], design.x.shape[1], axis=2)
    for column, term in enumerate(design.power_terms):
        z[:, term] -= theta[:, terms + column, None] * design.x[term]
    top = z.max(axis=1, keepdims=True)
    share = np.exp(z - top)
    total = share.sum(axis=1, keepdims=True)
    return top[:, 0] + np.log(total[:, 0]), share / total


def _cost(design: _Design, theta: Floats, y: Floats, weights: Floats, delta: float | None) -> Floats:
    log_prediction, _ = _predict(design, theta)
    return (weights * huber(log_prediction - y, delta)).sum(axis=1)


def _derivatives(
    design: _Design, theta: Floats, y: Floats, weights: Floats, delta: float | None, *, exact: bool
) -> tuple[Floats, Floats]:
    """Returns gradient (R, p) and Hessian (R, p, p) of the cost; the positive Gauss-Newton one unless `exact`."""
    log_prediction, share = _predict(design, theta)
    residual = log_prediction - y
    slope = residual if delta is None else np.clip(residual, -delta, delta)
    jacobian = np.concatenate([share, *(-share[:, [t]] * design.x[t] for t in design.power_terms)], axis=1)
    gradient = np.einsum("rn,rpn->rp", weights * slope, jacobian)
    if not exact:
        size = np.maximum(np.abs(residual), 1e-15)
        bend = np.ones_like(residual) if delta is None else np.minimum(1.0, delta / size)
        return gradient, (jacobian * (weights * bend)[:, None]) @ jacobian.transpose(0, 2, 1)
    curvature = np.ones_like(residual) if delta is None else (np.abs(residual) <= delta).astype(np.float64)
    hessian = (jacobian * (weights * (curvature - slope))[:, None]) @ jacobian.transpose(0, 2, 1)
    pull = (weights * slope)[:, None] * share
    terms = len(design.law.terms)
    for t in range(terms):
        hessian[:, t, t] += pull[:, t].sum(axis=1)
    for column, t in enumerate(design.power_terms):
        cross, square = pull[:, t] @ design.x[t], pull[:, t] @ design.x[t] ** 2
        hessian[:, t, terms + column] -= cross
        hessian[:, terms + column, t] -= cross
        hessian[:, terms + column, terms + column] += square
    return gradient, hessian


def _solve(matrices: Floats, right: Floats) -> Floats:
    """Returns the solutions (R, p), of least norm when a member is singular."""
    try:
        return np.asarray(np.linalg.solve(matrices, right[..., None])[..., 0], dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(matrices) @ right[..., None], dtype=np.float64)[..., 0]
