"""Errors of a fit from its slopes at the minimum: exact for many rows, and cheap where resampling is not affordable.

For the M-estimator with score psi the covariance is (mean psi^2 / (mean psi')^2) (J'J)^-1 (Huber & Ronchetti, Robust
statistics, 2009, sec. 7.6); for least squares that is the usual sigma^2 (J'J)^-1.
"""

import numpy as np

from analysis.laws import Floats
from analysis.solver.design import Design


def score_moments(residual: Floats, weights: Floats, delta: float | None, *, parameters: int) -> tuple[float, float]:
    """Returns mean psi^2 and mean psi' of log residuals (n,), with the degrees of freedom that the fit used up.

    The share of rows within delta is smoothed over the central half of the residuals: few lie there when delta is tiny.
    """
    count = max(float(weights.sum()), 1.0)
    freedom = max(1.0, count - parameters)
    if delta is None:
        return float((weights * residual**2).sum() / freedom), 1.0
    psi = np.clip(residual, -delta, delta)
    # A nearly absolute loss passes through as many rows as it has parameters: they say nothing of the scatter.
    sizes = np.sort(np.abs(residual))[min(parameters, len(residual) - 1) :]
    half = max(float(np.median(sizes)), 1e-12)
    inside = float((sizes <= max(half, delta)).mean()) * min(1.0, delta / half)
    return float((weights * psi**2).sum() / freedom), max(inside, 1e-12)


def covariance(design: Design, theta: Floats, y: Floats, weights: Floats) -> Floats:
    """Returns the covariance (p, p) of theta (p,); zero where a parameter is pinned.

    Args:
        design: rows and law.
        theta: the minimum.
        y: log losses, (n,).
        weights: (n,).
    """
    residual = design.residuals(theta[None], y)[0]
    squares, bend = score_moments(residual, weights, design.delta, parameters=len(theta) - int(design.pinned.sum()))
    jacobian = design.slopes(theta[None])[0]
    information = (jacobian * weights) @ jacobian.T * bend
    for pull in design.pulls:
        if np.isfinite(pull.strength):
            information[pull.index, pull.index] += pull.strength
    free = ~design.pinned
    found = np.zeros_like(information)
    found[np.ix_(free, free)] = np.linalg.pinv(information[np.ix_(free, free)], hermitian=True) * (squares / bend)
    return found


def draws_about(
    design: Design, theta: Floats, spread: Floats, count: int, rng: np.random.Generator
) -> dict[str, Floats]:
    """Returns parameters people read, (count,) each, drawn from a normal about theta with that covariance."""
    values, vectors = np.linalg.eigh(spread)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return design.outward(theta + rng.standard_normal((count, len(theta))) @ root.T)
